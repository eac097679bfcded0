"""Whether frames show what the simulator's camera sees: a frame warped by its depth and poses.

A point that the simulator's depth gives in frame i is carried to the reference frame r by both
poses, x_r = P_r^-1 P_i x_i, and counts if the reference's depth is there that of the point. The
reference's colours there are what frame i should show. With e(i, k) the mean difference of colours
between frame i and what frame k should show, and e(i, r) that from the reference itself, frame i is
right if e(i, i) is within `NOISE` of each e(i, k), at the points that count in both frames, and
clearly less than e(i, r).
"""

import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.orbit_truth import scale_intrinsics

SAME_DEPTH = 0.06  # relative difference of depths that belong to one surface
MIN_SHARE = 0.2  # of a frame that the reference shows too
NOISE = 1.15  # by which e(i, i) may exceed the least one, as pixels explain
GAIN = (0.1, 0.2)  # value 0 and 1 of the gain by warping, 1 - e(i, i) / e(i, r)
MIN_CHANGE = 0.5  # levels by which a frame differs from the reference where a camera moves
STRIDE = 4  # pixels between the points whose depth the simulator keeps


def measure_warp(truth, video: np.ndarray, reference: int) -> float:
    """Returns the squared mean value of the frames after the reference, 0 to 1.

    Frames of which the reference shows too little do not count, nor those in which the camera is
    where it was; nan if none counts.
    """
    depth, u = np.asarray(truth["depth"], np.float32), np.asarray(truth["u"], np.float64)
    h, w = video.shape[1:3]
    points = _find_points(depth.shape[1:], truth, h, w)
    expected, known = _warp(truth, depth, video[reference], points, reference)
    step = np.median(np.abs(np.diff(u[reference:]))) if len(u) > reference + 1 else 0.0
    frames = np.arange(len(u))
    counts = (known.mean((1, 2)) >= MIN_SHARE) & (np.abs(u - u[reference]) > 0.5 * step)
    counts &= frames > reference
    candidates = np.flatnonzero(counts)
    if not len(candidates):
        return math.nan
    values = []
    smooth = _smooth(video)
    still = _sample(smooth[reference], points)
    for i in candidates:
        if i >= len(video):
            values.append(0.0)
            continue
        shown = _sample(smooth[i], points)
        both = known[candidates] & known[i]
        errors = np.abs(expected[candidates] - shown).mean(-1)
        own = np.abs(expected[i] - shown).mean(-1)
        right = (own * both).sum((1, 2)) <= NOISE * (errors * both).sum((1, 2))
        same = np.abs(still - shown).mean(-1)[known[i]].mean()
        gain = 1 - own[known[i]].mean() / max(same, MIN_CHANGE)
        right = right.all() and same > MIN_CHANGE
        values.append(right * float(np.clip((gain - GAIN[0]) / (GAIN[1] - GAIN[0]), 0, 1)))
    return float(np.mean(values)) ** 2


def _find_points(shape: tuple[int, ...], truth, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows [r] and columns [c] in pixels of an h x w picture of the points with a depth."""
    full_h, full_w = 2 * truth["intrinsics"][1][2], 2 * truth["intrinsics"][0][2]
    rows, columns = (STRIDE * np.arange(count) + STRIDE // 2 + 0.5 for count in shape)
    return rows * h / full_h, columns * w / full_w


def _warp(truth, depth, reference_frame, points, reference: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the reference frame shows at the points of each frame, and where it is known.

    Returns:
      float32[t, r, c, 3] and bool[t, r, c].
    """
    h, w = reference_frame.shape[:2]
    y, x = points
    k, pose = scale_intrinsics(truth, h, w), np.asarray(truth["pose"], np.float64)
    ahead = np.stack(np.meshgrid((x - k[0, 2]) / k[0, 0], (k[1, 2] - y) / k[1, 1]), -1)
    near = np.isfinite(depth) & (depth < 30)
    d = np.where(near, depth, 1.0)[..., None]
    world = np.concatenate([ahead * d, -d], -1).reshape(len(depth), -1, 3)
    world = world @ pose[:, :3, :3].swapaxes(1, 2) + pose[:, None, :3, 3]
    local = (world - pose[reference, :3, 3]) @ pose[reference, :3, :3]
    away = np.maximum(-local[..., 2], 1e-3)
    px = local[..., 0] / away * k[0, 0] + k[0, 2]
    py = k[1, 2] - local[..., 1] / away * k[1, 1]
    keep = (px > 1) & (px < w - 1) & (py > 1) & (py < h - 1) & (local[..., 2] < -0.1)
    column = np.clip(np.round((px - x[0]) / (x[-1] - x[0]) * (len(x) - 1)), 0, len(x) - 1)
    row = np.clip(np.round((py - y[0]) / (y[-1] - y[0]) * (len(y) - 1)), 0, len(y) - 1)
    beyond = depth[reference][row.astype(int), column.astype(int)]
    keep &= np.abs(beyond / away - 1) < SAME_DEPTH
    if float(truth["ball_speed"]) > 0:
        places = np.asarray(truth["positions"], np.float64)[:, 0]
        for at in (places[:, None], places[reference]):
            keep &= np.linalg.norm(world - at, axis=-1) > 1.3 * truth["half"][0][0]
    image = _smooth(reference_frame[None])[0]
    colors = np.stack([_interpolate(image[..., c], py, px) for c in range(3)], -1)
    shape = (*depth.shape, 3)
    return colors.reshape(shape), keep.reshape(shape[:-1]) & near


def _smooth(video: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(video.astype(np.float32), (0, 0.7, 0.7, 0))


def _sample(image: np.ndarray, points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Samples image[h, w, 3] at rows and columns, [r, c, 3]."""
    row, column = np.meshgrid(*points, indexing="ij")
    return np.stack([_interpolate(image[..., c], row, column) for c in range(3)], -1)


def _interpolate(plane: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Samples a plane [h, w] between the centres of its pixels, which are at halves."""
    at = np.stack([row, column]) - 0.5
    return ndimage.map_coordinates(plane, at, order=1, mode="nearest")
