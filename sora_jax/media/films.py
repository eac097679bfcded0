"""Opens films with PyAV (FFmpeg): the one reader of every path.

Nothing here trusts a file: formats that name other files or addresses are not opened, headers are
checked against limits before anything is decoded, and every frame again. Frames come upright, with
square pixels, progressive, in RGB of BT.709 in standard range, with their times. Where frames are
damaged, those up to the next good keyframe are left out and counted.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from sora_jax.media import color, containers, convert, interlace
from sora_jax.media.containers import File, open_container
from sora_jax.media.decode import Account, decode, longest_step
from sora_jax.media.interlace import Scan
from sora_jax.media.limits import Limits, Rejected
from sora_jax.media.orientation import find_orientation
from sora_jax.media.timing import MAX_FPS, Frame, choose_rate

_OPAQUE = frozenset(("rawvideo", "huffyuv", "ffvhuff"))  # codecs of screens, that fill no alpha
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
        self._seconds = float((stream.duration or 0) * (stream.time_base or 0))
        if len(container.streams) == 1:  # the end of another says nothing of this one's
            self._seconds = self._seconds or whole
        limits.check(stream.height, stream.width, max(self._seconds, whole))
        self.fps = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        if not 0 < self.fps <= MAX_FPS:
            raise Rejected("no frame rate", f"{self.fps} frames per second")
        decoded = decode(container, stream, self.fps, self._seconds, limits, self.account)
        first = next(decoded, None)
        if first is None:
            reasons = [*self.account.faults, "does not decode"]
            raise Rejected(reasons[0] if reasons[0].startswith("too") else reasons[-1], "no frame")
        self._decoded = itertools.chain([first], decoded)
        self.size = _upright_size(first.frame)
        self.is_high_range = color.is_high_range(first.frame)
        wide = float(stream.sample_aspect_ratio or 1)
        turned = find_orientation(first.frame).is_turned
        self._has_alpha = _has_alpha(first.frame, stream.codec_context.name)
        self.aspect = 1.0 if not 0.25 <= wide <= 4 else 1 / wide if turned else wide

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width in square pixels."""
        return self.size[0], round(self.size[1] * self.aspect)

    def sample(self, count: int, fewest: int) -> Iterator[np.ndarray]:
        """Yields the luma of frames from all over the film, uint8[h, w] of its `size`, 0 to 255.

        Args:
          count: keyframes, at most; where there are fewer than `fewest`, other frames are taken,
            evenly spread.
        """
        groups: Any = containers.look(self._file, self._limits, count)
        first = list(itertools.islice(groups, fewest))
        groups = itertools.chain(first, groups)
        if len(first) < fewest:
            step = max(fewest, int(self._seconds * self.fps) // count)
            groups = [containers.look_at_every(self._file, step, count)]
        for one in itertools.chain.from_iterable(groups):
            if one.upright.shape == self.size:
                yield one.upright

    def measure_rate(self) -> float:
        """Measures the frames per second of the longest part without a gap, undecoded."""
        times: list[float] = []
        with containers.until_it_fails(), open_container(self._file) as (container, stream):
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
        number, is_whole, account = 0, False, self.account
        try:
            for frame in self._read_runs(crop, fit):
                number += 1
                yield frame._replace(number=number - 1)
            is_whole = True
        finally:  # filters hold some frames where reading ends before the film does
            reason = "repeated fields" if is_whole else "not asked for"
            account.left_out[reason] += account.seen - account.left_out.total() - number

    def _read_runs(
        self, crop: convert.Area | None, fit: Callable[[float, float], tuple[int, int]]
    ) -> Iterator[Frame]:
        for run, group in itertools.groupby(self._decoded, lambda decoded: decoded.run):
            first = next(group)
            frames = (decoded.frame for decoded in itertools.chain([first], group))
            size = _upright_size(first.frame)
            area = crop if crop and size == self.size else (0, 0, *size)
            try:
                small = fit(area[2], area[3] * self.aspect)
            except Rejected as error:
                if size == self.size:
                    raise
                self.account.left_out[error.reason] += sum(1 for _ in frames)
                continue
            about = self.scan, self.fps, self._has_alpha
            for pixels, seconds in convert.to_rgb(frames, area, small, *about):
                yield Frame(pixels, seconds, 0, run)


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
        groups = containers.look(file, limits, _LOOKS, _LOOK_FRAMES)
        scan = interlace.find_scan([one.stored for one in group] for group in groups)
    with open_container(file) as (container, stream):
        if start > 0 and stream.time_base:
            place = (stream.start_time or 0) + int(start / float(stream.time_base))
            container.seek(place, stream=stream)
        yield Film(file, container, stream, scan, limits)


def _has_alpha(first: av.VideoFrame, codec: str) -> bool:
    """Returns whether alpha counts; programs that store the screen leave it 0."""
    if codec not in _OPAQUE or not convert.is_transparent(first):
        return True
    return bool(first.reformat(format="rgba", threads=1).to_ndarray()[..., 3].any())


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    turned = find_orientation(frame).is_turned
    return (frame.width, frame.height) if turned else (frame.height, frame.width)
