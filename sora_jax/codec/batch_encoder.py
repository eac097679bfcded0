"""Encoding clips of several sizes together, cut over all devices of the mesh.

Clips of a batch share a canvas and go through it block by block of frames: one frame, then `frames`
at a time. Each gets the latents that `VideoCodec.encode_clip` gives it alone (see
`models.causal_conv`), whatever stands beside it. So a canvas takes two compilations, whatever the
sizes and durations on it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sora_jax import media
from sora_jax.codec.video_codec import CachedFrames, VideoCodec
from sora_jax.models import vae
from sora_jax.models.causal_conv import CausalCache, Extent
from sora_jax.models.latents import LatentStatistics
from sora_jax.sharding import AXES, P, auto_axes, put

BLOCKS_AHEAD = 2
"""Blocks of frames that are on the devices before they are needed."""
BATCH = P(AXES)
"""Sharding of a batch of clips: each device has some of them, whole."""


class Canvas(NamedTuple):
    """The shape that some clips are encoded in.

    Attributes:
      height, width: its sides, in latents.
      frames: number of frames of each block but the first, which has one.
      clips: number of clips in a batch, over all devices.
    """

    height: int
    width: int
    frames: int
    clips: int


class Encoded(NamedTuple):
    """Latents of a batch that are being computed.

    Attributes:
      parts: those of each block of frames.
      shapes: frames, height and width of each clip's latents.
    """

    parts: list[Float[Array, "b u y x c"]]
    shapes: list[tuple[int, int, int]]

    def fetch(self) -> list[Float[np.ndarray, "_ _ _ _"]]:
        """Waits for the latents of each clip, without the rest of the canvas."""
        whole = np.concatenate([np.asarray(part) for part in self.parts], 1)
        return [z[:u, :y, :x].copy() for z, (u, y, x) in zip(whole, self.shapes, strict=False)]


class BatchEncoder:
    """Encodes batches of clips on the current mesh, whose devices all do the same work."""

    def __init__(self, codec: VideoCodec):
        """Compiles nothing yet.

        Args:
          codec: its weights are replicated; its `spec` is not used.
        """
        self.codec = codec
        self._step = jax.jit(auto_axes(self._encode, out_sharding=BATCH), donate_argnums=2)

    def _encode(
        self,
        params,
        statistics,
        cached_frames: CachedFrames | None,
        frames: UInt8[Array, "b t h w 3"],
        sizes: Int[Array, "b 2"],
    ) -> tuple[CachedFrames, Float[Array, "b u y x c"]]:
        config = self.codec.config
        canvas = frames.shape[2] // config.spatial_stride, frames.shape[3] // config.spatial_stride
        cache = CausalCache(cached_frames, Extent(sizes, canvas))
        pixels = jnp.asarray(media.to_float(frames))
        mean = vae.posterior(config, params, statistics, pixels, cache).mean
        return cache.frames_out, LatentStatistics(**statistics["latents"]).normalise(mean)

    def start(
        self, videos: Sequence[UInt8[np.ndarray, "_ _ _ 3"]], canvas: Canvas, multiple: int = 1
    ) -> Encoded:
        """Starts encoding clips, at most `canvas.clips`; of long ones, waits for the first blocks.

        Args:
          videos: clips whose latents fit the canvas.
          multiple: as of `VideoCodec.encode_clip`.

        Raises:
          ValueError: a clip is too small, or does not fit; or there are too many of them.
        """
        if len(videos) > canvas.clips:
            raise ValueError(f"{len(videos)} clips are no batch of {canvas.clips}: give fewer")
        shapes = [latent_shape(self.codec, video.shape[:3], multiple) for video in videos]
        for video, (_, y, x) in zip(videos, shapes, strict=True):
            if y > canvas.height or x > canvas.width:
                raise ValueError(f"a clip of {video.shape[:3]} does not fit the canvas {canvas}")
        sizes = np.ones((canvas.clips, 2), np.int32)
        sizes[: len(videos)] = [shape[1:] for shape in shapes]
        sides = put(sizes, BATCH)
        k, cache, parts, first = self.codec.config.temporal_stride, None, [], 0
        total = 1 + k * (max(shape[0] for shape in shapes) - 1)
        while first < total:
            count = canvas.frames if first else 1
            block = self._block(videos, shapes, canvas, range(first, first + count))
            cache, latents = self._step(
                self.codec.params, self.codec.statistics, cache, put(block, BATCH), sides
            )
            parts.append(latents)
            first += count
            if len(parts) > BLOCKS_AHEAD:  # the frames of a long clip take more than a device has
                parts[-1 - BLOCKS_AHEAD].block_until_ready()
        return Encoded(parts, shapes)

    def _block(self, videos, shapes, canvas: Canvas, frames: range) -> UInt8[np.ndarray, "..."]:
        """Frames of all clips on their canvas; edges and last frames are repeated, as by `Fit`."""
        s = self.codec.config.spatial_stride
        sides = canvas.height * s, canvas.width * s
        block = np.zeros((canvas.clips, len(frames), *sides, 3), np.uint8)
        for place, video, (_, y, x) in zip(block, videos, shapes, strict=False):
            part = video[np.minimum(frames, len(video) - 1)]
            missing = [(0, n * s - have) for n, have in zip((y, x), part.shape[1:3], strict=True)]
            place[:, : y * s, : x * s] = np.pad(part, [(0, 0), *missing, (0, 0)], "edge")
        return block


def latent_shape(
    codec: VideoCodec, shape: tuple[int, int, int], multiple: int = 1
) -> tuple[int, int, int]:
    """Frames, height and width of a clip's latents.

    Args:
      shape: frames, height and width in pixels.
      multiple: as of `VideoCodec.encode_clip`.

    Raises:
      ValueError: the clip is too small.
    """
    k, s = codec.config.temporal_stride, codec.config.spatial_stride
    t, h, w = codec.canvas_shape(*shape, multiple)
    return 1 + (t - 1) // k, h // s, w // s
