"""Reads videos and pictures at a constant rate."""

import contextlib
import io
import itertools
from collections.abc import Iterator

import numpy as np
from absl import logging
from etils import epath
from jaxtyping import UInt8

from sora_jax.media import films, pictures
from sora_jax.media.canvas import Video
from sora_jax.media.containers import File, open_container
from sora_jax.media.limits import Limits, Rejected
from sora_jax.media.timing import resample

LIMITS = Limits()


@contextlib.contextmanager
def open_media(
    file: File, limits: Limits = LIMITS, look: bool = True
) -> Iterator[films.Film | pictures.Picture]:
    """Opens a film or picture, whatever its name.

    Args:
      look: whether to look in a film for interlaced frames; else their flags are believed.

    Raises:
      Rejected: the file is neither, or exceeds a limit.
    """
    with pictures.open_picture(file, limits) as picture:
        if picture is not None:
            yield picture
            return
    with films.open_film(file, limits, look) as film:
        yield film


def decode_video(
    data: bytes, start: int = 0, stop: int | None = None, fps: float = 0.0
) -> tuple[Video, float]:
    """Decodes a video of a record, which has a constant rate, into frames and frames per second.

    Args:
      start, stop: range of frames that are wanted, [start, stop); None: to the end.
      fps: frames per second; with them, frames before the last keyframe are not decoded.

    Raises:
      ValueError: if the bytes hold no video whose frames all decode.
    """
    error: Exception | None = None
    seconds = max(start - 0.5, 0.0) / fps if fps else 0.0
    try:
        with films.open_film(io.BytesIO(data), LIMITS, look=False, start=seconds) as film:
            first = round(film.account.begin * film.fps)  # the number of the first frame read
            count = None if stop is None else stop - first
            shown = itertools.islice(film.read(), max(start - first, 0), count)
            frames = [frame.pixels for frame in shown]
        if first > start:  # its clock is not what was said
            return decode_video(data, start, stop)
        if not film.account.faults and frames:
            return np.stack(frames), film.fps
    except Rejected as rejected:
        error = rejected
    raise ValueError(
        f"cannot decode {len(data)} bytes as video ({error or 'it is damaged'}); "
        "the data is damaged or not a video, make or fetch it again"
    ) from error


@contextlib.contextmanager
def open_video(
    path: epath.PathLike,
) -> Iterator[tuple[float, Iterator[UInt8[np.ndarray, "h w 3"]]]]:
    """Opens any film or picture as its frames per second and its frames.

    Frames come one by one, upright, of one size, at a constant rate: where the film's own varies,
    frames are repeated or left out. What is damaged or missing is left out, with a warning.

    Raises:
      ValueError: there is no such file, or it holds no frame that decodes.
    """
    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise ValueError(f"no video at {path}; check the path")

    def read(media: films.Film | pictures.Picture) -> Iterator[np.ndarray]:
        for frame in resample(media.read(), rate):
            yield frame.pixels
        if media.account.faults:
            what = ", ".join(f"{reason} at {n}" for reason, n in media.account.faults.items())
            logging.warning("%s is not whole: %s places", path, what)

    try:
        with open_media(path) as media:
            rate = media.measure_rate()
            yield rate, read(media)
    except Rejected as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def read_video(path: epath.PathLike) -> tuple[Video, float]:
    """Reads all of `open_video` into memory: frames, and frames per second. Raises as it does."""
    with open_video(path) as (fps, frames):
        return np.stack(list(frames)), fps


def read_comment(path: epath.PathLike) -> str:
    """Reads the text that a video file carries, or "". Raises ValueError as `open_video`."""
    try:
        with open_container(epath.Path(path)) as (container, _):
            return container.metadata.get("comment", "")
    except (Rejected, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
