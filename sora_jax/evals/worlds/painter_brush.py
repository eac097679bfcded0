"""Finds the brush in the painter's videos.

Lengths are in pixels, y points down, the centre of column i is at i + 1/2.
"""

import math
from typing import Any

import numpy as np
from scipy import fft as _untyped

from sora_jax.laws import painter as laws

fft: Any = _untyped  # the stubs state no type of its arrays

PARTS = {"bristles": laws.BRISTLES, "ferrule": laws.FERRULE, "handle": laws.HANDLE}

_SEEN = 0.1  # share of the brush that must be in sight and seen
_FILL = 0.45  # of the brush within the frame
_MARGIN = 2.0  # pixels beside the brush that its edge and a codec may change
_ALONG = np.array(laws.AXIS) / np.hypot(*laws.AXIS)
_ACROSS = np.array([-_ALONG[1], _ALONG[0]])


def find_tip(parts: dict[str, np.ndarray], unit: int) -> np.ndarray:
    """Finds the brush's tip [t, 2] within the frame, nan where there is no brush.

    The place maximises (pixels of the brush's parts that have their colours) - 0.3 (other pixels
    within the frame), and is refined by a parabola.

    Args:
      parts: bool[t, h, w] of the pixels that look like each of `PARTS`.
      unit: pixels of the frame's short side.
    """
    t, h, w = parts["handle"].shape
    reach = math.ceil(0.62 * unit)
    shape = fft.next_fast_len(h + reach), fft.next_fast_len(w + reach)
    # The offset from the tip of each pixel of a periodic picture: below half of it, or negative.
    y, x = (np.fft.fftfreq(n, 1 / n) for n in shape)
    along = (x * _ALONG[0] + y[:, None] * _ALONG[1]) / unit
    across = np.abs(x * _ACROSS[0] + y[:, None] * _ACROSS[1]) / unit
    whole = np.zeros(shape, np.float32)
    product = np.complex64(0)
    for name, (start, stop, first, last, _) in zip(PARTS, laws.BRUSH, strict=True):
        share = np.clip((along - start) / (stop - start), 0, 1)
        width = first + (last - first) * share
        mask = ((along >= start) & (along <= stop) & (across <= width)).astype(np.float32)
        whole += mask
        picture = fft.rfft2(parts[name].astype(np.float32), shape)
        product = product + picture * fft.rfft2(mask).conj()
    seen = fft.irfft2(product, shape)[:, :h, :w]
    frame = fft.rfft2(np.ones((h, w), np.float32), shape)
    within = fft.irfft2(frame * fft.rfft2(whole).conj(), shape)[:h, :w]
    value = 1.3 * seen - 0.3 * within
    tips = np.full((t, 2), np.nan)
    for i, v in enumerate(value):
        row, column = divmod(int(v.argmax()), w)
        count, room = seen[i, row, column], within[row, column]
        if count >= _SEEN * whole.sum() and count >= _FILL * room:
            tips[i] = (
                column + 0.5 + _refine(v[row], column),
                row + 0.5 + _refine(v[:, column], row),
            )
    return tips


def _refine(values: np.ndarray, peak: int) -> float:
    """Returns the offset, within half a pixel, of a parabola's peak through three values."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    a, b, c = values[peak - 1 : peak + 2]
    bend = a - 2 * b + c
    return float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def cover_brush(tips: np.ndarray, unit: int, h: int, w: int) -> np.ndarray:
    """Returns bool[t, h, w], the pixels that the brush hides, with a margin."""
    x = np.arange(w) + 0.5 - tips[:, 0, None, None]
    y = np.arange(h)[:, None] + 0.5 - tips[:, 1, None, None]
    along, across = x * _ALONG[0] + y * _ALONG[1], np.abs(x * _ACROSS[0] + y * _ACROSS[1])
    hidden = np.zeros(along.shape, bool)
    for start, stop, first, last, _ in laws.BRUSH:
        share = np.clip((along / unit - start) / (stop - start), 0, 1)
        width = (first + (last - first) * share) * unit
        inside = (along >= start * unit - _MARGIN) & (along <= stop * unit + _MARGIN)
        hidden |= inside & (across <= width + _MARGIN)
    return hidden


def reach_of(start: np.ndarray, stop: np.ndarray, radius: float, h: int, w: int) -> np.ndarray:
    """Returns bool[h, w], pixels within a radius of a line; one nan end leaves the other."""
    if np.isnan(start).any():
        start = stop
    if np.isnan(stop).any():
        stop = start
    if np.isnan(start).any():
        return np.zeros((h, w), bool)
    half, middle = (stop - start) / 2, (start + stop) / 2
    x, y = np.arange(w) + 0.5 - middle[0], np.arange(h)[:, None] + 0.5 - middle[1]
    u = np.clip((x * half[0] + y * half[1]) / max(half @ half, 1e-9), -1, 1)
    return np.hypot(x - u * half[0], y - u * half[1]) <= radius
