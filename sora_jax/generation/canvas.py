"""Canvases: what a sampler fills, laid out as a packed segment.

A canvas is a grid of patches of the requested size (padded to whole patches and to 1 + 4k frames),
its caption, what is known of it, and noise from its own seed, so that neither its neighbours in a
row nor the row itself change it. Every task is one: what is given decides which patches are known,
and the strength at which level of noise the others begin.

    x = (1 - level) latents + level noise       level 0 of known patches, else 1 or less

Pixels are known, latents are what the sampler sees. A latent is known if all of the pixels that it
spans are; to encode it, each unknown pixel takes the value of the known one nearest to it in space
and time (but where sampling begins at the given video). Known pixels stay as they are in the video,
whether their latents are known or not.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8, UInt32
from scipy import ndimage

from sora_jax.media import canvas_shape, fit_canvas
from sora_jax.models.vae_config import AnyVAEConfig
from sora_jax.patches import POSITIONS_PER_SECOND, patch_grid, patchify
from sora_jax.rows import Segment, make_segment

MAX_SEED = 2**32
"""Seeds are below: JAX's keys have 32 bits of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """Pixels that a video is to have, or to begin from.

    Attributes:
      video: frames of the request's size.
      known: which of its pixels the generated video keeps.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    known: Bool[np.ndarray, "t h w"]


@dataclasses.dataclass(frozen=True)
class Request:
    """A video to generate; `generation.tasks` fills in what is given.

    Attributes:
      prompt: what the video shows; "" only with `unconditional`.
      frames: number of frames, 1 or more; 1 is an image.
      height: pixels, 16 or more.
      width: pixels, 16 or more.
      fps: frames per second.
      seed: seed of the noise, below `MAX_SEED`; the same seed gives the same video.
      given: pixels that are given; None for text alone.
      strength: share of the way from noise to data that is sampled, 0 to 1: 1 begins at noise, less
        at the given video with noise on it (arXiv:2108.01073), and 0 keeps that video.
      loop: whether the first frame follows the last one: the video's latents lie on a ring.
      coarse: the noise is that of a video `coarse` times as high and wide, at low frequencies.
      unconditional: whether the model sees the empty caption with which training replaces some.
    """

    prompt: str
    frames: int = 17
    height: int = 64
    width: int = 96
    fps: float = 8.0
    seed: int = 0
    given: Given | None = None
    strength: float = 1.0
    loop: bool = False
    coarse: int = 1
    unconditional: bool = False

    def __post_init__(self):
        if not self.prompt.strip() and not self.unconditional:
            raise ValueError(
                'the prompt is empty: describe the video, as in "a red ball bounces", or ask for '
                "an unconditional one"
            )
        if self.prompt and self.unconditional:
            raise ValueError(f"unconditional, and the prompt is {self.prompt!r}: leave one out")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength is {self.strength}: give one from 0 to 1")
        if self.strength < 1 and self.given is None:
            raise ValueError(f"the strength is {self.strength} and nothing is given: give a video")
        if not 0 < self.fps < math.inf or self.coarse < 1:
            raise ValueError(f"fps and coarse are {self.fps} and {self.coarse}: give them above 0")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"the seed is {self.seed}: give one from 0 to {MAX_SEED - 1}")
        if self.loop and self.given:
            raise ValueError("a loop is made from text alone: leave the video out, or close it")
        size = self.frames, self.height, self.width
        if self.given and self.given.video.shape[:3] != size:
            raise ValueError(
                f"a video of {_times(self.given.video.shape[:3])} (frames x height x width) is "
                f"given for one of {_times(size)}: give it that size"
            )


class KnownLatents(NamedTuple):
    """Normalised latents of a canvas, and which of them the sampler keeps (1, others 0)."""

    latents: Float[np.ndarray, "u y x c"]
    known: Int[np.ndarray, "u y x"]


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A request laid out on its grid of latents.

    Attributes:
      request: what was asked for.
      grid: number of patches along time, height and width.
      segment: its positions and caption; its patches, zeros where nothing is given.
      noise: its standard normal noise.
      keys: data of a random key for each patch, for samplers that add noise.
      ring: number of patches along time that lie on a ring, and the step in position from one to
        the next; zeros for a video that has a beginning and an end.
    """

    request: Request
    grid: tuple[int, int, int]
    segment: Segment
    noise: Float[np.ndarray, "l p"]
    keys: UInt32[np.ndarray, "l 2"]
    ring: tuple[float, float] = (0.0, 0.0)


def make_canvas(
    request: Request,
    vae: AnyVAEConfig,
    patch: tuple[int, int, int],
    text: np.ndarray,
    known_latents: KnownLatents | None = None,
) -> Canvas:
    """The canvas of a request.

    Args:
      vae: the autoencoder's sizes.
      patch: the transformer's patch.
      text: token ids [s] or embeddings [s, d] of the prompt.
      known_latents: of its size or padded beyond that; None for text alone.

    Raises:
      ValueError: the size is too small, or all of it is known; or a loop's frames are no whole
        latents.
    """
    r, k, s = request, vae.temporal_stride, vae.spatial_stride
    if r.loop and r.frames % (k * patch[0]):
        raise ValueError(f"a loop of {r.frames} frames: give a multiple of {k * patch[0]}")
    # On a ring all latents span k frames, where else the first has one.
    frames = r.frames - (k - 1) * r.loop
    t, h, w = canvas_shape(frames, r.height, r.width, k, s * patch[1])
    shape = (t - 1) // k + 1, h // s, w // s
    larger = canvas_shape(frames, r.height * r.coarse, r.width * r.coarse, k, s * patch[1])
    if r.coarse > 1 and larger != (t, h * r.coarse, w * r.coarse):
        raise ValueError(
            f"a preview of {r.height}x{r.width} pixels is no part of {larger[1]}x{larger[2]}: give "
            f"it sides that are multiples of {s * patch[1]}"
        )
    clean = np.zeros((*shape, vae.latent_channels), np.float32)
    known = np.zeros(shape, np.int8)
    if known_latents is not None:
        inside = tuple(map(slice, shape))
        clean, known = (array[inside] for array in known_latents)
    key = jax.random.key(r.seed)
    noise = np.asarray(patchify(draw_noise(key, clean.shape, r.coarse), patch))
    keys = jax.random.split(jax.random.fold_in(key, 1), len(noise))
    segment = make_segment(clean, r.fps, text, patch)
    known = patchify(known[..., None], patch).all(-1)
    if known.all():
        raise ValueError(
            f"all of the video of {r.prompt!r} is given: ask for a longer or larger one"
        )
    step = patch[0] * POSITIONS_PER_SECOND / r.fps
    return Canvas(
        request,
        patch_grid(shape, patch),
        dataclasses.replace(segment, known=known),
        noise,
        np.asarray(jax.random.key_data(keys)),
        (float(shape[0] // patch[0]), step) if r.loop else (0.0, 0.0),
    )


def draw_noise(
    key: Key[Array, ""], shape: tuple[int, int, int, int], coarse: int = 1
) -> Float[Array, "u y x c"]:
    """Standard normal noise, or the low frequencies of that of a larger canvas.

    Each value is the sum of `coarse` x `coarse` values of the larger canvas, over `coarse`, so that
    it is standard normal, too, and the two videos begin with the same large shapes.

    Args:
      coarse: how many times as high and wide the larger canvas is.
    """
    u, y, x, c = shape
    fine = jax.random.normal(key, (u, y * coarse, x * coarse, c))
    return fine.reshape(u, y, coarse, x, coarse, c).sum((2, 4)) / coarse


def find_known_latents(
    known: Bool[np.ndarray, "t h w"], temporal: int, spatial: int, multiple: int = 1
) -> Int[np.ndarray, "u y x"]:
    """1 for each latent all of whose pixels are known, else 0; padding is known where the edge is.

    Args:
      temporal: frames of a latent, but for the first, which has one.
      spatial: pixels of its side.
      multiple: see `VideoCodec.encode_clip`.
    """
    padded, _ = fit_canvas(known[..., None], temporal, spatial * multiple)
    t, h, w, _ = padded.shape
    cells = padded.reshape(t, h // spatial, spatial, w // spatial, spatial)
    cells = np.min(cells, (2, 4))
    later = np.min(cells[1:].reshape(-1, temporal, *cells.shape[1:]), 1)
    return np.concatenate([cells[:1], later]).astype(np.int8)


def spread_latents(
    known: Int[np.ndarray, "u y x"], temporal: int, spatial: int
) -> Bool[np.ndarray, "t h w"]:
    """The pixels that the latents in question span; see `find_known_latents`."""
    frames = np.repeat(known, temporal, 0)[temporal - 1 :]
    return frames.repeat(spatial, 1).repeat(spatial, 2) > 0


def fill_unknown(given: Given) -> UInt8[np.ndarray, "t h w 3"]:
    """The video in which each unknown pixel has the value of the nearest known one.

    A frame is as far from the next as a pixel is from its neighbour; nothing changes if no pixel is
    known.
    """
    if given.known.all() or not given.known.any():
        return given.video
    nearest: Any = ndimage.distance_transform_edt(
        ~given.known, return_distances=False, return_indices=True
    )
    return given.video[tuple(nearest)]


def _times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
