"""Compares a video of `orbit` with its simulator: where solids are, and what their camera sees."""

import math
from collections.abc import Sequence

import numpy as np

MAX_MISS = 0.25  # of the short side; a solid that is not seen counts as much
MIN_VISIBLE = 0.95  # share of a solid that nothing hides
_RING = np.linspace(0, 2 * math.pi, 16, endpoint=False)
_DIRECTIONS = np.stack(
    [f(np.linspace(0, 2 * math.pi, 96, endpoint=False)) for f in (np.cos, np.sin)]
)


def project(truth, h: int, w: int) -> np.ndarray:
    """Returns the centres of the simulator's solids, [n, t, 2] in pixels of an h x w picture.

    What is behind the camera is nan.
    """
    return project_points(truth, np.asarray(truth["positions"], np.float64), h, w).swapaxes(0, 1)


def project_points(truth, points: np.ndarray, h: int, w: int) -> np.ndarray:
    """Projects points [t, m, 3] of each frame to [t, m, 2] in pixels of an h x w picture.

    What is behind the camera is nan.
    """
    pose, k = np.asarray(truth["pose"], np.float64), scale_intrinsics(truth, h, w)
    local = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]  # the camera looks along -z
    depth = np.where(local[..., 2] < 0, -local[..., 2], np.nan)
    x, y = k[0, 0] * local[..., 0] / depth + k[0, 2], k[1, 2] - k[1, 1] * local[..., 1] / depth
    return np.stack([x, y], -1)


def scale_intrinsics(truth, h: int, w: int) -> np.ndarray:
    """Returns the camera matrix for a picture of h x w pixels, which shows the same view."""
    k = np.array(truth["intrinsics"], np.float64)
    k[0] *= w / (2 * k[0, 2])
    k[1] *= h / (2 * k[1, 2])
    return k


def find_outlines(truth, solids: Sequence[str], h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the solids' outlines as if nothing were hidden.

    An outline is the convex hull of the picture of points on the solid's surface; of those, the
    farthest in each of many directions are its corners, in order.

    Returns:
      centroids [n, t, 2] in pixels of an h x w picture, and bool[n, t], where the simulator shows
      a solid whole: not hidden, not cut.
    """
    shown = np.asarray(truth["visible"]).T >= MIN_VISIBLE
    centroids = []
    for i, solid in enumerate(solids):
        seen = project_points(truth, _place_surface(truth, solid, i), h, w)
        shown[i] &= ((seen > 1) & (seen < (w - 1, h - 1))).all((1, 2))
        farthest = np.nan_to_num(seen @ _DIRECTIONS).argmax(1)
        corners = np.take_along_axis(seen, farthest[..., None], 1)
        middle = corners.mean(1, keepdims=True)
        a, b = corners - middle, np.roll(corners, -1, 1) - middle
        cross = (a[..., 0] * b[..., 1] - b[..., 0] * a[..., 1])[..., None]
        centroids.append(middle[:, 0] + ((a + b) * cross).sum(1) / (3 * cross.sum(1)))
    return np.stack(centroids), shown


def _place_surface(truth, solid: str, i: int) -> np.ndarray:
    """Returns points [t, m, 3] on solid i's surface, its corners or rings."""
    wide, tall = (float(v) for v in truth["half"][i])
    turn, radius = _RING, wide
    levels, scales = np.array([-1.0, 1.0]), np.ones(2)
    if solid == "cube":
        turn = float(truth["yaw"][i]) + math.pi / 4 + np.arange(4) * math.pi / 2
        radius = wide * math.sqrt(2)
    if solid == "ball":
        rise = np.linspace(-1.3, 1.3, 7)
        levels, scales = np.sin(rise), np.cos(rise)
    x, y = (np.outer(scales, radius * v) for v in (np.cos(turn), np.sin(turn)))
    z = np.repeat(tall * levels[:, None], len(turn), 1)
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    return np.asarray(truth["positions"], np.float64)[:, i : i + 1] + points


def measure_misses(
    actual: np.ndarray, shown: np.ndarray, center: np.ndarray, given: int, short: int
) -> dict[str, np.ndarray]:
    """Compares where solids are with the simulator, in each frame from frame `given` on.

    Args:
      actual, shown: as `find_outlines` returns them.
      center: [n, t, 2], centroids in the video in pixels, nan where nothing is seen.
      given: first frames that were given, 2 at least.
      short: the frame's short side in pixels.

    Returns:
      distances float[n, t - given] of the short side, at most `MAX_MISS`, nan where the simulator
      does not show the solid whole: of the video's solids ("model"), of solids that stay in the
      picture where the last given frame has them ("copy_last"), and of solids that move on as
      between the last two given frames ("constant_velocity").
    """
    t = min(actual.shape[1], center.shape[1])
    frames = np.arange(given, t)
    last, before = actual[:, given - 1 : given], actual[:, given - 2 : given - 1]
    guesses = {
        "model": center[:, frames],
        "copy_last": last,
        "constant_velocity": last + (last - before) * (frames - given + 1)[:, None],
    }
    misses = {}
    for name, guess in guesses.items():
        distance = np.linalg.norm(guess - actual[:, frames], axis=-1) / short
        distance = np.minimum(np.nan_to_num(distance, nan=MAX_MISS), MAX_MISS)
        misses[name] = np.where(shown[:, frames], distance, np.nan)
    return misses
