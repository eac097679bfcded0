"""Convex polygons cut into pieces, whose areas sum up to theirs."""

import numpy as np

from sora_jax.laws.shatter import area

MIN_AREA = 0.35  # of a piece, in shares of the mean


def break_parts(rng: np.random.Generator, parts: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Cuts convex parts into convex pieces: Voronoi cells of random points.

    Each part's share of the pieces is that of its area, one at least. No piece is much smaller than
    the others, as far as twenty draws allow it.

    Args:
      parts: corners [n, 2] of each part.
      count: number of pieces.
    """
    areas = np.array([area(part) for part in parts])
    counts = np.maximum(np.floor(areas / areas.sum() * count), 1).astype(int)
    counts[0] = count - counts[1:].sum()
    pieces = []
    for part, wanted, whole in zip(parts, counts, areas, strict=True):
        best, smallest = [part], 0.0
        for _ in range(20):
            cells = _cut_cells(part, rng.uniform(part.min(0), part.max(0), (wanted, 2)))
            least = min(area(cell) if len(cell) > 2 else 0.0 for cell in cells)
            if least >= smallest:
                best, smallest = cells, least
            if smallest >= MIN_AREA * whole / wanted:
                break
        pieces += best
    return pieces


def _cut_cells(polygon: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """Returns the Voronoi cell of each point within a convex polygon, corners [n, 2]."""
    cells = []
    for i, (px, py) in enumerate(points.tolist()):
        cell = polygon.tolist()
        for j, (qx, qy) in enumerate(points.tolist()):
            if i != j:
                # What is nearer to p than to q has (x - middle) . (q - p) <= 0.
                dx, dy = qx - px, qy - py
                middle = (px + qx) / 2 * dx + (py + qy) / 2 * dy
                cell = _clip(cell, dx, dy, middle)
        cells.append(np.array(cell).reshape(-1, 2))
    return cells


def _clip(polygon: list[list[float]], a: float, b: float, c: float) -> list[list[float]]:
    """Returns the part of a convex polygon where a x + b y <= c; lists are quicker than arrays."""
    kept: list[list[float]] = []
    sides = [a * x + b * y - c for x, y in polygon]
    for k, (x, y) in enumerate(polygon):
        before, here = sides[k - 1], sides[k]
        if (before <= 0) != (here <= 0):
            u, (px, py) = before / (before - here), polygon[k - 1]
            kept.append([px + (x - px) * u, py + (y - py) * u])
        if here <= 0:
            kept.append([x, y])
    return kept


def find_centroid(polygon: np.ndarray) -> np.ndarray:
    """Returns the centroid (x, y) of a simple polygon's area."""
    after = np.concatenate([polygon[1:], polygon[:1]])
    cross = polygon[:, 0] * after[:, 1] - polygon[:, 1] * after[:, 0]
    return ((polygon + after) * cross[:, None]).sum(0) / (3 * cross.sum())
