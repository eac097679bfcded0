"""The `Stream` of small frames that a file is opened as, and the rules of sizes and frame rates."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from data_pipelines.ingest.config import Limits
from sora_jax.media import MIN_SIDE_PIXELS

SAMPLES = 64  # frames in which a letterbox is looked for
_BAR_PERCENTILE = 98  # of the luma of a row or column, which is dark in a bar


class Rejected(Exception):
    """Raised for a file that is not used, with a reason, one of a few, and a detail."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """The frames of an opened file.

    Attributes:
      size: height and width in pixels as shown, before it is cropped.
      crop: top, left, height and width in pixels of the picture without letterbox bars.
      fps: frames per second of `frames`.
      frames: uint8[h, w, 3], RGB, of one size; raises `Rejected` where the file turns out bad.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    fps: float
    frames: Iterator[np.ndarray]


def check_limits(height: int, width: int, seconds: float, limits: Limits) -> None:
    """Checks the size of a frame in pixels and the duration of a file.

    Raises:
      Rejected: one of them exceeds the limits.
    """
    if height * width > limits.pixels:
        raise Rejected("too many pixels", f"{width}x{height}")
    if seconds > limits.seconds:
        raise Rejected("too long", f"{seconds:.0f} s")


def fit_size(height: float, width: float, pixels: int) -> tuple[int, int]:
    """Returns the (height, width) that a picture shrinks to; its aspect ratio is kept.

    Args:
      height, width: size of the picture in pixels.
      pixels: maximum pixels of the result.

    Raises:
      Rejected: a side is too small for a video.
    """
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    size = int(height * scale + 1e-6), int(width * scale + 1e-6)
    if min(size) < MIN_SIDE_PIXELS:
        raise Rejected("too small", f"{size[1]}x{size[0]} of {width:.0f}x{height:.0f} pixels")
    return size


def thin_frames(fps: float, max_fps: float) -> tuple[float, Iterator[bool]]:
    """Returns the frame rate, at most `max_fps`, and for each frame whether it is kept."""
    step = min(1.0, max_fps / fps)
    whole = (int(i * step + 1e-9) for i in itertools.count())
    return fps * step, (two > one for one, two in itertools.pairwise(whole))


def find_picture_area(brightest: np.ndarray, max_bar_luma: int) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of a picture without the black bars at its edges.

    They are even where something is cropped, as the planes of most films are halved.

    Args:
      brightest: uint8[h, w], the maximum luma of each pixel over the frames.
      max_bar_luma: maximum luma of a bar, 0 to 255; -1 keeps all bars.
    """
    height, width = brightest.shape
    top, bottom = _find_lit_range(np.percentile(brightest, _BAR_PERCENTILE, 1) > max_bar_luma)
    left, right = _find_lit_range(
        np.percentile(brightest[top:bottom], _BAR_PERCENTILE, 0) > max_bar_luma
    )
    if 4 * (bottom - top) < height or 4 * (right - left) < width:
        return 0, 0, height, width
    return top, left, bottom - top, right - left


def _find_lit_range(lit: np.ndarray) -> tuple[int, int]:
    """Returns the range [start, stop) of the rows or columns that are lit; all where none is."""
    indices = np.flatnonzero(lit)
    if not indices.size:
        return 0, len(lit)
    first, stop = int(indices[0]), int(indices[-1]) + 1
    return first + first % 2, stop if stop == len(lit) else stop - stop % 2
