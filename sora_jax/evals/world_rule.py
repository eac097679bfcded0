"""A nearest-neighbour rule that names the world a clip comes from; it has no trained weights.

A clip's features are the mean colours of an 8 x 8 grid in its first, middle and last frame, the
mean absolute difference between neighbouring pixels (texture) and between frames (motion) in each
cell of a 4 x 4 grid, and the fraction of saturated pixels. Each feature is divided by its standard
deviation over the reference clips; the nearest reference clip (Euclidean) names the world.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

Video = UInt8[np.ndarray, "t h w 3"]


def features(video: Video) -> Float[np.ndarray, "n"]:
    """Computes the features of a clip of any duration, with sides of at least 8 pixels."""
    x = video.astype(np.float32) / 255
    colors = [_cell_means(x[i], 8) for i in (0, len(x) // 2, len(x) - 1)]
    down, right = np.abs(np.diff(x, axis=1)), np.abs(np.diff(x, axis=2))
    texture = [_cell_means(d.mean(0), 4).mean(-1) for d in (down, right)]
    motion = np.abs(np.diff(x, axis=0)).mean(0) if len(x) > 1 else np.zeros_like(x[0])
    saturated = np.mean(x.max(-1) - x.min(-1) > 0.3)
    parts = [*colors, *texture, _cell_means(motion, 4).mean(-1), saturated]
    return np.concatenate([np.ravel(part) for part in parts])


class NearestWorld:
    """The rule, with reference clips and the name of each one's world."""

    def __init__(self, videos: Sequence[Video], worlds: Sequence[str]):
        reference = np.stack([features(video) for video in videos])
        self.worlds, self.scale = list(worlds), reference.std(0) + 1e-3
        self.reference = reference / self.scale

    def __call__(self, video: Video) -> str:
        """Names the world of the nearest reference clip."""
        distance = np.square(self.reference - features(video) / self.scale).sum(1)
        return self.worlds[int(distance.argmin())]


def _cell_means(
    frame: Float[np.ndarray, "h w c"], cells: int
) -> Float[np.ndarray, "cells cells c"]:
    """Averages each cell of a grid over a frame whose sides have at least `cells` pixels."""
    rows, columns = (np.arange(cells) * n // cells for n in frame.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(frame, rows, 0), columns, 1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(frame), rows, 0), columns, 1)
    return sums / counts
