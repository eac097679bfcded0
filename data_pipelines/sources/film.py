"""Films: their shots, and clips cut from them one after the other at a smaller size."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import av
import numpy as np

from data_pipelines.sources import pieces


@dataclasses.dataclass(frozen=True)
class Piece:
    """Frames [start, stop) of one of `shots` shots, and the frames of the shot left after it."""

    shot: int
    shots: int
    start: int
    stop: int
    dropped: int


def shots(path: pathlib.Path) -> list[tuple[int, int]]:
    """Frames [start, stop) between the cuts that PySceneDetect finds.

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
        found = scenedetect.detect(str(path), scenedetect.AdaptiveDetector(), start_in_scene=True)
    except scenedetect.VideoOpenFailure as error:
        raise ValueError(f"{path.name} is no film that opens; fetch its archive again") from error
    return [(start.frame_num, stop.frame_num) for start, stop in found]


def plan(path: pathlib.Path, end: int | None = None) -> list[Piece]:
    """The clips that a film is cut in, up to frame `end`; none crosses a cut."""
    found = [(start, min(stop, end or stop)) for start, stop in shots(path)]
    found = [(start, stop) for start, stop in found if start < stop]
    planned = []
    for shot, (start, stop) in enumerate(found):
        lengths = pieces(stop - start)
        for i, length in enumerate(lengths):
            dropped = stop - start - length if i == len(lengths) - 1 else 0
            planned.append(Piece(shot, len(found), start, start + length, dropped))
            start += length
    return planned


def cut(
    path: pathlib.Path, height: int, plan: Sequence[Piece]
) -> Iterator[tuple[np.ndarray, float]]:
    """Yields the frames of each piece, in the order of the film, and the frames per second.

    The shorter side becomes `height` pixels; a pixel is the mean of those it covers.

    Raises:
      ValueError: the film ends before the last piece.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        scale = height / min(stream.width, stream.height)
        size = {"width": round(stream.width * scale), "height": round(stream.height * scale)}
        decoded = enumerate(container.decode(stream))
        for piece in plan:
            frames = []
            for index, frame in decoded:
                if index >= piece.start:
                    small = frame.reformat(**size, format="rgb24", interpolation="AREA")
                    frames.append(small.to_ndarray())
                if index + 1 == piece.stop:
                    break
            if len(frames) < piece.stop - piece.start:
                raise ValueError(
                    f"{path.name} ends before frame {piece.stop}; fetch its archive again"
                )
            yield np.stack(frames), float(rate or 0)
