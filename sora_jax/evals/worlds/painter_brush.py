"""Finds the brush in the painter's videos, and names the figures of the ink.

Lengths are in pixels, y points down, the centre of column i is at i + 1/2.
"""

import math

import numpy as np
from scipy import fft, ndimage

from sora_jax.laws import painter as laws

PARTS = {"bristles": laws.BRISTLES, "ferrule": laws.FERRULE, "handle": laws.HANDLE}

_SEEN = 0.1  # share of the brush that must be in sight and seen
_FILL = 0.45  # of the brush within the frame
_MARGIN = 2.0  # pixels beside the brush that its edge and a codec may change
_POINTS = 90  # of a figure that is compared with ink
_ALONG = np.array(laws.AXIS) / np.hypot(*laws.AXIS)
_ACROSS = np.array([-_ALONG[1], _ALONG[0]])


def find_tip(parts: dict[str, np.ndarray], unit: float) -> np.ndarray:
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
        row, column = np.unravel_index(v.argmax(), v.shape)
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


def cover_brush(tips: np.ndarray, unit: float, h: int, w: int) -> np.ndarray:
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


def name_figure(ink: np.ndarray, hidden: np.ndarray) -> tuple[str, float]:
    """Names the figure that ink[h, w] looks most like, and how much, 0 to 1.

    Each figure is turned as the laws allow, scaled to the ink's extent, and compared: recall is
    the share of its points on ink (within 0.7 pixels), precision the share of ink within half a
    stroke's width (and 1 pixel) of it. Their product decides; the smaller of them is returned.

    Args:
      hidden: bool[h, w], pixels where ink may be that is not seen.
    """
    rows, columns = np.nonzero(ink)
    if len(rows) < 8:
        return "", 0.0
    # The mean distance of a strip's pixels from its edge is a quarter of its width; the distance
    # to the nearest pixel outside is half a pixel more.
    width = max(
        4 * (ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1][ink].mean() - 0.5), 1
    )
    pixels = np.stack([columns + 0.5, rows + 0.5], 1)
    low, high = pixels.min(0) - 0.5 + width / 2, pixels.max(0) + 0.5 - width / 2
    few = pixels[:: math.ceil(len(pixels) / 250)]
    off_ink = ndimage.distance_transform_edt(~(ink | hidden))
    best = ("", 0.0, 0.0)
    for name, variants in _VARIANTS.items():
        if name == "line":
            candidates = [_fit_line(pixels, width)]
        else:
            candidates = [low + shape * np.maximum(high - low, 1e-3) for shape in variants]
        for points in candidates:
            at = np.clip(points.astype(int), 0, np.array(ink.shape)[::-1] - 1)
            recall = (off_ink[at[:, 1], at[:, 0]] <= 0.7).mean()
            if recall < 0.5:
                continue
            apart = ((few[:, None] - points) ** 2).sum(-1).min(1)
            precision = (apart <= (width / 2 + 1) ** 2).mean()
            if recall * precision > best[1]:
                best = (name, recall * precision, min(recall, precision))
    return best[0], float(best[2])


def _fit_line(pixels: np.ndarray, width: float) -> np.ndarray:
    """Returns points along the longest axis of a set of pixels, without its rounded ends."""
    middle = pixels.mean(0)
    axis = np.linalg.svd(pixels - middle, full_matrices=False)[2][0]
    along = (pixels - middle) @ axis
    ends = along.min() + width / 2, along.max() - width / 2
    return middle + np.linspace(*ends, _POINTS)[:, None] * axis


def _make_variants() -> dict[str, list[np.ndarray]]:
    """Makes points [_POINTS, 2] of each figure, turned in several ways, within the unit square."""
    variants: dict[str, list[np.ndarray]] = {}
    for name, lines in laws.FIGURES.items():
        degrees, flips = np.array([-laws.TILT, 0, laws.TILT]) * 0.75, (1,)
        if name == "spiral":
            degrees, flips = np.arange(0, 360, 15), (1, -1)
        if name in ("line", "circle"):
            degrees = np.zeros(1)
        variants[name] = []
        for flip in flips:
            for angle in np.radians(degrees):
                turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
                turned = [line * (flip, 1) @ np.transpose(turn) for line in lines]
                points = _spread(turned)
                low, high = points.min(0), points.max(0)
                variants[name].append((points - low) / np.maximum(high - low, 1e-9))
    return variants


def _spread(lines: list[np.ndarray]) -> np.ndarray:
    """Spreads points evenly along lines, each with a share by its length."""
    lengths = [np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))] for line in lines]
    total = sum(length[-1] for length in lengths)
    points = []
    for line, along in zip(lines, lengths, strict=True):
        wanted = np.linspace(0, along[-1], round(_POINTS * along[-1] / total))
        points.append(np.stack([np.interp(wanted, along, p) for p in line.T], 1))
    return np.concatenate(points)


_VARIANTS = _make_variants()
