"""Names the figures of the ink in the painter's videos; lengths are in pixels, y points down."""

import math

import numpy as np

from sora_jax.evals.worlds.morphology import measure_distance
from sora_jax.laws import painter as laws

_POINTS = 90  # of a figure that is compared with ink


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
    width = max(4 * (measure_distance(np.pad(ink, 1))[1:-1, 1:-1][ink].mean() - 0.5), 1)
    pixels = np.stack([columns + 0.5, rows + 0.5], 1)
    low, high = pixels.min(0) - 0.5 + width / 2, pixels.max(0) + 0.5 - width / 2
    few = pixels[:: math.ceil(len(pixels) / 250)]
    squares = (few**2).sum(1)
    off_ink = measure_distance(~(ink | hidden))
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
            # |p - q|^2 without |p|^2, which is the same for all points q.
            apart = ((points**2).sum(1) - 2 * few @ points.T).min(1) + squares
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
