"""Finds dissolves and fades: runs of frames that are mixtures of one picture and another.

Frames x = (1 - a) p + a q of a mixture, a from 0 to 1, are told from those of one shot in two ways:

- They lie on the line from p to q, however a goes. What moves in a shot leaves that line; but for a
  slow movement of the whole picture, which is recognised by moving it back. This finds transitions
  of little movement, and fades.
- Where p and q move too, their variances still mix: those of pictures that have nothing in common
  to (1 - a)^2 var p + a^2 var q, which sags to half in the middle (Alattar 1993). This finds linear
  dissolves.
"""

import collections

import cv2
import numpy as np

_LAGS = (12, 24, 48)  # frames from p to q of the first way
_LENGTHS = (5, 6, 9, 13, 18, 26, 36, 50)  # mixed frames of the second way
_SIDES = 3  # frames on each side of them whose variances are averaged
LONGEST = max(*_LAGS, _LENGTHS[-1] + 2 * _SIDES)  # frames that are remembered
_SIZE = 32, 18  # pixels; width and height of the small pictures
_MAX_CORRELATION = 0.5  # of p and q
_MIN_CHANGE = 12.0  # levels, root of the mean square, from p to q
_FLAT = 0.15  # standard deviation over that of the other picture, where it has no content
_MAX_RESIDUAL = 0.1  # mean square distance from the line over that from p to q
_BETWEEN, _MIN_BETWEEN = (0.15, 0.85), 3  # values of a of frames between p and q; how many
_MIXED = 0.1, 0.9  # values of a of the frames that are left out
_MAX_SHIFT, _MOVED = (6, 14), 0.3  # pixels; share of a change that is left when it was a movement
_MIN_SAG, _MAX_MISFIT = 0.7, 0.05  # variance in the middle, and misfit, over a straight line's


class TransitionDetector:
    """Finds transitions in a run of frames."""

    def __init__(self):
        self._past: collections.deque[np.ndarray] = collections.deque(maxlen=LONGEST + 1)

    def reset(self) -> None:
        """Forgets what came before."""
        self._past.clear()

    def add(self, frame: np.ndarray) -> set[int]:
        """Takes the next frame, uint8[h, w, 3].

        Returns:
          The frames that turn out to be mixtures, as the number of frames before this one.
        """
        small = cv2.resize(frame, _SIZE, interpolation=cv2.INTER_AREA)
        self._past.append(small.astype(np.float32).ravel())
        past = np.stack(self._past)
        variances = past.var(1)
        mixed: set[int] = set()
        for lag in (lag for lag in _LAGS if lag < len(past)):
            mixed |= {lag - i for i in _find_on_line(past[-1 - lag :])}
        for length in _LENGTHS:
            window = slice(-length - 2 * _SIDES, None)
            if length + 2 * _SIDES <= len(past) and _sags(past[window], variances[window]):
                mixed |= set(range(_SIDES, _SIDES + length))
        return mixed


def _find_on_line(window: np.ndarray) -> range:
    """Returns which frames of [t, n], from the first to the last, are mixtures of these two."""
    p, q = window[0], window[-1]
    if not _are_unlike(p, q):
        return range(0)
    line = q - p
    length = float(line @ line)
    a = (window - p) @ line / length
    between = np.flatnonzero((a > _BETWEEN[0]) & (a < _BETWEEN[1]))
    if len(between) < _MIN_BETWEEN:
        return range(0)
    off = window[between] - p - a[between, None] * line
    if np.square(off).sum(1).mean() > _MAX_RESIDUAL * length:
        return range(0)
    if _moved(window[between[0]], window[between[-1]]):
        return range(0)
    indices = np.flatnonzero((a > _MIXED[0]) & (a < _MIXED[1]))
    return range(int(indices[0]), int(indices[-1]) + 1)


def _sags(window: np.ndarray, variances: np.ndarray) -> bool:
    """Returns whether the variances of [t, n], without the sides, are those of mixtures."""
    begin, sag, end = np.split(variances, (_SIDES, -_SIDES))
    one, two = float(begin.mean()), float(end.mean())
    a = (np.arange(len(sag)) + 1) / (len(sag) + 1)
    straight = (1 - a) * one + a * two
    if sag[len(sag) // 2] > _MIN_SAG * straight[len(sag) // 2]:
        return False
    misfit = np.square(sag - (1 - a) ** 2 * one - a**2 * two).sum()
    fits = misfit < _MAX_MISFIT * np.square(sag - straight).sum()
    return bool(fits) and _are_unlike(window[_SIDES - 1], window[-_SIDES])


def _are_unlike(p: np.ndarray, q: np.ndarray) -> bool:
    """Returns whether two pictures differ clearly and have little in common, or one is flat."""
    if np.square(q - p).mean() < _MIN_CHANGE**2:
        return False
    p, q = p - p.mean(), q - q.mean()
    low, high = sorted((float(np.sqrt(np.mean(p * p))), float(np.sqrt(np.mean(q * q)))))
    return low <= _FLAT * high or float(np.mean(p * q)) <= _MAX_CORRELATION * low * high


def _moved(one: np.ndarray, two: np.ndarray) -> bool:
    """Returns whether one small picture is the other one, moved."""
    width, height = _SIZE
    one, two = one.reshape(height, width, 3), two.reshape(height, width, 3)
    least = np.inf
    for y in range(-_MAX_SHIFT[0], _MAX_SHIFT[0] + 1):
        for x in range(-_MAX_SHIFT[1], _MAX_SHIFT[1] + 1):
            part = one[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
            other = two[max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
            least = min(least, float(np.square(part - other).mean()))
    return least < _MOVED * float(np.square(one - two).mean())
