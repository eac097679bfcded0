"""Measures of a clip and the thresholds that reject it."""

import functools
import importlib.util
from collections.abc import Sequence
from typing import Generic, TypeVar

import cv2
import numpy as np

from data_pipelines.ingest.config import Filters

_FLOW_SIDE, _MIN_FLOW_SIDE = 160, 32  # pixels, longer and shorter; OpenCV crashes below the minimum
_MAX_FLOW_PAIRS = 16
_TEXT_SIDE = 768  # pixels of the longer side when text is looked for
_TEXT_FRAMES = 3  # in which text is looked for
T = TypeVar("T")


class Measure:
    """Measures the frames of a clip as they come; few of them are in memory.

    Args:
      fps: frames per second.
      text: whether to look for burnt-in text.
    """

    def __init__(self, fps: float, text: bool):
        self._fps, self._count = fps, 0
        self._levels, self._change = np.zeros(256, np.int64), 0.0
        self._first = self._last = np.empty(0, np.uint8)
        self._pairs = Spread[tuple[np.ndarray, np.ndarray]](_MAX_FLOW_PAIRS)
        self._texts = Spread[np.ndarray](_TEXT_FRAMES if text else 0)

    def add(self, frame: np.ndarray) -> None:
        """Takes the next frame, uint8[h, w, 3]."""
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        small = _shrink_for_flow(gray)
        self._levels += np.bincount(gray.ravel(), minlength=256)
        if self._count:
            self._change = max(self._change, float(cv2.absdiff(self._first, gray).mean()))
            self._pairs.add((self._last, small))
        else:
            self._first = gray
        self._last = small
        self._texts.add(frame)
        self._count += 1

    def read(self) -> dict[str, float]:
        """Returns the measures; an image has neither change nor motion.

        luma: 99th percentile of the brightness, 0 to 255; change: maximum over frames of the mean
        absolute difference to the first frame, 0 to 255; motion: mean length of the optical flow in
        picture diagonals per second; text: maximum share of a frame that text covers, 0 to 1.
        """
        below = np.cumsum(self._levels) / self._levels.sum()
        measures = {"luma": float(np.searchsorted(below, 0.99))}
        if self._count > 1:
            measures["change"] = self._change
            measures["motion"] = measure_motion(self._pairs.read(), self._first.shape, self._fps)
        if texts := self._texts.read():
            measures["text"] = max(measure_text(frame) for frame in texts)
        return {name: round(value, 4) for name, value in measures.items()}


class Spread(Generic[T]):
    """Keeps some of any number of things, evenly spread: at least `count` where there are."""

    def __init__(self, count: int):
        self._count, self._step, self._seen = count, 1, 0
        self._kept: list[T] = []

    def add(self, thing: T) -> None:
        """Takes the next thing."""
        if self._count and self._seen % self._step == 0:
            self._kept.append(thing)
        if len(self._kept) > 2 * self._count:
            self._kept, self._step = self._kept[::2], self._step * 2
        self._seen += 1

    def read(self) -> list[T]:
        """Returns at most `count` of those that are kept."""
        places = np.linspace(0, len(self._kept) - 1, min(self._count, len(self._kept)))
        return [self._kept[i] for i in places.astype(int)]


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


def measure_motion(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], size: Sequence[int], fps: float
) -> float:
    """Computes the mean length of the optical flow, in picture diagonals per second.

    DIS flow (arXiv:1603.03590).

    Args:
      pairs: neighbouring frames as `_shrink_for_flow` made them.
      size: height and width of the frames in pixels.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    sides = np.array(size[::-1])
    lengths = []
    for one, two in pairs:
        moved = flow.calc(one, two, None) * (sides / one.shape[::-1])  # type: ignore[call-overload]
        lengths.append(np.linalg.norm(moved, axis=-1).mean())
    return float(np.mean(lengths) * fps / np.hypot(*sides))


def _shrink_for_flow(gray: np.ndarray) -> np.ndarray:
    sides = np.array(gray.shape[::-1])  # width and height
    small = np.maximum(np.rint(sides * _FLOW_SIDE / sides.max()), _MIN_FLOW_SIDE).astype(int)
    return cv2.resize(gray, small.tolist(), interpolation=cv2.INTER_AREA)


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
