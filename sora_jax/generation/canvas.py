"""Canvases: what a sampler fills, laid out as a packed segment.

A canvas is a grid of patches of the requested size (padded to whole patches and to 1 + 4k frames),
its caption, what is known of it, and noise from its own seed, so that neither its neighbours in a
row nor the row itself change it.
"""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float

from sora_jax.media import canvas_shape
from sora_jax.models.vae_config import AnyVAEConfig
from sora_jax.patches import patch_grid, patchify
from sora_jax.rows import Segment, make_segment


@dataclasses.dataclass(frozen=True)
class Request:
    """A video to generate.

    Attributes:
      prompt: what the video shows.
      frames: number of frames, 1 or more; 1 is an image.
      height: pixels, 16 or more.
      width: pixels, 16 or more.
      fps: frames per second.
      seed: seed of the noise; the same seed gives the same video.
    """

    prompt: str
    frames: int = 17
    height: int = 64
    width: int = 96
    fps: float = 8.0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A request laid out on its grid of latents.

    Attributes:
      request: what was asked for.
      grid: number of patches along time, height and width.
      segment: its positions and caption; its patches, zeros where they are not known.
      noise: its standard normal noise.
    """

    request: Request
    grid: tuple[int, int, int]
    segment: Segment
    noise: Float[np.ndarray, "l p"]


def text_canvas(
    request: Request,
    vae: AnyVAEConfig,
    patch: tuple[int, int, int],
    text: np.ndarray,
    first: Float[np.ndarray, "u y x c"] | None = None,
) -> Canvas:
    """The canvas of a text prompt.

    Args:
      vae: the autoencoder's sizes.
      patch: the transformer's patch.
      text: token ids [s] or embeddings [s, d] of the prompt.
      first: normalised latents of the first frames, which are known; None: no patch is known.

    Raises:
      ValueError: the prompt is empty, the size is too small, or `first` is of another size or has
        nothing left to predict.
    """
    if not request.prompt.strip():
        raise ValueError('the prompt is empty: describe the video, as in "a red ball bounces"')
    r, k, s = request, vae.temporal_stride, vae.spatial_stride
    t, h, w = canvas_shape(r.frames, r.height, r.width, k, s * patch[1])
    shape = ((t - 1) // k + 1, h // s, w // s, vae.latent_channels)
    noise = np.asarray(patchify(jax.random.normal(jax.random.key(r.seed), shape), patch))
    clean, count = np.zeros(shape, np.float32), 0
    if first is not None:
        if first.shape[1:] != shape[1:] or len(first) >= shape[0]:
            raise ValueError(
                f"given frames make latents of {'x'.join(map(str, first.shape[:3]))}, the video of "
                f"{r.prompt!r} has {'x'.join(map(str, shape[:3]))}: give fewer frames, of its size"
            )
        clean[: len(first)] = first
        count = len(first) * shape[1] * shape[2] // (patch[1] * patch[2])
    segment = make_segment(clean, r.fps, text, patch)
    segment = dataclasses.replace(segment, known=np.arange(len(noise)) < count)
    return Canvas(request, patch_grid(shape, patch), segment, noise)
