"""Films: detects shots, plans clips, and cuts them at a smaller size.

`ingest.shots` cuts in one pass over frames; this module plans ahead, with a minimum shot of 15
frames and another scaling, and the captions of Big Buck Bunny are written for the clips it makes.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import av
import numpy as np

from data_pipelines.sources import split_lengths


@dataclasses.dataclass(frozen=True)
class PlannedClip:
    """One clip of a plan.

    Attributes:
      shot: number of its shot, from 0.
      shots: number of shots of the film.
      start, stop: its frames [start, stop) in the film.
      dropped: frames between the clip and the end of its shot, which are too few for a clip.
    """

    shot: int
    shots: int
    start: int
    stop: int
    dropped: int


def detect_shots(path: pathlib.Path) -> list[tuple[int, int]]:
    """Returns the frames [start, stop) of each shot, as PySceneDetect finds them.

    Raises:
      ValueError: PySceneDetect is not installed, or the file is no film.
    """
    try:
        import scenedetect
    except ImportError as error:
        raise ValueError(
            "films are cut by PySceneDetect; install it with `pip install scenedetect-headless`"
        ) from error
    try:
        shots = scenedetect.detect(str(path), scenedetect.AdaptiveDetector(), start_in_scene=True)
    except scenedetect.VideoOpenFailure as error:
        raise ValueError(f"{path.name} is no film that opens; fetch its archive again") from error
    return [(start.frame_num, stop.frame_num) for start, stop in shots]


def plan_clips(path: pathlib.Path, end: int | None = None) -> list[PlannedClip]:
    """Plans the clips of a film up to frame `end`; none crosses a cut. Raises as `detect_shots`."""
    shots = [(start, min(stop, end or stop)) for start, stop in detect_shots(path)]
    shots = [(start, stop) for start, stop in shots if start < stop]
    planned = []
    for shot, (start, stop) in enumerate(shots):
        lengths = split_lengths(stop - start)
        for i, length in enumerate(lengths):
            dropped = stop - start - length if i == len(lengths) - 1 else 0
            planned.append(PlannedClip(shot, len(shots), start, start + length, dropped))
            start += length
    return planned


def cut_clips(
    path: pathlib.Path, height: int, plan: Sequence[PlannedClip]
) -> Iterator[tuple[np.ndarray, float]]:
    """Yields the frames uint8[t, h, w, 3] of each planned clip, and the frames per second.

    The shorter side becomes `height` pixels; a pixel is the mean of those it covers.

    Raises:
      ValueError: the film ends before the last clip.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        scale = height / min(stream.width, stream.height)
        size = {"width": round(stream.width * scale), "height": round(stream.height * scale)}
        decoded = enumerate(container.decode(stream))
        for clip in plan:
            frames = []
            for index, frame in decoded:
                if index >= clip.start:
                    small = frame.reformat(**size, format="rgb24", interpolation="AREA")
                    frames.append(small.to_ndarray())
                if index + 1 == clip.stop:
                    break
            if len(frames) < clip.stop - clip.start:
                raise ValueError(
                    f"{path.name} ends before frame {clip.stop}; fetch its archive again"
                )
            yield np.stack(frames), float(rate or 0)
