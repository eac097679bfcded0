"""Videos of any duration through the autoencoder: activations do not grow with it, latents do.

`decode_tiles` also bounds memory in height and width: overlapping tiles, blended linearly. Tiles do
not see each other, so their result is close to the whole frame's and not equal to it; a mesh that
cuts height (`Coder`'s `spec`) is exact.
"""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float

from sora_jax import media
from sora_jax.generation.coder import Coder

OVERLAP = 4
"""Latents that neighbouring tiles share."""


def encode_file(
    coder: Coder, path: epath.PathLike, chunk: int = 1
) -> tuple[Float[np.ndarray, "t h w c"], media.Fit, float]:
    """Latents of a video file, how it was fitted onto its canvas, and its frames per second.

    Raises:
      ValueError: there is no such file, it does not decode, or its frames are too small.
    """
    size = [0, 0, 0]

    def counted() -> Iterator[np.ndarray]:
        for frame in media.read_stream(path):
            size[0], size[1:] = size[0] + 1, frame.shape[:2]
            yield frame

    latents = list(coder.encode_stream(counted(), chunk))
    if not latents:
        raise ValueError(f"{path} holds no frames")
    original = (size[0], size[1], size[2])
    padded = media.canvas_shape(*original, coder.config.temporal, coder.config.spatial)
    return np.concatenate(latents), media.Fit(original, padded), media.frame_rate(path)


def decode_to_file(
    coder: Coder,
    latents: Float[np.ndarray, "t h w c"],
    fit: media.Fit,
    path: epath.PathLike,
    fps: float,
    chunk: int = 1,
    tile: tuple[int, int] | None = None,
) -> None:
    """Decodes latents chunk by chunk into an mp4, cropped back to the video's own size.

    Args:
      chunk: latent frames that are decoded together.
      tile: height and width of tiles in latents; None decodes whole frames.
    """
    t, h, w = fit.original
    chunks = (
        coder.decode_stream(latents, chunk)
        if tile is None
        else decode_tiles(coder, latents, tile, chunk)
    )
    frames = itertools.islice((frame for part in chunks for frame in part), t)
    media.write_stream(path, (media.to_uint8(frame[:h, :w]) for frame in frames), fps)


def decode_tiles(
    coder: Coder,
    latents: Float[np.ndarray, "t h w c"],
    tile: tuple[int, int],
    chunk: int = 1,
    overlap: int = OVERLAP,
) -> Iterator[Float[np.ndarray, "n H W 3"]]:
    """Frames of latents, decoded in tiles that overlap by `overlap` latents or a little more.

    What each tile hands on from chunk to chunk waits in the host's memory.

    Raises:
      ValueError: a tile is not larger than the overlap.
    """
    if min(tile) <= overlap:
        raise ValueError(f"tiles of {tile} latents must be larger than their overlap {overlap}")
    s = coder.config.spatial
    rows, columns = (
        _starts(n, min(size, n), overlap) for n, size in zip(latents.shape[1:3], tile, strict=True)
    )
    places = list(itertools.product(rows, columns))
    height, width = (min(size, n) for size, n in zip(tile, latents.shape[1:3], strict=True))
    ramp = np.minimum.outer(_ramp(height * s, overlap * s), _ramp(width * s, overlap * s))
    weight = np.zeros((latents.shape[1] * s, latents.shape[2] * s), np.float32)
    for y, x in places:
        weight[y * s : (y + height) * s, x * s : (x + width) * s] += ramp
    caches: dict[tuple[int, int], list[np.ndarray]] = {}
    for start in [0, *range(1, len(latents), chunk)]:
        part = latents[start : start + (chunk if start else 1)]
        short = (chunk if start else 1) - len(part)
        full = np.concatenate([part, np.repeat(part[-1:], short, 0)])
        total: np.ndarray | None = None
        for y, x in places:
            seen = jnp.asarray(full[None, :, y : y + height, x : x + width])
            before = [jnp.asarray(a) for a in caches[y, x]] if start else None
            kept, pixels = coder.decode_step(before, seen)
            caches[y, x], pixels = jax.device_get(kept), np.asarray(pixels[0])
            if total is None:
                total = np.zeros((len(pixels), *weight.shape, 3), np.float32)
            here = slice(y * s, (y + height) * s), slice(x * s, (x + width) * s)
            total[:, *here] += pixels * ramp[..., None]
        assert total is not None  # there is a tile
        frames = len(total) - short * coder.config.temporal
        yield total[:frames] / weight[..., None]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles begin: evenly spread, overlapping by at least `overlap`."""
    count = 1 if size == length else -(-(length - overlap) // (size - overlap))
    return np.linspace(0, length - size, count).round().astype(int).tolist()


def _ramp(length: int, overlap: int) -> Float[np.ndarray, "n"]:
    """Weights that rise from an edge over `overlap` pixels and fall to the other."""
    up = np.minimum((np.arange(length) + 0.5) / overlap, 1)
    return np.minimum(up, up[::-1]).astype(np.float32)
