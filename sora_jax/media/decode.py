"""Decodes the good frames of a stream, in runs without a fault, and accounts for the others."""

import collections
import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
from av.error import FFmpegError

from sora_jax.media import color
from sora_jax.media.limits import Limits, Rejected

_BACK = 1.0  # seconds; a clock that goes back by more was set anew


@dataclasses.dataclass
class Account:
    """Where the frames of a film went.

    Attributes:
      seen: frames that were decoded, or could not be.
      left_out: those of them that are not among the frames of the film, by reason.
      faults: places where a run of frames ends before the film does, by reason.
      begin: time of the first frame that was decoded, in seconds from the start of the stream.
    """

    begin: float = 0.0
    seen: int = 0
    left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def longest_step(fps: float) -> float:
    """Returns the seconds between frames above which nothing was shown; `fps` is the mean rate."""
    return max(2.0, 4 / fps)


class Decoded(NamedTuple):
    """A good frame, with tags and with its time in seconds as its presentation time; its run."""

    frame: av.VideoFrame
    run: int


def decode(
    container, stream, fps: float, seconds: float, limits: Limits, account: Account
) -> Iterator[Decoded]:
    """Yields the good frames of a stream; times increase, from 0 or the end of what is lost.

    Args:
      fps, seconds: frame rate and duration, 0 where it is not known, that the container states.
      account: is added to.
    """
    clock, run, broken, last = _Clock(fps), 0, False, ""
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    for frame, is_damaged in _decode_packets(container, stream, account):
        account.seen += 1
        if frame is not None and frame.key_frame and not is_damaged and broken:
            broken, run = False, run + 1
        if is_damaged and not broken:
            broken = True
            account.faults["damaged"] += 1
        if frame is None or broken:
            account.left_out["damaged"] += 1
            continue
        try:
            limits.check(frame.height, frame.width, clock.seconds)
        except Rejected as error:
            account.faults[error.reason] += 1
            account.left_out[error.reason] += 1
            return
        format_ = f"{frame.width}x{frame.height} {frame.format.name} {frame.rotation}"
        if clock.last is None and frame.time is not None:
            account.begin = frame.time - start
            if account.begin > 1.5 / fps:  # what is before is lost
                clock.seconds = account.begin
        fault = clock.set(frame)
        fault = "size changes" if last not in ("", format_) else fault
        if fault:
            run += 1
            account.faults[fault] += 1
        last = format_
        color.set_tags(frame)
        yield Decoded(frame, run)
    if clock.last is not None and clock.last - start + 2 / fps < 0.9 * seconds:
        account.faults["ends early"] += 1


def _decode_packets(
    container, stream, account: Account
) -> Iterator[tuple[av.VideoFrame | None, bool]]:
    """Yields each frame and whether it, or a packet before it, is damaged; None for no frame."""
    packets, is_damaged, bad = container.demux(stream), False, set()
    decoder = _choose_decoder(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except FFmpegError:
            account.faults["ends early"] += 1
            return
        if packet is None:
            return
        if packet.is_corrupt:
            is_damaged = True
            bad.add(packet.pts)
        try:
            frames = decoder.decode(packet)  # type: ignore[attr-defined]
        except MemoryError:
            raise
        except FFmpegError:
            yield None, True
            continue
        for frame in frames:
            yield frame, is_damaged or frame.is_corrupt or frame.pts in bad
            bad.discard(frame.pts)
            is_damaged = False


def _choose_decoder(stream):
    """Returns the decoder of a stream; FFmpeg's own of VP8 and VP9 do not see transparency."""
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if library is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    decoder = av.CodecContext.create(library, "r")
    decoder.thread_count = 1
    return decoder


class _Clock:
    """Seconds since the first frame, which increase whatever the container says.

    Attributes:
      seconds: time of the last frame since the first.
      last: what the container says it is; None before the first.
    """

    def __init__(self, fps: float):
        self._interval = 1 / fps
        self.seconds, self.last = 0.0, None

    def set(self, frame: av.VideoFrame) -> str:
        """Sets the time of the next frame; returns the fault before it, or ""."""
        fault, time = "", frame.time
        if self.last is not None:
            step = self._interval if time is None else time - self.last
            if step <= 0:
                fault = "clock goes back" if step < -_BACK else ""
                time = time if fault else self.last + self._interval
                step = self._interval
            elif step > longest_step(1 / self._interval):
                fault = "gap"
            self.seconds += step
        self.last = time if time is not None else (self.last or 0.0) + self._interval
        frame.pts, frame.time_base = round(self.seconds * 1e6), Fraction(1, 1_000_000)
        return fault
