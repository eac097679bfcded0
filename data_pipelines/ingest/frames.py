"""What an opened file is to ingest: small frames, one by one, or a reason why it is not used."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from data_pipelines.ingest.config import Limits
from sora_jax.media import MIN_SIDE_PIXELS

SAMPLES = 64  # frames that show a letterbox
_DARK = 98  # percentile of a row or column that is dark in a bar


class Rejected(Exception):
    """A file that is not used: the reason, one of a few, and a detail."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """An opened file.

    Attributes:
      size: height and width in pixels as shown, before it is cropped.
      crop: top, left, height and width of what is left without bars.
      fps: frames per second of `frames`.
      frames: uint8[h, w, 3], RGB, of one size; raises `Rejected` where the file turns out bad.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    fps: float
    frames: Iterator[np.ndarray]


def check(height: int, width: int, seconds: float, limits: Limits) -> None:
    """Raises Rejected for more pixels in a frame, or more seconds, than the limits allow."""
    if height * width > limits.pixels:
        raise Rejected("too many pixels", f"{width}x{height}")
    if seconds > limits.seconds:
        raise Rejected("too long", f"{seconds:.0f} s")


def fitted(height: float, width: float, pixels: int) -> tuple[int, int]:
    """The size of a picture of at most `pixels` with the same aspect, no larger than it is.

    Raises:
      Rejected: a side is too small for a video.
    """
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    size = int(height * scale + 1e-6), int(width * scale + 1e-6)
    if min(size) < MIN_SIDE_PIXELS:
        raise Rejected("too small", f"{size[1]}x{size[0]} of {width:.0f}x{height:.0f} pixels")
    return size


def thinned(fps: float, most: float) -> tuple[float, Iterator[bool]]:
    """The frame rate with at most `most` frames per second, and which frames are kept for it."""
    step = min(1.0, most / fps)
    whole = (int(i * step + 1e-9) for i in itertools.count())
    return fps * step, (two > one for one, two in itertools.pairwise(whole))


def picture_area(brightest: np.ndarray, bars: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a picture without the black bars at its edges.

    They are even where something is cropped, as the planes of most films are halved.

    Args:
      brightest: uint8[h, w], the largest luma that each pixel has.
      bars: luma up to which a row or column is dark.
    """
    height, width = brightest.shape
    top, bottom = _lit(np.percentile(brightest, _DARK, 1) > bars)
    left, right = _lit(np.percentile(brightest[top:bottom], _DARK, 0) > bars)
    if 4 * (bottom - top) < height or 4 * (right - left) < width:
        return 0, 0, height, width
    return top, left, bottom - top, right - left


def _lit(lit: np.ndarray) -> tuple[int, int]:
    """From the first to behind the last of what is lit; all where nothing is."""
    found = np.flatnonzero(lit)
    if not found.size:
        return 0, len(lit)
    first, stop = int(found[0]), int(found[-1]) + 1
    return first + first % 2, stop if stop == len(lit) else stop - stop % 2
