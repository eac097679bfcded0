"""Shots of a film and the clips cut from them, while its frames come by once."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode

_SIDE = 256  # pixels; the detector sees frames no wider than this


@dataclasses.dataclass(frozen=True)
class Cut:
    """A clip, uint8[t, h, w, 3], cut from shot number `shot` at the film's frame `start`.

    It has 1 + 4k frames unless it is `short`: a whole shot of fewer frames than a clip needs.
    """

    frames: np.ndarray
    shot: int
    start: int
    short: bool = False


def cut(frames: Iterable[np.ndarray], fps: float, shortest: int, longest: int) -> Iterator[Cut]:
    """Cuts the frames of a film, uint8[h, w, 3], as they come; about `longest` are in memory.

    A shot becomes consecutive clips; frames at its end that are too few for one are left out. A
    film of one frame is an image.
    """
    held: list[np.ndarray] = []
    shot = begin = start = 0
    for frame, first in _marked(frames, fps):
        if first:
            yield from _last(held, shot, start, start == begin, shortest)
            shot, begin, held = shot + 1, start + len(held), []
            start = begin
        held.append(frame)
        if len(held) == longest:
            yield Cut(np.stack(held), shot, start)
            start, held = start + longest, []
    shortest = 1 if start + len(held) == 1 else shortest
    yield from _last(held, shot, start, start == begin, shortest)


def _last(
    held: Sequence[np.ndarray], shot: int, start: int, whole: bool, shortest: int
) -> Iterator[Cut]:
    """The last clip of a shot; `whole` says that it would be the only one."""
    length = 1 + (len(held) - 1) // 4 * 4
    if length >= shortest:
        yield Cut(np.stack(held[:length]), shot, start)
    elif held and whole:
        yield Cut(np.stack(held), shot, start, short=True)


def _marked(frames: Iterable[np.ndarray], fps: float) -> Iterator[tuple[np.ndarray, bool]]:
    """Each frame, a few late, with whether a shot begins there."""
    # Left alone, it joins shots below 15 frames to the next: clips would have cuts in them.
    detector, waiting = AdaptiveDetector(min_scene_len=1), collections.deque()
    starts: set[int] = set()
    for index, frame in enumerate(frames):
        scale = min(1.0, _SIDE / frame.shape[1])
        seen = cv2.cvtColor(cv2.resize(frame, None, fx=scale, fy=scale), cv2.COLOR_RGB2BGR)
        found = detector.process_frame(FrameTimecode(index, float(fps)), seen)
        starts.update(time.frame_num for time in found)
        waiting.append((index, frame))
        if len(waiting) > detector.event_buffer_length:
            number, frame = waiting.popleft()
            yield frame, number in starts
    for number, frame in waiting:
        yield frame, number in starts
