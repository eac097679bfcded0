"""Encoding and decoding in tiles, for frames that are too large for one device.

Tiles overlap and are blended linearly. They do not see each other, so the result is close to the
whole frame's and not equal to it; a mesh that cuts height (`VideoCodec`'s `spec`) is exact.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sora_jax.codec.video_codec import AnyArray, VideoCodec

OVERLAP = 4
"""Minimum number of latents that neighbouring tiles share."""
TileCaches = dict[tuple[int, int], list[np.ndarray]]
"""The cached frames of each tile, in host memory between chunks."""


class TiledCodec(VideoCodec):
    """A codec that processes one tile at a time; all of its methods return numpy arrays."""

    def __init__(self, codec: VideoCodec, tile: tuple[int, int], overlap: int = OVERLAP):
        """Compiles nothing yet.

        Args:
          tile: height and width in latents.

        Raises:
          ValueError: a tile is not larger than the overlap, or that is below 1.
        """
        if overlap < 1:
            raise ValueError(f"tiles overlap by {overlap} latents: give at least 1")
        if min(tile) <= overlap:
            raise ValueError(f"tiles of {tile} latents must be larger than their overlap {overlap}")
        super().__init__(codec.config, codec.params, codec.statistics)
        self.step = codec.step
        self.tile, self.overlap = tile, overlap

    def encode(self, pixels: AnyArray) -> Float[np.ndarray, "b t h w c"]:
        """As `VideoCodec.encode`."""
        return self.encode_step(None, pixels)[1]

    def decode(self, latents: AnyArray) -> Float[np.ndarray, "b t h w 3"]:
        """As `VideoCodec.decode`."""
        return self.decode_step(None, latents)[1]

    def encode_step(
        self, cache: TileCaches | None, pixels: AnyArray
    ) -> tuple[TileCaches, Float[np.ndarray, "b t h w c"]]:
        """As `VideoCodec.encode_step`."""
        self._check_pixels(pixels, cache is None)
        return self._in_tiles(super().encode_step, cache, pixels, self.config.spatial_stride, 1)

    def decode_step(
        self, cache: TileCaches | None, latents: AnyArray
    ) -> tuple[TileCaches, Float[np.ndarray, "b t h w 3"]]:
        """As `VideoCodec.decode_step`."""
        self._check_latents(latents)
        return self._in_tiles(super().decode_step, cache, latents, 1, self.config.spatial_stride)

    def _in_tiles(
        self,
        step: Callable[..., Any],
        cache: TileCaches | None,
        chunk: AnyArray,
        fine: int,
        out: int,
    ) -> tuple[TileCaches, np.ndarray]:
        """Blended results of `step` on the tiles of a chunk.

        Args:
          fine: positions of the chunk for each latent, along height and width.
          out: the same of the result.
        """
        sides = [n // fine for n in chunk.shape[2:4]]
        tile = [min(size, n) for size, n in zip(self.tile, sides, strict=True)]
        rows, columns = (
            _starts(n, size, self.overlap) for n, size in zip(sides, tile, strict=True)
        )
        ramps = (_ramp(size * out, self.overlap * out) for size in tile)
        ramp = np.minimum.outer(*ramps)[..., None]
        weight = np.zeros((sides[0] * out, sides[1] * out, 1), np.float32)
        caches: TileCaches = {}
        total: np.ndarray | None = None
        for corner in itertools.product(rows, columns):
            source, target = (_window(corner, tile, scale) for scale in (fine, out))
            past = None if cache is None else [jnp.asarray(a) for a in cache[corner]]
            next_cache, result = step(past, jnp.asarray(chunk[:, :, *source]))
            caches[corner], result = jax.device_get(next_cache), np.asarray(result)
            if total is None:
                shape = (*result.shape[:2], *weight.shape[:2], result.shape[-1])
                total = np.zeros(shape, np.float32)
            total[:, :, *target] += result * ramp
            weight[target] += ramp
        assert total is not None  # there is a tile
        return caches, total / weight


def _window(corner: tuple[int, int], tile: list[int], scale: int) -> tuple[slice, slice]:
    """Rows and columns of a tile at `scale` positions a latent."""
    y, x = (slice(i * scale, (i + n) * scale) for i, n in zip(corner, tile, strict=True))
    return y, x


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """First positions of evenly spread tiles that overlap by at least `overlap`."""
    count = 1 if size == length else -(-(length - overlap) // (size - overlap))
    return np.linspace(0, length - size, count).round().astype(int).tolist()


def _ramp(length: int, overlap: int) -> Float[np.ndarray, "n"]:
    """Weights that rise from an edge over `overlap` positions and fall to the other."""
    up = np.minimum((np.arange(length) + 0.5) / overlap, 1)
    return np.minimum(up, up[::-1]).astype(np.float32)
