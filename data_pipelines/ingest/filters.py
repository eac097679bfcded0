"""What is measured of a clip, and whether it is kept for it. Clips are uint8[t, h, w, 3], RGB."""

import functools
import importlib.util

import cv2
import numpy as np

from data_pipelines.ingest.config import Filters

_FLOW_SIDES = 160, 32  # pixels of the longer side and least of the other: less makes OpenCV crash
_FLOW_PAIRS = 16
_TEXT_SIDE = 768  # of the longer side when text is looked for


def measure(frames: np.ndarray, fps: float, text: bool) -> dict[str, float]:
    """Measures a clip; an image has neither change nor motion.

    luma: 99th percentile of the brightness, 0 to 255; change: largest mean difference of a frame
    to the first one, 0 to 255; motion: mean length of the optical flow, diagonals of the picture
    per second; text: share of the middle frame that text covers.
    """
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    found = {"luma": float(np.percentile(gray, 99))}
    if len(frames) > 1:
        found["change"] = max(float(cv2.absdiff(gray[0], g).mean()) for g in gray[1:])
        found["motion"] = motion(gray, fps)
    if text:
        found["text"] = text_share(frames[len(frames) // 2])
    return {name: round(value, 4) for name, value in found.items()}


def fault(measures: dict[str, float], filters: Filters) -> str:
    """The first reason to reject a clip with these measures, or ""."""
    if measures["luma"] < filters.least_luma:
        return "black"
    if measures.get("change", np.inf) < filters.least_change:
        return "static"
    if not filters.least_motion <= measures.get("motion", filters.least_motion):
        return "too little motion"
    if measures.get("motion", 0) > filters.most_motion:
        return "too much motion"
    return "text" if measures.get("text", 0) > filters.most_text else ""


def motion(gray: np.ndarray, fps: float) -> float:
    """Mean length of the optical flow of uint8[t, h, w], in diagonals of the picture per second.

    DIS flow (arXiv:1603.03590) of neighbouring frames, at most 16 pairs spread over the clip.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    sides = np.array(gray.shape[:0:-1])  # width and height
    small = np.maximum(np.rint(sides * _FLOW_SIDES[0] / sides.max()), _FLOW_SIDES[1]).astype(int)
    pairs = np.linspace(0, len(gray) - 2, min(_FLOW_PAIRS, len(gray) - 1)).astype(int)
    lengths = []
    for i in pairs:
        one, two = (
            cv2.resize(g, small.tolist(), interpolation=cv2.INTER_AREA) for g in gray[i : i + 2]
        )
        moved = flow.calc(one, two, None) * (sides / small)  # type: ignore[call-overload]
        lengths.append(np.linalg.norm(moved, axis=-1).mean())
    return float(np.mean(lengths) * fps / np.hypot(*sides))


def ocr_installed() -> bool:
    """Whether burnt-in text can be found."""
    return importlib.util.find_spec("rapidocr_onnxruntime") is not None


@functools.cache
def _ocr():
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def text_share(frame: np.ndarray) -> float:
    """Share of a frame, uint8[h, w, 3], that the boxes around its text cover."""
    scale = max(1.0, _TEXT_SIDE / max(frame.shape[:2]))
    large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    found, _ = _ocr()(cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
    boxes = (np.asarray(box, np.float32) for box, *_ in found or [])
    return sum(cv2.contourArea(box) for box in boxes) / (large.shape[0] * large.shape[1])
