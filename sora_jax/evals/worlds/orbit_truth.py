"""Compares a video of `orbit` with its simulator: where solids are, and the first frame's warp."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

MAX_MISS = 0.25  # of the short side; a solid that is not seen counts as much
MIN_VISIBLE = 0.95  # share of a solid that nothing hides
SAME_DEPTH = 0.06  # relative difference of depths that belong to one surface
MIN_SHARE = 0.2  # of a frame that the first one shows too


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Mean distance between solids and the simulator's, of the frame's short side; nan if unknown.

    Attributes:
      miss: of the video.
      still: of solids that stay in the picture where the last given frame has them.
      steady: of solids that move on as between the last two given frames.
    """

    miss: float
    still: float
    steady: float


def project(truth, h: int, w: int) -> np.ndarray:
    """Returns the centres of the simulator's solids, [n, t, 2] in pixels of an h x w picture."""
    return _project_points(truth, np.asarray(truth["positions"], np.float64), h, w).swapaxes(0, 1)


def find_centroids(truth, solids: Sequence[str], h: int, w: int) -> np.ndarray:
    """Returns the centroids of the solids' outlines, [n, t, 2] in pixels, were nothing hidden.

    An outline is the convex hull of the picture of points on the solid's surface.
    """
    outlines = [_project_surface(truth, solids, i, h, w) for i in range(len(solids))]
    return np.array(
        [[_find_centroid(frame[ConvexHull(frame).vertices]) for frame in seen] for seen in outlines]
    )


def find_shown(truth, solids: Sequence[str], h: int, w: int) -> np.ndarray:
    """Returns bool[n, t], where the simulator shows a solid whole: not hidden, not cut."""
    shown = np.asarray(truth["visible"]).T >= MIN_VISIBLE
    for i in range(len(solids)):
        seen = _project_surface(truth, solids, i, h, w)
        shown[i] &= ((seen > 1) & (seen < (w - 1, h - 1))).all((1, 2))
    return shown


def _project_surface(truth, solids: Sequence[str], i: int, h: int, w: int) -> np.ndarray:
    """Projects points of solid i's surface, corners or rings, to [t, m, 2] in pixels."""
    wide, tall = (float(v) for v in truth["half"][i])
    turn, radius = np.linspace(0, 2 * math.pi, 16, endpoint=False), wide
    levels, scales = np.array([-1.0, 1.0]), np.ones(2)
    if solids[i] == "cube":
        turn = float(truth["yaw"][i]) + math.pi / 4 + np.arange(4) * math.pi / 2
        radius = wide * math.sqrt(2)
    if solids[i] == "ball":
        rise = np.linspace(-1.3, 1.3, 7)
        levels, scales = np.sin(rise), np.cos(rise)
    x, y = (np.outer(scales, radius * v) for v in (np.cos(turn), np.sin(turn)))
    z = np.repeat(tall * levels[:, None], len(turn), 1)
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    centers = np.asarray(truth["positions"], np.float64)[:, i : i + 1]
    return _project_points(truth, centers + points, h, w)


def _find_centroid(corners: np.ndarray) -> np.ndarray:
    """Returns the centroid of a polygon's area, from its corners [m, 2] in order."""
    after = np.roll(corners, -1, 0)
    middle = corners.mean(0)
    a, b = corners - middle, after - middle
    cross = a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]
    return middle + ((a + b) * cross[:, None]).sum(0) / (3 * cross.sum())


def _project_points(truth, points: np.ndarray, h: int, w: int) -> np.ndarray:
    """Projects points [t, m, 3] of each frame to [t, m, 2] in pixels of an h x w picture."""
    pose, k = np.asarray(truth["pose"], np.float64), _scale_intrinsics(truth, h, w)
    local = np.einsum("tji,tnj->tni", pose[:, :3, :3], points - pose[:, None, :3, 3])
    depth = np.maximum(-local[..., 2], 1e-3)
    x, y = k[0, 0] * local[..., 0] / depth + k[0, 2], k[1, 2] - k[1, 1] * local[..., 1] / depth
    return np.stack([x, y], -1)


def measure_prediction(
    truth, solids: Sequence[str], center: np.ndarray, given: int, h: int, w: int
) -> Prediction:
    """Compares centroids [n, t, 2] in pixels, nan where nothing is seen, after `given` frames."""
    if given < 2:
        return Prediction(math.nan, math.nan, math.nan)
    actual, shown = find_centroids(truth, solids, h, w), find_shown(truth, solids, h, w)
    t = min(actual.shape[1], center.shape[1])
    frames = np.arange(given, t)
    if not shown[:, frames].any():
        return Prediction(math.nan, math.nan, math.nan)
    last, before = actual[:, given - 1 : given], actual[:, given - 2 : given - 1]
    guesses = (
        center[:, frames],
        np.broadcast_to(last, actual[:, frames].shape),
        last + (last - before) * np.arange(1, len(frames) + 1)[:, None],
    )
    misses = []
    for guess in guesses:
        distance = np.linalg.norm(guess - actual[:, frames], axis=-1) / min(h, w)
        distance = np.where(np.isnan(distance), MAX_MISS, np.minimum(distance, MAX_MISS))
        misses.append(float(distance[shown[:, frames]].mean()))
    return Prediction(*misses)


def measure_warp(truth, video: np.ndarray) -> float:
    """Returns how much better the first frame fits the others when it is warped, nan if unknown.

    Each point that the simulator's depth gives is carried from frame i to the first one by both
    poses, x_0 = P_0^-1 P_i x_i, and counts if the first frame's depth is there that of the point.
    With e the mean difference of colours, the value is 1 - e(warped) / e(same pixel): near 1 for
    the simulator's video, 0 or less for one that stands still or moves otherwise.
    """
    pose, depth = np.asarray(truth["pose"], np.float64), np.asarray(truth["depth"], np.float64)
    t, h, w, _ = video.shape
    t, rows, columns = min(t, len(depth)), *depth.shape[1:]
    k = _scale_intrinsics(truth, h, w)
    full_h, full_w = 2 * truth["intrinsics"][1, 2], 2 * truth["intrinsics"][0, 2]
    x, y = _centers(columns) * w / full_w, _centers(rows) * h / full_h
    rolls = float(truth["ball_speed"]) > 0
    smooth = ndimage.gaussian_filter(video[:t].astype(np.float32), (0, 0.7, 0.7, 0))
    warped, same = 0.0, 0.0
    ahead = np.stack(np.meshgrid((x - k[0, 2]) / k[0, 0], (k[1, 2] - y) / k[1, 1]), -1)
    for i in range(1, t):
        d = depth[i]
        near = np.isfinite(d) & (d < 30)
        points = np.concatenate([ahead * d[..., None], -d[..., None]], -1)[near]
        points = points @ pose[i, :3, :3].T + pose[i, :3, 3]
        local = (points - pose[0, :3, 3]) @ pose[0, :3, :3]
        away = np.maximum(-local[:, 2], 1e-3)
        px = local[:, 0] / away * k[0, 0] + k[0, 2]
        py = k[1, 2] - local[:, 1] / away * k[1, 1]
        keep = (px > 1) & (px < w - 1) & (py > 1) & (py < h - 1) & (local[:, 2] < -0.1)
        column = np.clip(np.round((px * full_w / w - 2.5) / 4), 0, columns - 1).astype(int)
        row = np.clip(np.round((py * full_h / h - 2.5) / 4), 0, rows - 1).astype(int)
        keep &= np.abs(depth[0][row, column] / away - 1) < SAME_DEPTH
        if rolls:
            for at in (truth["positions"][i, 0], truth["positions"][0, 0]):
                keep &= np.linalg.norm(points - at, axis=1) > 1.3 * truth["half"][0, 0]
        if keep.sum() < MIN_SHARE * near.sum():
            continue
        own = np.stack(np.broadcast_arrays(y[:, None], x[None, :]))[:, near][:, keep]
        target = _sample(smooth[i], own)
        first = _sample(smooth[0], np.stack([py[keep], px[keep]]))
        warped += float(np.abs(first - target).mean())
        same += float(np.abs(_sample(smooth[0], own) - target).mean())
    if not warped + same:
        return math.nan if t < 2 else 0.0
    return 1 - warped / max(same, 1e-6)


def _centers(count: int) -> np.ndarray:
    """Pixel coordinates of the points whose depth the simulator keeps: every fourth pixel's."""
    return 4 * np.arange(count) + 2.5


def _sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Samples image[h, w, 3] between pixels at points[2, m] = (row, column) coordinates."""
    return np.stack(
        [
            ndimage.map_coordinates(image[..., c], points - 0.5, order=1, mode="nearest")
            for c in range(3)
        ]
    )


def _scale_intrinsics(truth, h: int, w: int) -> np.ndarray:
    """Returns the camera matrix for a picture of h x w pixels, which shows the same view."""
    k = np.array(truth["intrinsics"], np.float64)
    k[0] *= w / (2 * k[0, 2])
    k[1] *= h / (2 * k[1, 2])
    return k
