"""One file to its clips: what a bounded process does."""

import itertools
import pathlib
from typing import Any

import cv2
import numpy as np

from data_pipelines import records
from data_pipelines.ingest import dedup, filters, shots
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.decode import opened
from data_pipelines.ingest.frames import Rejected
from sora_jax import media

_SHOWN = 4  # rejected clips of one reason and file whose picture is kept


class Unwritable(Exception):
    """The folder of the clips is full or out of reach."""


def extract(path: pathlib.Path, folder: pathlib.Path, config: IngestConfig) -> dict[str, Any]:
    """Writes the clips of a film or picture into a folder, as 000000.mp4 and so on.

    Returns:
      size [h, w] and crop [top, left, h, w] of the file, fps, the number of its shots, frames and
      frames that are in no clip (dropped), and of each clip its place, size [t, h, w], measures,
      reason ("" where it is kept), perceptual hash, bytes and sha256.

    Raises:
      Rejected: the file cannot be used.
      Unwritable: nor can the folder.
    """
    cv2.setNumThreads(1)  # other files run beside this one
    limits, clips = config.limits, config.clips
    found: list[dict[str, Any]] = []
    counter = itertools.count()
    with opened(path, limits, clips) as stream:
        frames = (frame for frame, _ in zip(stream.frames, counter, strict=False))
        for cut in shots.cut(frames, stream.fps, clips.shortest, clips.longest):
            found.append(_clip(cut, stream.fps, folder / f"{len(found):06d}", config, found))
    if not found:
        raise Rejected("does not decode", "no frame")
    counted = next(counter)
    return {
        "size": stream.size,
        "crop": stream.crop,
        "fps": stream.fps,
        "shots": found[-1]["shot"] + 1,
        "frames": counted,
        "dropped": counted - sum(clip["size"][0] for clip in found),
        "clips": found,
    }


def _clip(
    cut: shots.Cut, fps: float, target: pathlib.Path, config: IngestConfig, others: list
) -> dict[str, Any]:
    """Measures a clip and writes it, or a picture of it where it is rejected."""
    measures = filters.measure(cut.frames, fps, config.filters.most_text < 1)
    reason = "too short" if cut.short else filters.fault(measures, config.filters)
    clip = {
        "shot": cut.shot,
        "start": cut.start,
        "size": cut.frames.shape[:3],
        "measures": measures,
        "reason": reason,
    }
    if not reason:
        data = media.encode_video(cut.frames, fps, config.clips.crf)
        _write(target.with_suffix(".mp4"), data)
        clip |= {"hash": dedup.perceptual_hash(cut.frames), "bytes": len(data)}
        clip |= {"sha256": records.sha256(data)}
    elif sum(other["reason"] == reason for other in others) < _SHOWN:
        _write(target.with_suffix(".jpg"), thumbnail(cut.frames[len(cut.frames) // 2]))
        clip["picture"] = True
    return clip


def _write(path: pathlib.Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Unwritable(str(error)) from error


def thumbnail(frame: np.ndarray, side: int = 192) -> bytes:
    """A frame as a JPEG file; its longer side has at most `side` pixels."""
    scale = min(1.0, side / max(frame.shape[:2]))
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
