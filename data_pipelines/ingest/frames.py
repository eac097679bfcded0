"""What of a film's frame becomes a clip's: the picture without letterbox bars, and its size."""

import numpy as np

from sora_jax import media

MAX_SIDE_PIXELS = 16384  # of H.264, as x264 writes it
SAMPLES = 64  # frames in which bars are looked for
_MIN_KEYFRAMES = 8  # fewer do not show bars reliably
_LIT_SHARE = 0.02, 0.5  # of a line's pixels: at most of a bar's, at least of the picture's edge
_STEADY = 12  # levels by which the pixels of a bar vary in time
_RATIOS = (4 / 3, 1.375, 1.43, 1.5, 1.66, 16 / 9, 1.85, 1.9, 2, 2.2, 2.35, 2.39, 2.55, 2.76)


def fit_size(height: float, width: float, pixels: int) -> tuple[int, int]:
    """Returns the (height, width) that a picture shrinks to: even, its aspect ratio nearly kept.

    Args:
      height, width: size of the picture in pixels.
      pixels: maximum pixels of the result.

    Raises:
      Rejected: a side is too small for a video, or too large.
    """
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    high, wide = (int(side * scale + 1e-6) // 2 * 2 for side in (height, width))
    if min(high, wide) < media.MIN_SIDE_PIXELS:
        raise media.Rejected("too small", f"{wide}x{high} of {width:.0f}x{height:.0f} pixels")
    if max(high, wide) > MAX_SIDE_PIXELS:
        raise media.Rejected("too wide", f"{wide}x{high} pixels")
    return high, wide


def find_bars(opened: media.Film | media.Picture, max_luma: int) -> tuple[int, int, int, int]:
    """Finds the picture of a film without letterbox bars: top, left, height and width in pixels.

    Still pictures have no bars.

    Args:
      max_luma: maximum luma of a bar, 0 to 255; -1 keeps all bars.
    """
    brightest = np.zeros(opened.size, np.uint8)
    darkest, count = ~brightest, 0
    for luma in opened.sample(SAMPLES, _MIN_KEYFRAMES) if max_luma >= 0 else ():
        np.maximum(brightest, luma, brightest)
        np.minimum(darkest, luma, darkest)
        count += 1
    if count < 2:  # a still picture
        return 0, 0, opened.size[0], opened.size[1]
    return find_picture_area(brightest, darkest, max_luma, opened.aspect)


def find_picture_area(
    brightest: np.ndarray, darkest: np.ndarray, max_luma: int, aspect: float = 1.0
) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of a picture without the black bars at its edges.

    Bars are dark and constant, end at a straight edge, and either are as wide on both sides or
    leave a picture of a usual aspect ratio. They are even where something is cropped, as the planes
    of most films are halved.

    Args:
      brightest, darkest: uint8[h, w], maximum and minimum luma of each pixel over the frames.
      max_luma: maximum luma of a bar, 0 to 255.
      aspect: width of a pixel over its height.
    """
    height, width = brightest.shape
    lit = (brightest > max_luma) | (brightest.astype(np.int16) - darkest > _STEADY)
    top, bottom = _find_lit_range(lit.mean(1))
    left, right = _find_lit_range(lit[top:bottom].mean(0))
    inside = lit[top:bottom, left:right]
    if not _are_bars(inside.mean(1), top, height - bottom) or not _is_usual(
        top, height - bottom, height, (right - left) * aspect / (bottom - top)
    ):
        top, bottom = 0, height
    if not _are_bars(inside.mean(0), left, width - right) or not _is_usual(
        left, width - right, width, (right - left) * aspect / (bottom - top)
    ):
        left, right = 0, width
    if 4 * (bottom - top) < height or 4 * (right - left) < width:
        return 0, 0, height, width
    (top, bottom), (left, right) = _make_even(top, bottom, height), _make_even(left, right, width)
    return top, left, bottom - top, right - left


def _find_lit_range(shares: np.ndarray) -> tuple[int, int]:
    """Returns the range [start, stop) of the lines that are lit; all where none is."""
    indices = np.flatnonzero(shares > _LIT_SHARE[0])
    return (int(indices[0]), int(indices[-1]) + 1) if indices.size else (0, len(shares))


def _are_bars(shares: np.ndarray, before: int, after: int) -> bool:
    """Returns whether the picture begins at a straight edge behind the bars on both sides."""
    edges = [shares[:3].max()] * (before > 0) + [shares[-3:].max()] * (after > 0)
    return all(edge >= _LIT_SHARE[1] for edge in edges)


def _is_usual(before: int, after: int, whole: int, ratio: float) -> bool:
    """Returns whether bars are as wide on both sides, or the picture has a usual aspect ratio."""
    usual = (r for one in _RATIOS for r in (one, 1 / one))
    same = abs(before - after) <= 2 + 0.01 * whole
    return same or any(abs(ratio / r - 1) < 0.01 for r in usual)


def _make_even(start: int, stop: int, whole: int) -> tuple[int, int]:
    return start + start % 2, stop if stop == whole else stop - stop % 2
