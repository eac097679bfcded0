"""Cuts a film at its shots and into clips, in one pass over its frames."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import cv2
from scenedetect import AdaptiveDetector, FrameTimecode

from data_pipelines.ingest.config import Clips
from data_pipelines.ingest.transitions import LONGEST, TransitionDetector
from sora_jax.media import Ahead, Frame, choose_rate, resample

_SIDE = 256  # pixels; the detector of cuts sees frames no wider than this
_DELAY = LONGEST  # frames until it is known of one what it is; cuts are known sooner
WINDOW = 33  # frames whose times tell the rate of a clip
TRANSITION, END = "transition", "end of a shot"  # reasons for which frames are in no clip


@dataclasses.dataclass
class ShotClip:
    """A clip of one shot; its frames are read before the next clip is asked for.

    Attributes:
      shot: number of the shot, from 0.
      seconds: time of the first frame in the film.
      fps: frames per second.
      frames: of one size, at most the maximum of a clip; one may come more than once.
      is_first: whether no clip of this shot is before it.
      spanned: frames of the film from the first to the last that it has; set by who reads it.
    """

    shot: int
    seconds: float
    fps: float
    frames: Iterator[Frame]
    is_first: bool
    spanned: int = 0


def cut_shots(
    frames: Iterable[Frame], fps: float, clips: Clips, left_out: collections.Counter[str]
) -> Iterator[ShotClip]:
    """Yields the clips of a film: of each shot, one after the other, to its end.

    Frames of dissolves and fades are in no shot.

    Args:
      frames: of a film.
      fps: mean frames per second that its container states.
      clips: maxima of frames and rate.
      left_out: frames that are in no shot are added, by reason.
    """
    number = 0
    for (_, mixed), group in itertools.groupby(_mark(frames, fps), lambda marked: marked[0]):
        if mixed:
            left_out[TRANSITION] += sum(1 for _ in group)
            continue
        ahead, is_first = Ahead(frame for _, frame in group), True
        while times := [frame.seconds for frame in ahead.peek(WINDOW)]:
            before = ahead.taken
            rate = min(choose_rate(times, fps), clips.max_fps)
            shown = itertools.islice(resample(ahead, rate), clips.max_frames)
            clip = ShotClip(number, times[0], rate, shown, is_first)
            yield clip
            left_out[END] += ahead.taken - before - clip.spanned
            is_first = False
        number += 1


def _mark(frames: Iterable[Frame], fps: float) -> Iterator[tuple[tuple[int, bool], Frame]]:
    """Yields each frame, delayed, with the number of its part and whether that is a transition.

    A part ends where a run of good frames does, at a cut, and where a transition begins or ends.
    """
    # Left alone, it joins shots below 15 frames to the next: clips would have cuts in them.
    cuts, transitions = AdaptiveDetector(min_scene_len=1), TransitionDetector()
    waiting: collections.deque[tuple[int, Frame]] = collections.deque()
    starts, mixed = set[int](), set[int]()
    part, was_mixed, run = 0, False, 0

    def release() -> tuple[tuple[int, bool], Frame]:
        nonlocal part, was_mixed
        index, frame = waiting.popleft()
        is_mixed = index in mixed
        part += index in starts or is_mixed != was_mixed
        was_mixed = is_mixed
        return (part, is_mixed), frame

    for index, frame in enumerate(frames):
        scale = min(1.0, _SIDE / frame.pixels.shape[1])
        if frame.run != run:
            transitions.reset()
            starts.add(index)
            run = frame.run
            if waiting and waiting[-1][1].pixels.shape != frame.pixels.shape:
                cuts = AdaptiveDetector(min_scene_len=1)
        size = [max(1, round(n * scale)) for n in frame.pixels.shape[1::-1]]
        seen = cv2.cvtColor(cv2.resize(frame.pixels, size), cv2.COLOR_RGB2BGR)
        found = cuts.process_frame(FrameTimecode(index, float(fps)), seen)
        starts.update(time.frame_num for time in found)
        mixed.update(index - before for before in transitions.add(frame.pixels))
        waiting.append((index, frame))
        if len(waiting) > _DELAY:
            yield release()
    while waiting:
        yield release()
