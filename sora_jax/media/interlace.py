"""Finds interlaced and telecined film by the combs that movement leaves in its frames.

The field flag of a stream says how it was encoded, not what it shows: progressive film is often
flagged, and interlaced film often is not. A pixel is combed where the lines above and below it are
like each other and unlike its own. Moving edges in two fields make many pixels so; fine detail
does too, but then the lines of one field alone are as unlike each other, which is subtracted.
"""

import enum
from collections.abc import Iterable

import numpy as np

_MIN_CHANGE = 16  # levels by which a pixel must differ in time and from its neighbouring lines
_MIN_MOVING = 50  # pixels that must move in a frame before it says anything
_COMBED_SHARE = 0.08  # of the moving pixels of a frame with two fields
_MIN_FRAMES = 5  # that move, before anything is concluded
_CYCLE = 5  # frames after which the pattern of telecine repeats


class Scan(enum.Enum):
    """How the lines of a film were recorded."""

    UNKNOWN = "unknown"
    PROGRESSIVE = "progressive"
    INTERLACED = "interlaced"
    TELECINED = "telecined"  # 24 frames a second in 60 fields: two of five frames are combed


def find_scan(groups: Iterable[Iterable[np.ndarray]]) -> Scan:
    """Finds how a film was recorded.

    Args:
      groups: runs of neighbouring frames from several places: uint8[h, w], luma, as stored.

    Returns:
      The kind of scan, UNKNOWN where too little moves to tell, or frames are of both kinds.
    """
    combed = [[share > _COMBED_SHARE for share in _combed_shares(group)] for group in groups]
    if sum(map(len, combed)) < _MIN_FRAMES:
        return Scan.UNKNOWN
    share = np.mean([flag for flags in combed for flag in flags])
    again = [a == b for flags in combed for a, b in zip(flags, flags[_CYCLE:], strict=False)]
    if 0.3 <= share <= 0.5 and len(again) >= _CYCLE and np.mean(again) > 0.9:
        return Scan.TELECINED
    if share < 0.2:
        return Scan.PROGRESSIVE
    return Scan.INTERLACED if share > 0.6 else Scan.UNKNOWN


def _combed_shares(frames: Iterable[np.ndarray]) -> Iterable[float]:
    """Yields the share of combed pixels among those that moved, of frames where enough did."""
    last = None
    for frame in frames:
        now = frame.astype(np.int16)
        if last is not None and last.shape == now.shape:
            moved = np.abs(now - last) > _MIN_CHANGE
            if (count := np.count_nonzero(moved)) >= _MIN_MOVING:
                yield (_count_combs(now, moved, 1) - _count_combs(now, moved, 2)) / count
        last = now


def _count_combs(frame: np.ndarray, moved: np.ndarray, lines: int) -> int:
    """Counts the moved pixels that differ from those `lines` above and below, which are alike."""
    above, line, below = frame[: -2 * lines], frame[lines:-lines], frame[2 * lines :]
    alike = np.abs(above - below) < _MIN_CHANGE // 2
    unlike = np.minimum(np.abs(line - above), np.abs(line - below)) > _MIN_CHANGE
    return int(np.count_nonzero(alike & unlike & moved[lines:-lines]))
