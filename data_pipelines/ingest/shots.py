"""Cuts a film at its shots and into clips, in one pass over its frames."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode

_SIDE = 256  # pixels; the detector sees frames no wider than this


@dataclasses.dataclass(frozen=True)
class ShotClip:
    """A clip of one shot.

    Attributes:
      frames: uint8[t, h, w, 3]; t is 1 + 4k unless the clip is too short.
      shot: number of the shot, from 0.
      start: index of the first frame in the film.
      too_short: the clip is a whole shot of fewer frames than the minimum.
    """

    frames: np.ndarray
    shot: int
    start: int
    too_short: bool = False


def cut_shots(
    frames: Iterable[np.ndarray], fps: float, min_frames: int, max_frames: int
) -> Iterator[ShotClip]:
    """Yields the clips of a film; about `max_frames` frames are in memory.

    A shot becomes consecutive clips; frames at its end that are too few for a clip are left out. A
    film of one frame is an image.

    Args:
      frames: uint8[h, w, 3], of one size.
      fps: frames per second.
      min_frames, max_frames: minimum and maximum frames of a clip, 1 + 4k.
    """
    held: list[np.ndarray] = []
    shot = begin = start = 0
    for frame, first in _mark_starts(frames, fps):
        if first:
            yield from _cut_rest(held, shot, start, start == begin, min_frames)
            shot, begin, held = shot + 1, start + len(held), []
            start = begin
        held.append(frame)
        if len(held) == max_frames:
            yield ShotClip(np.stack(held), shot, start)
            start, held = start + max_frames, []
    min_frames = 1 if start + len(held) == 1 else min_frames
    yield from _cut_rest(held, shot, start, start == begin, min_frames)


def _cut_rest(
    held: Sequence[np.ndarray], shot: int, start: int, is_whole_shot: bool, min_frames: int
) -> Iterator[ShotClip]:
    """Yields the last clip of a shot, if any; `is_whole_shot`: there is no clip before it."""
    length = 1 + (len(held) - 1) // 4 * 4
    if length >= min_frames:
        yield ShotClip(np.stack(held[:length]), shot, start)
    elif held and is_whole_shot:
        yield ShotClip(np.stack(held), shot, start, too_short=True)


def _mark_starts(frames: Iterable[np.ndarray], fps: float) -> Iterator[tuple[np.ndarray, bool]]:
    """Yields each frame, delayed by a few, and whether a shot begins there."""
    # Left alone, it joins shots below 15 frames to the next: clips would have cuts in them.
    detector, waiting = AdaptiveDetector(min_scene_len=1), collections.deque()
    starts: set[int] = set()
    for index, frame in enumerate(frames):
        scale = min(1.0, _SIDE / frame.shape[1])
        seen = cv2.cvtColor(cv2.resize(frame, None, fx=scale, fy=scale), cv2.COLOR_RGB2BGR)
        cuts = detector.process_frame(FrameTimecode(index, float(fps)), seen)
        starts.update(time.frame_num for time in cuts)
        waiting.append((index, frame))
        if len(waiting) > detector.event_buffer_length:
            number, frame = waiting.popleft()
            yield frame, number in starts
    for number, frame in waiting:
        yield frame, number in starts
