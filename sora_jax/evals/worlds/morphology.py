"""Morphology of masks: scipy.ndimage's operations with the types that they return.

The stubs of SciPy state no type for most of them. Masks are bool[..., h, w]; a structure of ones
has the mask's rank, and without one only the nearest neighbours along each axis count.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage as _untyped

ndimage: Any = _untyped
BLOT = 0.01  # of the square of a frame's short side: the least area of a region that is no accident


def label_parts(mask: ArrayLike, structure: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Numbers the connected parts of a mask from 1, in int32 of its shape; returns their count."""
    labels, count = ndimage.label(mask, structure)
    return labels, count


def open_mask(mask: ArrayLike, structure: np.ndarray | None = None) -> np.ndarray:
    """Removes what is narrower than the structure."""
    return ndimage.binary_opening(mask, structure)


def close_mask(mask: ArrayLike, structure: np.ndarray | None = None) -> np.ndarray:
    """Fills gaps that are narrower than the structure."""
    return ndimage.binary_closing(mask, structure)


def dilate_mask(mask: ArrayLike, structure: np.ndarray | None = None, times: int = 1) -> np.ndarray:
    """Grows a mask by a structure, `times` times."""
    return ndimage.binary_dilation(mask, structure, times)


def erode_mask(mask: ArrayLike, times: int = 1, outside: bool = False) -> np.ndarray:
    """Shrinks a mask by one pixel, `times` times; `outside` is the value beyond the frame."""
    return ndimage.binary_erosion(mask, iterations=times, border_value=outside)


def fill_holes(mask: ArrayLike) -> np.ndarray:
    """Fills what is not connected to the mask's border."""
    return ndimage.binary_fill_holes(mask)


def measure_distance(mask: ArrayLike) -> np.ndarray:
    """Returns the distance in pixels of each true pixel's centre from the nearest false one's."""
    return ndimage.distance_transform_edt(mask)


def find_blots(mask: np.ndarray) -> np.ndarray:
    """Returns which frames [t] of a mask bool[t, h, w] have a region of `BLOT` at least.

    What is narrower than three pixels does not count: colours are mixed at edges.
    """
    least = BLOT * min(mask.shape[1:]) ** 2
    found = mask.sum((1, 2)) >= least
    for t in np.flatnonzero(found):
        labels, _ = label_parts(open_mask(mask[t], np.ones((3, 3))))
        found[t] = np.bincount(labels.ravel())[1:].max(initial=0) >= least
    return found
