"""Canvases: what a sampler fills, laid out as a packed segment.

A canvas is a grid of patches of the size that was asked for (padded to whole patches and to
1 + 4k frames), its caption, and noise from its own seed, so that neither its neighbours in a row
nor the row itself change it.
"""

import dataclasses

import jax
import numpy as np

from sora_jax.media import canvas_shape
from sora_jax.models.vae import VAEConfig
from sora_jax.patches import Segment, grid_of, grid_positions, patchify


@dataclasses.dataclass(frozen=True)
class Request:
    """A video to make: frames and pixels of any size from 1 and 16, frames per second, a seed."""

    prompt: str
    frames: int = 17
    height: int = 64
    width: int = 96
    fps: float = 8.0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A request on its grid of latents [t, h, w]: the segment, and its noise as patches [l, p]."""

    request: Request
    latent_shape: tuple[int, int, int]
    segment: Segment
    noise: np.ndarray


def text_canvas(
    request: Request, vae: VAEConfig, patch: tuple[int, int, int], text: np.ndarray
) -> Canvas:
    """A canvas of which nothing is known; `text` is the prompt as a model reads it.

    Raises:
      ValueError: the prompt is empty, or the size is too small.
    """
    if not request.prompt.strip():
        raise ValueError('the prompt is empty: describe the video, as in "a red ball bounces"')
    r = request
    side = vae.spatial_stride * patch[1]
    t, h, w = canvas_shape(r.frames, r.height, r.width, vae.temporal_stride, side)
    shape = ((t - 1) // vae.temporal_stride + 1, h // vae.spatial_stride, w // vae.spatial_stride)
    noise = jax.random.normal(jax.random.key(r.seed), (*shape, vae.latent_channels))
    noise = np.asarray(patchify(noise, patch))
    segment = Segment(
        np.zeros_like(noise),
        grid_positions(grid_of(shape, patch), patch[0], r.fps),
        text,
        np.zeros(len(noise), bool),
        1.0,
    )
    return Canvas(request, shape, segment, noise)
