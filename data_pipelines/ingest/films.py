"""Opens films with PyAV (FFmpeg).

Nothing here trusts a file: formats that name other files or addresses are not opened, headers are
checked against the limits before anything is decoded, and every frame again.
"""

import contextlib
import itertools
import pathlib
from collections.abc import Iterator

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.stream import Disposition

from data_pipelines.ingest import frames
from data_pipelines.ingest.config import Clips, Limits

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,mxf,ivf,h264,hevc,m4v,mpegvideo,yuv4mpegpipe"
)
MAX_FPS = 1000.0  # frames per second in a header
_MIN_KEYFRAMES = 8  # fewer do not show a letterbox reliably
_SCALE = "area+accurate_rnd+full_chroma_int"  # area alone is a level too dark, coarse in colour


@contextlib.contextmanager
def open_film(path: pathlib.Path, limits: Limits, clips: Clips) -> Iterator[frames.Stream]:
    """Opens a film as a stream.

    Raises:
      Rejected: the file is no film, or exceeds a limit.
    """
    with contextlib.ExitStack() as stack:
        try:
            container, stream = stack.enter_context(_open_container(path))
        except MemoryError:
            raise
        except (FFmpegError, ValueError) as error:
            raise frames.Rejected("no pictures", f"{type(error).__name__}: {error}") from error
        yield _make_stream(path, container, stream, limits, clips)


@contextlib.contextmanager
def _open_container(path: pathlib.Path):
    """Opens the container of a film and its first video stream that is no cover picture."""
    options = {"protocol_whitelist": "file,pipe", "format_whitelist": FORMATS}
    with path.open("rb") as file, av.open(file, mode="r", options=options) as container:
        cover = Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise frames.Rejected("no pictures", "no stream of video")
        streams[0].thread_type = "NONE"
        yield container, streams[0]


def _make_stream(
    path: pathlib.Path, container, stream, limits: Limits, clips: Clips
) -> frames.Stream:
    whole = (container.duration or 0) / 1e6
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    if len(container.streams) == 1:  # the end of another says nothing of this one's
        seconds = seconds or whole
    frames.check_limits(stream.height, stream.width, max(seconds, whole), limits)
    rate = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
    if not 0 < rate <= MAX_FPS:
        raise frames.Rejected("no frame rate", f"{rate} frames per second")
    decoded = container.decode(stream)
    first = next(decoded, None)
    if first is None:
        raise frames.Rejected("does not decode", "no frame")
    frames.check_limits(first.height, first.width, 0, limits)
    turns = round(first.rotation / 90) % 4
    size = (first.width, first.height) if turns % 2 else (first.height, first.width)
    brightest = np.zeros(size, np.uint8)
    for frame in _sample_frames(path) if clips.max_bar_luma >= 0 else ():
        frame = frame.reformat(format="rgb24", threads=1)
        gray = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_RGB2GRAY)
        if (gray := np.rot90(gray, turns)).shape == size:
            np.maximum(brightest, gray, brightest)
    crop = _, _, height, width = frames.find_picture_area(brightest, clips.max_bar_luma)
    wide = float(stream.sample_aspect_ratio or 1)
    wide = 1.0 if not 0.25 <= wide <= 4 else 1 / wide if turns % 2 else wide
    graph = _make_graph(
        first, stream, turns, crop, frames.fit_size(height, width * wide, clips.max_pixels)
    )
    fps, is_kept = frames.thin_frames(rate, clips.max_fps)

    def read_frames() -> Iterator[np.ndarray]:
        count, last, format_ = 0, first, _describe_format(first)
        for count, last in enumerate(itertools.chain([first], decoded), 1):
            frames.check_limits(last.height, last.width, count / rate, limits)
            if _describe_format(last) != format_:
                raise frames.Rejected(
                    "size changes", f"{format_} to {_describe_format(last)} at frame {count}"
                )
            if last.is_corrupt:
                raise frames.Rejected("does not decode", f"frame {count} is damaged")
            if next(is_kept):
                graph.vpush(last)
                yield graph.vpull().to_ndarray()
        shown = max(count / rate, (last.time or 0) - (first.time or 0))
        if shown + 2 / rate < 0.9 * seconds:
            raise frames.Rejected("ends early", f"{shown:.1f} s of {seconds:.1f} s")

    return frames.Stream(size, crop, fps, read_frames())


def _describe_format(frame: av.VideoFrame) -> str:
    return f"{frame.width}x{frame.height} {frame.format.name}"


def _sample_frames(path: pathlib.Path) -> Iterator[av.VideoFrame]:
    """Yields keyframes from all over a film; where it has few, also some of its first frames."""
    seen: set[int | None] = set()
    with contextlib.suppress(FFmpegError), _open_container(path) as (container, stream):
        stream.codec_context.skip_frame = "NONKEY"
        duration = stream.duration or 0
        for i in range(frames.SAMPLES if duration else 0):
            container.seek(duration * i // frames.SAMPLES, stream=stream)
            frame = next(container.decode(stream), None)
            if frame is not None and frame.pts not in seen:
                seen.add(frame.pts)
                yield frame
    if len(seen) < _MIN_KEYFRAMES:
        with contextlib.suppress(FFmpegError), _open_container(path) as (container, stream):
            yield from itertools.islice(
                container.decode(stream), 0, frames.SAMPLES * _MIN_KEYFRAMES, _MIN_KEYFRAMES
            )


def _make_graph(first: av.VideoFrame, stream, turns: int, crop, size) -> Graph:
    """Makes the FFmpeg filters that turn frames upright, crop and shrink them."""
    graph, (top, left, height, width) = Graph(), crop
    graph.threads = 1
    given = {"width": first.width, "height": first.height, "format": first.format}
    turned = {0: [], 1: ["cclock"], 2: ["clock", "clock"], 3: ["clock"]}[turns]
    chain = [
        graph.add_buffer(**given, time_base=stream.time_base),
        *(graph.add("transpose", way) for way in turned),
        graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"),
        graph.add("scale", f"{size[1]}:{size[0]}:flags={_SCALE}"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    for one, two in itertools.pairwise(chain):
        one.link_to(two)
    graph.configure()
    return graph
