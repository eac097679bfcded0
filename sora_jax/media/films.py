"""Opens films with PyAV (FFmpeg): the one reader of every path.

Nothing here trusts a file: formats that name other files or addresses are not opened, headers are
checked against limits before anything is decoded, and every frame again. Frames come upright, with
square pixels, progressive, in RGB of BT.709 in standard range, with their times. Where frames are
damaged, those up to the next good keyframe are left out and counted.
"""

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from etils import epath

from sora_jax.media import color, convert, interlace
from sora_jax.media.decode import Account, Limits, Rejected, decode, longest_step
from sora_jax.media.interlace import Scan
from sora_jax.media.timing import Frame, choose_rate

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,mxf,ivf,h264,hevc,m4v,mpegvideo,yuv4mpegpipe"
)
MAX_FPS = 1000.0  # frames per second in a header
File = epath.PathLike | io.BytesIO
_LOOKS, _LOOK_FRAMES = 8, 11  # places in a film, and frames there, that tell how it was recorded


class Film:
    """A film that is open; its frames can be read once.

    Attributes:
      size: height and width in pixels of the first frame, upright, as stored.
      aspect: width of an upright pixel over its height.
      fps: mean frames per second that the container states.
      scan: how its lines were recorded.
      is_high_range: whether its light is encoded by PQ or HLG.
      account: where its frames went; complete once all are read.
    """

    def __init__(self, file: File, container, stream, scan: Scan, limits: Limits):
        self._file, self._limits, self.scan, self.account = file, limits, scan, Account()
        whole = (container.duration or 0) / 1e6
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        if len(container.streams) == 1:  # the end of another says nothing of this one's
            seconds = seconds or whole
        limits.check(stream.height, stream.width, max(seconds, whole))
        self.fps = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        if not 0 < self.fps <= MAX_FPS:
            raise Rejected("no frame rate", f"{self.fps} frames per second")
        decoded = decode(container, stream, self.fps, seconds, limits, self.account)
        first = next(decoded, None)
        if first is None:
            reasons = [*self.account.faults, "does not decode"]
            raise Rejected(reasons[0] if reasons[0].startswith("too") else reasons[-1], "no frame")
        self._decoded = itertools.chain([first], decoded)
        self.size = _upright_size(first.frame)
        self.is_high_range = color.is_high_range(first.frame)
        wide = float(stream.sample_aspect_ratio or 1)
        turned = convert.quarter_turns(first.frame) % 2
        self.aspect = 1.0 if not 0.25 <= wide <= 4 else 1 / wide if turned else wide

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width in square pixels."""
        return self.size[0], round(self.size[1] * self.aspect)

    def sample(self, count: int, fewest: int) -> Iterator[np.ndarray]:
        """Yields the luma of frames from all over the film, uint8[h, w] of its `size`, 0 to 255.

        Args:
          count: keyframes, at most; where there are fewer than `fewest`, every `fewest`-th frame is
            taken too, up to `count`.
        """
        keys = 0
        for group in sample(self._file, self._limits, count):
            keys += 1
            yield from self._to_luma(group)
        if keys < fewest:
            with _until_it_fails(), open_container(self._file) as (container, stream):
                frames = container.decode(stream)
                yield from self._to_luma(itertools.islice(frames, 0, count * fewest, fewest))

    def _to_luma(self, frames: Iterator[av.VideoFrame]) -> Iterator[np.ndarray]:
        for frame in frames:
            if _upright_size(frame) == self.size:
                yield np.rot90(luma(frame), convert.quarter_turns(frame))

    def measure_rate(self) -> float:
        """Measures the frames per second of the longest part without a gap, undecoded."""
        times: list[float] = []
        with _until_it_fails(), open_container(self._file) as (container, stream):
            for packet in container.demux(stream):
                if packet.pts is not None and packet.time_base is not None:
                    times.append(float(packet.pts * packet.time_base))
        ordered = np.unique(times)
        gaps = np.flatnonzero(np.diff(ordered) > longest_step(self.fps)) + 1
        rate = choose_rate(max(np.split(ordered, gaps), key=len), self.fps)
        return rate * 4 / 5 if self.scan is Scan.TELECINED else rate

    def read(
        self,
        crop: convert.Area | None = None,
        fit: Callable[[float, float], tuple[int, int]] | None = None,
    ) -> Iterator[Frame]:
        """Yields the frames.

        Args:
          crop: part to cut out, in pixels of the upright frame as stored.
          fit: function from height and width in square pixels to the size that frames are scaled
            to; by default all are scaled to the size of the first.
        """
        fit = fit or (lambda height, width: self.shown_size)
        number = 0
        for run, group in itertools.groupby(self._decoded, lambda decoded: decoded.run):
            first = next(group)
            size = _upright_size(first.frame)
            area = crop if crop and size == self.size else (0, 0, *size)
            small = fit(area[2], area[3] * self.aspect)
            frames = (decoded.frame for decoded in itertools.chain([first], group))
            for pixels, seconds in convert.to_rgb(frames, area, small, self.scan):
                yield Frame(pixels, seconds, number, run)
                number += 1
        account = self.account
        account.left_out["repeated fields"] = account.seen - account.left_out.total() - number


@contextlib.contextmanager
def open_film(file: File, limits: Limits, look: bool = True, start: float = 0.0) -> Iterator[Film]:
    """Opens a film.

    Args:
      file: local or remote path, or bytes.
      look: whether to look in the film for interlaced frames; else their flags are believed.
      start: seconds; the film is read from the last keyframe on that is not after this.

    Raises:
      Rejected: the file is no film, or exceeds a limit.
    """
    scan = Scan.UNKNOWN
    if look:
        scan = interlace.find_scan(
            map(luma, group) for group in sample(file, limits, _LOOKS, _LOOK_FRAMES)
        )
    with open_container(file) as (container, stream):
        if start > 0:
            container.seek((stream.start_time or 0) + int(start / stream.time_base), stream=stream)
        yield Film(file, container, stream, scan, limits)


def sample(
    file: File, limits: Limits, places: int, length: int = 1
) -> Iterator[Iterator[av.VideoFrame]]:
    """Yields runs of `length` frames from keyframes all over a film, as far as it decodes."""
    with _until_it_fails(), open_container(file) as (container, stream):
        limits.check(stream.height, stream.width)
        duration, seen = stream.duration or 0, set()
        for i in range(places if duration else 1):
            if duration:
                container.seek((stream.start_time or 0) + duration * i // places, stream=stream)
            decoded = container.decode(stream)
            first = next(decoded, None)
            if first is not None and first.pts not in seen:
                seen.add(first.pts)
                yield itertools.chain([first], itertools.islice(decoded, length - 1))


@contextlib.contextmanager
def _until_it_fails() -> Iterator[None]:
    """Ends quietly where a film is damaged, which whoever reads all of it will say."""
    try:
        yield
    except MemoryError:
        raise
    except (FFmpegError, Rejected):
        pass


@contextlib.contextmanager
def open_container(file: File):
    """Opens the container of a film and its first video stream that is no cover picture.

    Raises:
      Rejected: there is none.
    """
    options = {"protocol_whitelist": "file,pipe", "format_whitelist": FORMATS}
    with contextlib.ExitStack() as stack:
        if isinstance(file, io.BytesIO):
            file.seek(0)
            opened = file
        else:
            opened = stack.enter_context(epath.Path(file).open("rb"))
        try:
            container = stack.enter_context(av.open(opened, mode="r", options=options))
        except MemoryError:
            raise
        except (FFmpegError, OSError, ValueError) as error:
            raise Rejected("no pictures", f"{type(error).__name__}: {error}") from error
        cover = Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise Rejected("no pictures", "no stream of video")
        streams[0].thread_type = "NONE"
        streams[0].codec_context.options = {"err_detect": "explode"}  # damage is not painted over
        yield container, streams[0]


def luma(frame: av.VideoFrame) -> np.ndarray:
    """Returns uint8[h, w], the luma of a frame as stored, 0 to 255."""
    return frame.reformat(format="gray", threads=1).to_ndarray()


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    turned = convert.quarter_turns(frame) % 2
    return (frame.width, frame.height) if turned else (frame.height, frame.width)
