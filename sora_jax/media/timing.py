"""Frames at a constant rate, from frames that come when they come.

A frame is shown until the next one; at each tick of a clock of constant rate the frame is taken
whose time is nearest. Films of a constant rate pass through as they are.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

# Frames per second that cameras, broadcasts and screens have.
_USUAL = tuple(
    rate * step
    for rate in (8, 10, 12, 12.5, 15, 16, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 144, 240)
    for step in (1, 1000 / 1001)
)
_CLOSE = 0.003  # relative error within which a measured rate is a usual one
MAX_FPS = 1000.0  # frames per second that are believed
_BURSTS = 4.0  # mean over median interval above which frames come in bursts
_FEW = 4  # ticks without a frame; more say little of the interval
_STEADY = 0.25  # of an interval: frames that are off the clock by less have a constant rate


class Frame(NamedTuple):
    """A frame of a film.

    Attributes:
      pixels: uint8[h, w, 3], RGB.
      seconds: time in the film; its first frame is at 0, if that can be read.
      number: number in the film, from 0.
      run: number of the run of good frames that it belongs to, from 0. A run ends where frames are
        damaged or missing, the size changes, or nothing is shown for long.
    """

    pixels: np.ndarray
    seconds: float
    number: int
    run: int


class Ahead(Iterator[Frame]):
    """Frames that can be looked at before they are taken.

    Attributes:
      taken: frames that were taken.
    """

    def __init__(self, frames: Iterable[Frame]):
        self._frames, self._held = iter(frames), collections.deque[Frame]()
        self.taken = 0

    def peek(self, count: int) -> list[Frame]:
        """Returns the next `count` frames, or what there are."""
        self._held.extend(itertools.islice(self._frames, max(count - len(self._held), 0)))
        return list(itertools.islice(self._held, count))

    def __next__(self) -> Frame:
        if not self.peek(1):
            raise StopIteration
        self.taken += 1
        return self._held.popleft()


def choose_rate(seconds: Sequence[float] | np.ndarray, nominal: float) -> float:
    """Chooses the frames per second of a clock for frames at these times.

    Args:
      seconds: times of neighbouring frames, which increase.
      nominal: rate of the container, which is used where the times agree with it, and for less
        than two frames.

    Returns:
      The mean rate where the times are those of a clock, whose ticks may have no frame, or come in
      bursts; else the rate of the median interval.
    """
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return nominal
    times = np.asarray(seconds, float) - seconds[0]
    places = np.arange(len(times)) - (len(times) - 1) / 2
    interval = float(times @ places / (places @ places))  # of the line of least squares
    if np.abs(times - times.mean() - interval * places).max() > _STEADY * interval:
        steps = np.diff(times)
        interval = max(float(np.median(steps)), 1 / MAX_FPS)
        ticks = np.maximum(np.rint(steps / interval), 1)  # from frame to frame
        near = ticks <= _FEW
        if np.abs(steps - ticks * interval)[near].max() < _STEADY * interval:
            interval = float(steps[near].sum() / ticks[near].sum())
        elif steps.mean() > _BURSTS * interval:
            interval = float(steps.mean())
    measured = min(1 / interval, MAX_FPS)
    if abs(nominal / measured - 1) < _CLOSE:
        return nominal
    usual = float(min(_USUAL, key=lambda rate: abs(rate / measured - 1)))
    return usual if abs(usual / measured - 1) < _CLOSE else measured


def resample(frames: Iterable[Frame], fps: float | int) -> Iterator[Frame]:
    """Yields the frame that is nearest to each tick of a clock, from the first frame to the last.

    Of frames that are `Ahead`, those that are yielded or passed over are taken, and no others.

    Args:
      frames: of increasing times.
      fps: ticks per second.
    """
    ahead = frames if isinstance(frames, Ahead) else Ahead(frames)
    start, ticks = 0.0, 0
    for frame in ahead:
        if not ticks:
            start = frame.seconds
        then = ahead.peek(1)
        # seconds from the start until another frame is nearer
        until = (frame.seconds + then[0].seconds) / 2 if then else frame.seconds + 0.5 / fps
        while ticks < (until - start) * fps - 1e-6:
            yield frame
            ticks += 1
