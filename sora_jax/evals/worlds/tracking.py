"""Reads objects from pixels: coverage by a colour, connected components, centroids, tracks.

A pixel on the edge of an object of colour f before a background b shows p = b + a (f - b), with a
the share of the pixel that the object covers. `coverage` solves for a, so that centroids are
exact to a small part of a pixel.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.morphology import label_parts

MIN_AREA = 6.0  # pixels; smaller components are noise
MIN_LIT = 12  # pixels of a mask whose light is measured
TOLERANCE = 60.0  # of 0..255: largest distance of a pixel from the line between two colours


@dataclasses.dataclass(frozen=True)
class Component:
    """A connected region of one colour in one frame.

    Attributes:
      center: (x, y) in pixels; the centre of column i is at i + 1/2.
      area: covered pixels.
      coverage: float[h, w], the share of each pixel that it covers.
      cut: whether it touches the frame's edge, so that more of it may lie outside.
    """

    center: np.ndarray
    area: float
    coverage: np.ndarray
    cut: bool


def classify(video: np.ndarray, colors: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """Returns the index [t, h, w] of the colour that is nearest to each pixel, in their order."""
    palette = np.array(list(colors.values()), np.float32)
    # |p - c|^2 without |p|^2, which is the same for all colours.
    scores = video.astype(np.float32) @ (-2 * palette.T) + (palette**2).sum(1)
    return scores.argmin(-1)


def coverage(
    video: np.ndarray, color: tuple[int, int, int], background: tuple[int, int, int]
) -> np.ndarray:
    """Returns the share [t, h, w], 0 to 1, of each pixel that a colour covers on a background.

    Pixels far from the line between both colours belong to something else and count 0.
    """
    base, axis = np.array(background, np.float32), np.subtract(color, background, dtype=np.float32)
    offset = video.astype(np.float32) - base
    share = offset @ axis / (axis @ axis)
    off_line = np.linalg.norm(offset - share[..., None] * axis, axis=-1)
    return np.where(off_line > TOLERANCE, 0, np.clip(share, 0, 1))


def find_components(frame: np.ndarray, min_area: float = MIN_AREA) -> list[Component]:
    """Finds the connected regions of a frame's coverage [h, w], largest first.

    Regions are connected through pixels that are at least half covered, over corners too; the
    partly covered pixels beside them count to their area and centre.
    """
    labels, count = label_parts(frame >= 0.5, np.ones((3, 3)))
    if not count:
        return []
    # Each partly covered pixel belongs to the region beside it.
    near = ndimage.grey_dilation(labels, size=(3, 3))
    labels = np.where(labels > 0, labels, np.where(frame > 0.02, near, 0))
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    found = []
    for i in range(1, count + 1):
        own = np.where(labels == i, frame, 0)
        area = float(own.sum())
        if area >= min_area:
            center = np.array([(own * x).sum(), (own * y).sum()]) / area
            rim = max(own[0].max(), own[-1].max(), own[:, 0].max(), own[:, -1].max())
            found.append(Component(center, area, own, bool(rim >= 0.5)))
    return sorted(found, key=lambda component: -component.area)


def cut_out(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the smallest part with all components out of a frame's coverage [h, w].

    Returns:
      The part's corner (x, y) in pixels, and the part. It has two pixels beside the components, or
      ends at the frame's edge: only components that the frame cuts touch the part's rim.
    """
    half = frame >= 0.5
    columns, rows = (np.flatnonzero(half.any(axis)) for axis in (0, 1))
    if not len(rows):
        return np.zeros(2, int), frame[:1, :1]
    left, top = max(columns[0] - 2, 0), max(rows[0] - 2, 0)
    return np.array([left, top]), frame[top : rows[-1] + 3, left : columns[-1] + 3]


def find_index(colors: Mapping[str, tuple[int, int, int]], name: str) -> int:
    """Returns the number by which `classify` names a colour."""
    return list(colors).index(name)


def measure_flicker(video: np.ndarray, still: np.ndarray) -> float:
    """Grades how little pixels that should stay change from frame to frame; 0 without any.

    Args:
      video: uint8[t, h, w, 3].
      still: bool[t - 1, h, w], pixels that should stay from each frame to the next one.

    Returns:
      1 if the mean change is at most 5 levels of 255, 0 from 13 levels on.
    """
    if not still.any():
        return 0.0
    change = np.abs(np.diff(video.astype(np.int16), axis=0)).mean(-1)[still].mean()
    # A codec's noise of 2 levels changes a pixel by 2 to 3 levels from frame to frame.
    return float(np.clip((13 - change) / 8, 0, 1))


def measure_light(video: np.ndarray, masks: np.ndarray) -> float:
    """Measures how much brighter solids are at their top than at their bottom, of their brightness.

    With b a pixel's greatest channel, it is the median over frames of

        (mean b of the upper third - mean b of the lower third) / mean b,

    nan without a mask of `MIN_LIT` pixels. Light from above makes it positive for any convex solid.

    Args:
      video: uint8[t, h, w, 3].
      masks: bool[n, t, h, w], pixels that solids fill.
    """
    bright, found = video.max(-1).astype(np.float32), []
    for solid in masks:
        for frame, mask in zip(bright, solid, strict=True):
            rows, columns = np.nonzero(mask)
            if len(rows) < MIN_LIT:
                continue
            along = (rows - rows[0] + 0.5) / (rows[-1] - rows[0] + 1)  # rows are in order
            own = frame[rows, columns]
            upper, lower = own[along < 1 / 3], own[along > 2 / 3]
            if len(upper) and len(lower):
                found.append((upper.mean() - lower.mean()) / max(own.mean(), 1))
    return float(np.median(found)) if found else math.nan
