"""Extracts the clips of one file; runs in the bounded processes of `worker`."""

import itertools
import pathlib
from typing import Any

import cv2
import numpy as np

from data_pipelines import records
from data_pipelines.ingest import dedup, filters, shots
from data_pipelines.ingest.config import IngestConfig
from data_pipelines.ingest.decode import open_stream
from data_pipelines.ingest.frames import Rejected
from sora_jax import media

_MAX_PICTURES = 4  # of rejected clips, for each reason and file


class Unwritable(Exception):
    """Raised where the folder of the clips is full or out of reach."""


def extract(path: pathlib.Path, folder: pathlib.Path, config: IngestConfig) -> dict[str, Any]:
    """Writes the clips of a film or picture into a folder, as 000000.mp4 and so on.

    Returns:
      A report of JSON values: size [h, w] and crop [top, left, h, w] of the file in pixels, fps,
      the numbers of its shots, of its frames and of the frames that are in no clip (dropped); and
      for each clip its shot, start frame, size [t, h, w], measures, reason of its rejection (""
      where it is kept), and where it is kept its perceptual hash, bytes and sha256.

    Raises:
      Rejected: the file cannot be used.
      Unwritable: the folder cannot be written.
    """
    cv2.setNumThreads(1)  # other files run beside this one
    limits, clips = config.limits, config.clips
    reports: list[dict[str, Any]] = []
    counter = itertools.count()
    with open_stream(path, limits, clips) as stream:
        frames = (frame for frame, _ in zip(stream.frames, counter, strict=False))
        for clip in shots.cut_shots(frames, stream.fps, clips.min_frames, clips.max_frames):
            target = folder / f"{len(reports):06d}"
            reports.append(_extract_clip(clip, stream.fps, target, config, reports))
    if not reports:
        raise Rejected("does not decode", "no frame")
    counted = next(counter)
    return {
        "size": stream.size,
        "crop": stream.crop,
        "fps": stream.fps,
        "shots": reports[-1]["shot"] + 1,
        "frames": counted,
        "dropped": counted - sum(clip["size"][0] for clip in reports),
        "clips": reports,
    }


def _extract_clip(
    clip: shots.ShotClip, fps: float, target: pathlib.Path, config: IngestConfig, others: list
) -> dict[str, Any]:
    """Measures a clip and writes it; of a rejected one, a picture. Returns its report."""
    measures = filters.measure(clip.frames, fps, config.filters.max_text < 1)
    reason = "too short" if clip.too_short else filters.find_fault(measures, config.filters)
    report = {
        "shot": clip.shot,
        "start": clip.start,
        "size": clip.frames.shape[:3],
        "measures": measures,
        "reason": reason,
    }
    if not reason:
        data = media.encode_video(clip.frames, fps, config.clips.crf)
        _write(target.with_suffix(".mp4"), data)
        report |= {"hash": dedup.compute_hash(clip.frames), "bytes": len(data)}
        report |= {"sha256": records.sha256(data)}
    elif sum(other["reason"] == reason for other in others) < _MAX_PICTURES:
        _write(target.with_suffix(".jpg"), encode_thumbnail(clip.frames[len(clip.frames) // 2]))
        report["picture"] = True
    return report


def _write(path: pathlib.Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Unwritable(str(error)) from error


def encode_thumbnail(frame: np.ndarray, side: int = 192) -> bytes:
    """Encodes a frame, uint8[h, w, 3], as JPEG; `side` is the maximum of its sides in pixels."""
    scale = min(1.0, side / max(frame.shape[:2]))
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
