"""Measures of a clip, uint8[t, h, w, 3] in RGB, and the thresholds that reject it."""

import functools
import importlib.util

import cv2
import numpy as np

from data_pipelines.ingest.config import Filters

_FLOW_SIDE, _MIN_FLOW_SIDE = 160, 32  # pixels, longer and shorter; OpenCV crashes below the minimum
_MAX_FLOW_PAIRS = 16
_TEXT_SIDE = 768  # pixels of the longer side when text is looked for


def measure(frames: np.ndarray, fps: float, text: bool) -> dict[str, float]:
    """Measures a clip; an image has neither change nor motion.

    Args:
      frames: uint8[t, h, w, 3].
      fps: frames per second.
      text: whether to look for burnt-in text.

    Returns:
      luma: 99th percentile of the brightness, 0 to 255; change: maximum over frames of the mean
      absolute difference to the first frame, 0 to 255; motion: mean length of the optical flow in
      picture diagonals per second; text: share of the middle frame that text covers, 0 to 1.
    """
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    measures = {"luma": float(np.percentile(gray, 99))}
    if len(frames) > 1:
        measures["change"] = max(float(cv2.absdiff(gray[0], g).mean()) for g in gray[1:])
        measures["motion"] = measure_motion(gray, fps)
    if text:
        measures["text"] = measure_text(frames[len(frames) // 2])
    return {name: round(value, 4) for name, value in measures.items()}


def find_fault(measures: dict[str, float], filters: Filters) -> str:
    """Returns the first reason to reject a clip with these measures, "" where there is none."""
    if measures["luma"] < filters.min_luma:
        return "black"
    if measures.get("change", np.inf) < filters.min_change:
        return "static"
    if not filters.min_motion <= measures.get("motion", filters.min_motion):
        return "too little motion"
    if measures.get("motion", 0) > filters.max_motion:
        return "too much motion"
    return "text" if measures.get("text", 0) > filters.max_text else ""


def measure_motion(gray: np.ndarray, fps: float) -> float:
    """Computes the mean length of the optical flow of gray frames uint8[t, h, w].

    The unit is picture diagonals per second.

    DIS flow (arXiv:1603.03590) of neighbouring frames, at most 16 pairs spread over the clip.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    sides = np.array(gray.shape[:0:-1])  # width and height
    small = np.maximum(np.rint(sides * _FLOW_SIDE / sides.max()), _MIN_FLOW_SIDE).astype(int)
    pairs = np.linspace(0, len(gray) - 2, min(_MAX_FLOW_PAIRS, len(gray) - 1)).astype(int)
    lengths = []
    for i in pairs:
        one, two = (
            cv2.resize(g, small.tolist(), interpolation=cv2.INTER_AREA) for g in gray[i : i + 2]
        )
        moved = flow.calc(one, two, None) * (sides / small)  # type: ignore[call-overload]
        lengths.append(np.linalg.norm(moved, axis=-1).mean())
    return float(np.mean(lengths) * fps / np.hypot(*sides))


def is_ocr_installed() -> bool:
    """Returns whether the package that finds burnt-in text is installed."""
    return importlib.util.find_spec("rapidocr_onnxruntime") is not None


@functools.cache
def _load_ocr():
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def measure_text(frame: np.ndarray) -> float:
    """Computes the share of a frame, uint8[h, w, 3], that boxes around its text cover, 0 to 1."""
    scale = max(1.0, _TEXT_SIDE / max(frame.shape[:2]))
    large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    lines, _ = _load_ocr()(cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
    boxes = (np.asarray(box, np.float32) for box, *_ in lines or [])
    return sum(cv2.contourArea(box) for box in boxes) / (large.shape[0] * large.shape[1])
