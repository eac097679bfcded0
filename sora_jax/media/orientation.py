"""How a film's frames are brought upright: the turn or mirror of its display matrix."""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type


class Orientation(NamedTuple):
    """What brings a frame upright.

    Attributes:
      filters: (name, arguments) of FFmpeg's filters.
      of_array: the same, of an array [h, w].
      is_turned: whether height and width change places.
    """

    filters: tuple[tuple[str, str], ...] = ()
    of_array: Callable[[np.ndarray], np.ndarray] = lambda array: array
    is_turned: bool = False


# By the signs of (a, b, c, d): a stored point (x, y) is shown at (a x + c y, b x + d y).
_BY_MATRIX = {
    (1, 0, 0, 1): Orientation(),
    (-1, 0, 0, 1): Orientation((("hflip", ""),), np.fliplr),
    (1, 0, 0, -1): Orientation((("vflip", ""),), np.flipud),
    (-1, 0, 0, -1): Orientation((("hflip", ""), ("vflip", "")), lambda a: a[::-1, ::-1]),
    (0, 1, -1, 0): Orientation((("transpose", "clock"),), lambda a: np.rot90(a, -1), True),
    (0, -1, 1, 0): Orientation((("transpose", "cclock"),), np.rot90, True),
    (0, 1, 1, 0): Orientation((("transpose", "cclock_flip"),), np.transpose, True),
    (0, -1, -1, 0): Orientation((("transpose", "clock_flip"),), lambda a: a[::-1, ::-1].T, True),
}


def find_orientation(frame: av.VideoFrame) -> Orientation:
    """Finds what brings a frame upright; matrices of other angles go to the nearest quarter.

    Ask it of few frames: PyAV makes a cycle of a frame and its side data, so that the memory of the
    frame is only freed when Python's garbage collector comes by.
    """
    side_data: Any = frame.side_data
    matrix = side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    largest = max(1, *map(abs, (a, b, c, d)))
    signs = [round(n / largest) for n in (a, b, c, d)]
    return _BY_MATRIX.get((signs[0], signs[1], signs[2], signs[3]), Orientation())
