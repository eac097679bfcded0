"""Encoding and decoding video files of any duration, in memory that does not grow with it.

Files are mp4s in yuv420p, whose sides are even: an odd side gets one more row or column, a copy of
its last.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epath
from jaxtyping import Array, Float, UInt8

from sora_jax import media
from sora_jax.codec.video_codec import VideoCodec, to_frames


def decode_to_file(
    codec: VideoCodec,
    latents: Iterable[Float[np.ndarray | Array, "h w c"]],
    fit: media.Fit,
    path: epath.PathLike,
    fps: float | int,
    chunk: int = 1,
) -> None:
    """Decodes a stream of latents into an mp4, cropped to the video's original size.

    Args:
      fit: how the video was padded when it was encoded.
      chunk: latent frames that are decoded together.

    Raises:
      ValueError: as `video_codec.to_frames`.
    """
    t, h, w = fit.original
    media.write_stream(path, itertools.islice(_frames(codec, latents, chunk, h, w), t), fps)


def reconstruct_file(
    codec: VideoCodec, source: epath.PathLike, target: epath.PathLike, chunk: int = 1
) -> media.Fit:
    """Encodes a video file and decodes it into an mp4 of the same duration and size, made even.

    Returns:
      How the video was padded.

    Raises:
      ValueError: there is no such file, it does not decode, its frames are too small, or the
        decoded pixels are not finite.
    """
    read = 0
    with media.open_video(source) as (fps, frames):
        first = next(frames)
        h, w, _ = first.shape

        def counted() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
            nonlocal read
            for read, frame in enumerate(itertools.chain([first], frames), 1):  # noqa: B007
                yield frame

        def cropped() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
            latents = itertools.chain.from_iterable(codec.encode_stream(counted(), chunk))
            for number, frame in enumerate(_frames(codec, latents, chunk, h, w), 1):
                if number <= read:  # all are read before the first that fills the last chunk
                    yield frame

        media.write_stream(target, cropped(), fps)
    return media.Fit((read, h, w), codec.canvas_shape(read, h, w))


def _frames(
    codec: VideoCodec,
    latents: Iterable[Float[np.ndarray | Array, "h w c"]],
    chunk: int,
    h: int,
    w: int,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Decoded frames, uint8, cropped to [h, w]."""
    for part in codec.decode_stream(latents, chunk):
        yield from to_frames(part[:, :h, :w])
