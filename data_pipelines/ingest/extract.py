"""Extracts the clips of one file; runs in the bounded processes of `worker`."""

import collections
import contextlib
import errno
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from av.error import FFmpegError

from data_pipelines import records
from data_pipelines.ingest import dedup, filters, frames, shots
from data_pipelines.ingest.config import IngestConfig
from sora_jax import media
from sora_jax.media.interlace import Scan

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS, errno.ENOENT)
_MAX_PICTURES = 4  # of rejected clips, for each reason and file
_UNEVEN, _OUTSIDE = "uneven time", "outside the part"  # reasons for which frames are in no clip


class Unwritable(Exception):
    """Raised where the folder of the clips is full or out of reach."""


def extract(
    path: pathlib.Path,
    folder: pathlib.Path,
    config: IngestConfig,
    part: tuple[float, float] = (0.0, math.inf),
) -> dict[str, Any]:
    """Writes the clips of a film or picture into a folder, as 000000.mp4 and so on.

    Args:
      part: start and stop in seconds of what is extracted.

    Returns:
      A report of JSON values: size [h, w] and crop [top, left, h, w] of the file in pixels; the
      number of its shots; its frames, the frames that are in no clip by reason (left_out), and the
      faults in it by reason; and for each clip its shot, number of its first frame (start) and its
      time in seconds, fps, size [t, h, w], the frames of the film that it has (film_frames, fewer
      than t where some are repeated), measures, reason of its rejection ("" where it is kept), and
      where it is kept its perceptual hash, bytes and sha256.

    Raises:
      Rejected: the file cannot be used.
      Unwritable: the folder cannot be written.
    """
    cv2.setNumThreads(1)  # other files run beside this one
    limits = media.Limits(config.limits.pixels, config.limits.seconds)
    clips: list[dict[str, Any]] = []
    left_out: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(media.open_media(path, limits))
        _check_kind(opened, config)
        crop = frames.find_bars(opened, config.clips.max_bar_luma)
        whole: Any = opened.read(crop, lambda h, w: frames.fit_size(h, w, config.clips.max_pixels))
        stack.callback(whole.close)
        read = media.Ahead(_take_part(whole, *part, left_out))
        is_image = len(read.peek(2)) == 1
        for clip in shots.cut_shots(read, opened.fps, config.clips, left_out):
            target = folder / f"{len(clips):06d}"
            fewest = 1 if is_image else config.clips.min_frames
            if report := _extract_clip(clip, target, config, fewest, clips):
                clips.append(report)
                left_out[_UNEVEN] += clip.spanned - report["film_frames"]
    if not read.taken:
        raise media.Rejected("no frames", "none is in the part that is asked for")
    left_out.update(opened.account.left_out)
    return {
        "size": opened.size,
        "crop": crop,
        "fps": opened.fps,
        "shots": 1 + max((clip["shot"] for clip in clips), default=-1),
        "frames": opened.account.seen,
        "left_out": dict(+left_out),
        "faults": dict(+opened.account.faults),
        "clips": clips,
    }


def _take_part(
    frames: Iterator[media.Frame], start: float, stop: float, left_out: collections.Counter[str]
) -> Iterator[media.Frame]:
    """Yields the frames from `start` to `stop` in seconds; those before it are counted."""
    for frame in frames:
        if frame.seconds >= stop:
            left_out[_OUTSIDE] += 1
            return
        if frame.seconds >= start:
            yield frame
        else:
            left_out[_OUTSIDE] += 1


def _check_kind(opened: media.Film | media.Picture, config: IngestConfig) -> None:
    """Raises Rejected for a kind of film that the settings do not want."""
    if config.clips.high_range == "reject" and opened.is_high_range:
        raise media.Rejected("high dynamic range", "clips.high_range=convert takes it")
    fields = opened.scan in (Scan.INTERLACED, Scan.TELECINED)
    if config.clips.interlaced == "reject" and fields:
        raise media.Rejected(opened.scan.value, "clips.interlaced=convert takes it")


def _extract_clip(
    clip: shots.ShotClip,
    target: pathlib.Path,
    config: IngestConfig,
    fewest: int,
    others: list[dict[str, Any]],
) -> dict[str, Any] | None:
    """Writes a clip of `fewest` + 4k frames while they come; of a rejected one, a picture.

    Returns:
      Its report; None where it is only the end of a shot that has other clips.
    """
    encoding = media.STORED.at(config.clips.crf) if config.clips.crf else media.EXACT
    measure, hash_ = filters.Measure(clip.fps, config.filters.max_text < 1), dedup.Hash()
    spread, numbers = filters.Spread[np.ndarray](3), list[int]()
    path = target.with_suffix(".mp4")

    def take(frames: Sequence[media.Frame]) -> None:
        for frame in frames:
            measure.add(frame.pixels)
            hash_.add(frame.pixels)
            spread.add(frame.pixels)
            numbers.append(frame.number)

    with _ClipFile(path, clip.fps, encoding) as file:
        waiting: list[media.Frame] = []
        for frame in clip.frames:
            waiting.append(frame)
            if len(waiting) == (4 if numbers else fewest):
                take(waiting)
                file.write(waiting)
                waiting = []
        is_short = not numbers
        if is_short and not clip.is_first:
            return None
        if is_short:
            take(waiting)
    clip.spanned = numbers[-1] - numbers[0] + 1
    middle = spread.read()[-1 if len(numbers) < 3 else 1]
    measures = measure.read()
    reason = "too short" if is_short else filters.find_fault(measures, config.filters)
    report = {
        "shot": clip.shot,
        "start": numbers[0],
        "seconds": round(clip.seconds, 6),
        "fps": clip.fps,
        "size": (len(numbers), *middle.shape[:2]),
        "film_frames": len(set(numbers)),
        "measures": measures,
        "reason": reason,
    }
    if not reason:
        report |= {"hash": hash_.read(), "bytes": path.stat().st_size}
        return report | {"sha256": records.file_sha256(path)}
    path.unlink(missing_ok=True)
    if sum(other["reason"] == reason for other in others) < _MAX_PICTURES:
        with _writable():
            target.with_suffix(".jpg").write_bytes(encode_thumbnail(middle))
        report["picture"] = True
    return report


class _ClipFile:
    """An mp4 that is written frame by frame; there is none where nothing is written.

    Raises:
      Unwritable: the folder cannot be written.
    """

    def __init__(self, path: pathlib.Path, fps: float, encoding: media.Encoding):
        self._path, self._fps, self._encoding = path, fps, encoding
        self._writer: media.VideoWriter | None = None

    def __enter__(self):
        return self

    def write(self, frames: Sequence[media.Frame]) -> None:
        """Writes frames."""
        with _writable():
            if self._writer is None:
                self._writer = media.VideoWriter(str(self._path), self._fps, self._encoding)
            for frame in frames:
                self._writer.write(frame.pixels)

    def __exit__(self, *error):
        if self._writer is not None:
            with _writable():
                self._writer.close()


@contextlib.contextmanager
def _writable() -> Iterator[None]:
    """Turns errors of the file system, which are no fault of the file's, into Unwritable."""
    try:
        yield
    except MemoryError:
        raise
    except (OSError, FFmpegError) as error:
        if error.errno in _UNWRITABLE:
            raise Unwritable(str(error)) from error
        raise media.Rejected("cannot be stored", str(error)) from error


def encode_thumbnail(frame: np.ndarray, side: int = 192) -> bytes:
    """Encodes a frame, uint8[h, w, 3], as JPEG; `side` is the maximum of its sides in pixels."""
    scale = min(1.0, side / max(frame.shape[:2]))
    size = [max(1, round(n * scale)) for n in frame.shape[1::-1]]
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
