"""Opens the containers of films, and looks into them here and there."""

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from etils import epath

from sora_jax.media.convert import is_transparent, on_white
from sora_jax.media.limits import Limits, Rejected
from sora_jax.media.orientation import find_orientation

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,mxf,ivf,h264,hevc,m4v,mpegvideo,yuv4mpegpipe"
)
File = epath.PathLike | io.BytesIO
# Titles need not be UTF-8; from PyAV 19 on they cannot be asked to be.
_METADATA: Any = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_GRAY = np.array((0.299, 0.587, 0.114), np.float32)


class Look(NamedTuple):
    """The luma of a frame, 0 to 255, on white where it is transparent: uint8[h, w].

    Attributes:
      stored: its lines as they are stored.
      upright: as it is shown.
    """

    stored: np.ndarray
    upright: np.ndarray


@contextlib.contextmanager
def open_container(file: File):
    """Opens the container of a film and its first video stream that is no cover picture.

    Raises:
      Rejected: there is none, or none that can be decoded.
    """
    options = {"protocol_whitelist": "file,pipe", "format_whitelist": FORMATS}
    with contextlib.ExitStack() as stack:
        if isinstance(file, io.BytesIO):
            opened = io.BytesIO(file.getbuffer())  # others may be reading the same
        else:
            opened = stack.enter_context(epath.Path(file).open("rb"))
        try:
            container = av.open(opened, mode="r", options=options, **_METADATA)
            stack.enter_context(container)
        except MemoryError:
            raise
        except (FFmpegError, OSError, ValueError) as error:
            raise Rejected("no pictures", f"{type(error).__name__}: {error}") from error
        cover = Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise Rejected("no pictures", "no stream of video")
        if streams[0].codec_context is None:
            raise Rejected("no pictures", "its codec is not known")
        streams[0].thread_type = "NONE"
        streams[0].codec_context.options = {"err_detect": "explode"}  # damage is not painted over
        yield container, streams[0]


@contextlib.contextmanager
def until_it_fails() -> Iterator[None]:
    """Ends quietly where a film is damaged, which whoever reads all of it will say."""
    try:
        yield
    except MemoryError:
        raise
    except (FFmpegError, NotImplementedError, Rejected):
        pass


def look(file: File, limits: Limits, places: int, length: int = 1) -> Iterator[list[Look]]:
    """Yields `length` neighbouring frames from each of some keyframes all over a film.

    What is damaged is left out.
    """
    with until_it_fails(), open_container(file) as (container, stream):
        limits.check(stream.height, stream.width)
        duration, seen = stream.duration or 0, set()
        for i in range(places if duration else 1):
            found: list[Look] = []
            with until_it_fails():
                if duration:
                    container.seek((stream.start_time or 0) + duration * i // places, stream=stream)
                decoded = container.decode(stream)
                first = next(decoded, None)
                if first is None or first.pts in seen:
                    continue
                seen.add(first.pts)
                some = itertools.chain([first], itertools.islice(decoded, length - 1))
                found += _make_looks(some)
            if found:
                yield found


def look_at_every(file: File, step: int, count: int) -> Iterator[Look]:
    """Yields every `step`-th frame of a film, up to `count`, as far as it decodes."""
    with until_it_fails(), open_container(file) as (container, stream):
        yield from _make_looks(itertools.islice(container.decode(stream), 0, count * step, step))


def _make_looks(frames: Iterable[av.VideoFrame]) -> Iterator[Look]:
    """Yields looks of frames that are turned alike."""
    upright = None
    for frame in frames:
        upright = upright or find_orientation(frame).of_array
        if is_transparent(frame):
            stored = on_white(frame.reformat(format="rgba", threads=1).to_ndarray()) @ _GRAY
        else:
            stored = frame.reformat(format="gray", threads=1).to_ndarray()
        stored = stored.astype(np.uint8)
        yield Look(stored, upright(stored))
