"""Flat pictures with smooth edges: discs, polygons and strokes on all frames of a clip at once.

A pixel's coverage is that of its unit square by a straight edge at the shape's signed distance d
(negative inside) from the pixel's centre: clip(1/2 - d, 0, 1). The centre of column i is at
i + 1/2. Lengths are in pixels, y points down.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

RGB = tuple[int, int, int]


class Picture:
    """Frames of one size on which shapes are painted, one over the other."""

    def __init__(self, frames: int, height: int, width: int, background: RGB | np.ndarray):
        """Starts from a colour, or from pictures that broadcast to [frames, height, width, 3]."""
        self._size = frames, height, width
        self._pixels = np.empty((frames, height, width, 3), np.float32)
        self._pixels[:] = background

    def disc(self, center: np.ndarray, radius: float, color: RGB, opacity: float = 1.0) -> None:
        """Paints a disc about center[t, 2] = (x, y)."""

        def distance(x, y):
            return np.sqrt(x * x + y * y) - radius

        self._paint(center, radius, distance, color, opacity)

    def polygon(self, corners: np.ndarray, color: RGB, opacity: float = 1.0) -> None:
        """Paints a simple polygon, convex or not, of corners[t, n, 2]."""
        center = corners.mean(1)
        local = (corners - center[:, None]).astype(np.float32)
        reach = float(np.sqrt((local**2).sum(-1)).max())
        self._paint(center, reach, lambda x, y: polygon_distance(local, x, y), color, opacity)

    def convex(self, center: np.ndarray, outline: np.ndarray, color: RGB) -> None:
        """Paints a convex polygon of corners outline[n, 2], in either order, about center[t, 2].

        Its distance is the largest one to the lines through its edges, so that corners are sharp.
        """
        edges = np.roll(outline, -1, 0) - outline
        normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / np.hypot(*edges.T)[:, None]
        inside = (outline.mean(0) - outline) * normals
        normals *= -np.sign(inside.sum(1, keepdims=True))
        offsets = (outline * normals).sum(1)
        normals, offsets = normals.astype(np.float32), offsets.astype(np.float32)

        def distance(x, y):
            sides = (n[0] * x + n[1] * y - c for n, c in zip(normals, offsets, strict=True))
            return functools.reduce(np.maximum, sides)

        middle = (outline.max(0) + outline.min(0)) / 2
        reach = float(np.hypot(*(outline - middle).T).max())
        shifted = center + middle
        self._paint(
            shifted,
            reach,
            lambda x, y: distance(x + np.float32(middle[0]), y + np.float32(middle[1])),
            color,
            1.0,
        )

    def stroke(
        self, start: np.ndarray, stop: np.ndarray, radius: float, color: RGB, opacity: float = 1.0
    ) -> None:
        """Paints the round-ended line from start[t, 2] to stop[t, 2], 2 `radius` thick."""
        center, half = (start + stop) / 2, ((stop - start) / 2).astype(np.float32)
        reach = float(np.sqrt((half**2).sum(-1)).max()) + radius

        def distance(x, y):
            along = half[:, :, None, None]
            length = np.maximum((along**2).sum(1), 1e-12)
            u = np.clip((x * along[:, 0] + y * along[:, 1]) / length, -1, 1)
            return np.hypot(x - u * along[:, 0], y - u * along[:, 1]) - radius

        self._paint(center, reach, distance, color, opacity)

    def notched_disc(
        self,
        center: np.ndarray,
        radius: float,
        towards: np.ndarray,
        half_angle: np.ndarray,
        color: RGB,
    ) -> None:
        """Paints a disc about center[t, 2] without the sector within half_angle[t] of `towards`.

        `towards` is a unit vector [2], the angle is in radians, below pi / 2.
        """
        slope = (np.sin(half_angle)[:, None, None], np.cos(half_angle)[:, None, None])
        slope = tuple(part.astype(np.float32) for part in slope)

        def distance(x, y):
            ahead, aside = x * towards[0] + y * towards[1], y * towards[0] - x * towards[1]
            sector = np.maximum(np.abs(aside) * slope[1] - ahead * slope[0], -ahead)
            return np.maximum(np.sqrt(x * x + y * y) - radius, -sector)

        self._paint(center, radius, distance, color, 1.0)

    def blend(self, coverage: np.ndarray, color: RGB) -> None:
        """Paints where coverage[t, h, w], 0 to 1, says."""
        self._pixels += coverage[..., None] * (np.array(color, np.float32) - self._pixels)

    def pixels(self) -> np.ndarray:
        """Returns the frames as float32[t, h, w, 3], 0 to 255."""
        return self._pixels

    def video(self) -> np.ndarray:
        """Returns the frames as uint8[t, h, w, 3]."""
        return (self._pixels + 0.5).astype(np.uint8)

    def _paint(
        self, center: np.ndarray, reach: float, distance: Callable, color: RGB, opacity: float
    ) -> None:
        """Blends a shape within `reach` of its centres; works on one small square a frame."""
        frames, height, width = self._size
        side = 2 * math.ceil(reach + 1) + 1
        corner = np.floor(center).astype(int) - side // 2
        columns = corner[:, :1] + np.arange(side)
        rows = corner[:, 1:] + np.arange(side)
        x = (columns + 0.5 - center[:, :1]).astype(np.float32)[:, None, :]
        y = (rows + 0.5 - center[:, 1:]).astype(np.float32)[:, :, None]
        coverage = np.clip(0.5 - distance(x, y), 0, 1) * opacity
        inside = ((rows >= 0) & (rows < height))[:, :, None]
        inside = inside & ((columns >= 0) & (columns < width))[:, None, :]
        coverage *= inside  # what lies outside is written to the edge with no effect
        at = (
            np.arange(frames)[:, None, None],
            np.clip(rows, 0, height - 1)[:, :, None],
            np.clip(columns, 0, width - 1)[:, None, :],
        )
        keep = coverage > 0
        at = tuple(np.broadcast_to(index, keep.shape)[keep] for index in at)
        below = self._pixels[at]
        self._pixels[at] = below + coverage[keep][:, None] * (np.array(color, np.float32) - below)


def polygon_distance(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the signed distance to simple polygons, negative inside.

    The distance is that to the nearest edge, its sign from the parity of the edges that a ray to
    the right crosses.

    Args:
      corners: [t, n, 2], float32.
      x: [t, 1, w] or [t, h, w]; y: [t, h, 1] or [t, h, w].
    """
    nearest, inside = np.float32(np.inf), np.False_
    for a, b in zip(
        np.moveaxis(corners, 1, 0), np.moveaxis(np.roll(corners, -1, 1), 1, 0), strict=True
    ):
        ax, ay, bx, by = (v[:, None, None] for v in (a[:, 0], a[:, 1], b[:, 0], b[:, 1]))
        ex, ey = bx - ax, by - ay
        px, py = x - ax, y - ay
        u = np.clip((px * ex + py * ey) / np.maximum(ex * ex + ey * ey, 1e-12), 0, 1)
        nearest = np.minimum(nearest, (px - u * ex) ** 2 + (py - u * ey) ** 2)
        rise = np.where(ey == 0, 1, ey)
        inside = inside ^ (((ay > y) != (by > y)) & (px < py * ex / rise))
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def blur_video(video: np.ndarray, share: float = 0.06) -> np.ndarray:
    """Blurs each frame by a Gaussian whose deviation is a share of the short side."""
    sigma = share * min(video.shape[1:3])
    return ndimage.gaussian_filter(video, (0, sigma, sigma, 0), truncate=3.0)


def flicker_video(video: np.ndarray, levels: int = 24) -> np.ndarray:
    """Makes every other frame brighter by `levels`, and the frames between them darker."""
    signs = np.where(np.arange(len(video)) % 2, 1, -1)[:, None, None, None]
    return np.clip(video.astype(np.int16) + signs * levels, 0, 255).astype(np.uint8)
