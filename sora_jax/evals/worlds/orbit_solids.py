"""What the scores of `orbit` read of solids: shape, edges, coming and going, the ball's speed."""

import functools
import math

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from sora_jax.evals.worlds.morphology import erode_mask
from sora_jax.evals.worlds.orbit_sight import Sight
from sora_jax.laws import orbit as laws

_TILT = math.radians(sum(laws.TILT) / 2)
_CUBE_YAWS = tuple(math.radians(yaw) for yaw in range(0, 90, 15))
_OUTLINES = tuple(name for name in laws.SOLIDS for _ in (_CUBE_YAWS if name == "cube" else (0,)))
_YAWS = tuple(yaw for name in laws.SOLIDS for yaw in (_CUBE_YAWS if name == "cube" else (0.0,)))
_ANGLES = 360  # directions in which an outline's radius is known
_TURN = np.linspace(0, 2 * math.pi, 20, endpoint=False)
PART = 0.85  # of the greatest area within 4 frames: what hides is seen in part
MOST = 0.9  # of a solid's greatest area
MAX_FRAMES = 4  # frames in which shapes and edges are compared


def match_shape(sight: Sight, i: int) -> str:
    """Returns the name in `laws.SOLIDS` whose outline fits solid i best, or "".

    Outlines are those of the laws' proportions, seen from afar by the laws' tilt, with the mask's
    centre and area. They are compared by the share of the union that both fill, averaged over
    frames; for a cube, the best yaw of each frame counts. If no frame shows the solid away from
    those in front of it, the ones that show most of it count.
    """
    masks, clear = sight.masks[i], sight.whole[i]
    if not clear.any():
        area = sight.area[i] * sight.inside[i]
        clear = area > MOST * area.max(initial=0)
    frames = np.flatnonzero(clear)
    if not len(frames):
        return ""
    frames = frames[np.linspace(0, len(frames) - 1, min(MAX_FRAMES, len(frames))).astype(int)]
    totals = dict.fromkeys(laws.SOLIDS, 0.0)
    for k in frames:
        overlaps = _overlap(masks[k])
        for solid in laws.SOLIDS:
            totals[solid] += max(overlaps[j] for j, name in enumerate(_OUTLINES) if name == solid)
    return max(totals, key=lambda solid: totals[solid])


def _overlap(mask: np.ndarray) -> np.ndarray:
    """Returns intersection over union of a mask and each outline of its area and centre."""
    h, w = mask.shape
    rows, columns = mask.nonzero()
    cx, cy = columns.mean() + 0.5, rows.mean() + 0.5
    focal = laws.FOCAL * min(h, w)
    x, y = (cx - w / 2) / focal, (h / 2 - cy) / focal
    lean = math.atan2(x * math.sin(_TILT), math.cos(_TILT) + y * math.sin(_TILT))
    radii = _draw_outlines(round(_TILT - math.atan(y), 2)) * math.sqrt(len(rows))
    reach = int(math.ceil(radii.max())) + 2
    offsets = np.arange(-reach, reach + 1, max(reach // 16, 1))  # large masks are sampled
    column, row = int(cx) + offsets, int(cy) + offsets
    px, py = (column + 0.5 - cx)[None, :], -(row + 0.5 - cy)[:, None]
    turn = np.round((np.arctan2(py, px) + lean) / (2 * math.pi) * _ANGLES).astype(int) % _ANGLES
    inside = np.hypot(px, py) <= radii[:, turn]
    within = ((row >= 0) & (row < h))[:, None] & ((column >= 0) & (column < w))
    own = mask[np.clip(row, 0, h - 1)[:, None], np.clip(column, 0, w - 1)] & within
    return (own & inside).sum((1, 2)) / np.maximum((own | inside).sum((1, 2)), 1)


@functools.cache
def _draw_outlines(dip: float) -> np.ndarray:
    """Returns the radii of outlines of area 1 about their centroids, [m, _ANGLES], y up.

    They are the solids of `_OUTLINES`, turned by `_YAWS`.

    Args:
      dip: how far the line of sight looks down, radians.
    """
    angles = 2 * math.pi / _ANGLES * np.arange(_ANGLES)
    ahead = np.stack([np.cos(angles), np.sin(angles)])
    outlines = []
    for solid, yaw in zip(_OUTLINES, _YAWS, strict=True):
        corners = _draw_outline(solid, yaw, dip)
        after = np.roll(corners, -1, 0)
        cross = corners[:, 0] * after[:, 1] - after[:, 0] * corners[:, 1]
        area = cross.sum() / 2
        middle = ((corners + after) * cross[:, None]).sum(0) / (6 * area)
        corners, step = (corners - middle) / math.sqrt(area), (after - corners) / math.sqrt(area)
        outward = np.stack([step[:, 1], -step[:, 0]], -1)
        # A ray leaves a convex outline through the first edge that it meets from inside.
        slope, bound = outward @ ahead, (outward * corners).sum(-1)[:, None]
        outlines.append(np.where(slope > 1e-9, bound / np.maximum(slope, 1e-9), np.inf).min(0))
    return np.stack(outlines)


def _draw_outline(solid: str, yaw: float, dip: float) -> np.ndarray:
    """Returns the corners of one outline, for a radius of 1, counterclockwise, y up."""
    wide, tall = laws.SOLIDS[solid]
    if solid == "ball":
        return wide * np.stack([np.cos(_TURN), np.sin(_TURN)], -1)
    around, radius = _TURN, wide
    if solid == "cube":
        around = yaw + math.pi / 4 + np.arange(4) * math.pi / 2
        radius = wide * math.sqrt(2)
    ring = np.stack([radius * np.cos(around), radius * np.sin(around) * math.sin(dip)], -1)
    points = np.concatenate([ring + (0, sign * tall * math.cos(dip)) for sign in (-1, 1)])
    return points[ConvexHull(points).vertices]


def find_round(sight: Sight, i: int) -> np.ndarray:
    """Returns bool[t], where solid i is inside the frame and a round disc, as a whole ball is."""
    left, top, right, bottom = np.nan_to_num(sight.box[i]).T
    wide, tall = np.maximum(right - left, 1), np.maximum(bottom - top, 1)
    filled = sight.area[i] / (math.pi / 4 * wide * tall)
    slack = 1.2 / np.minimum(wide, tall)  # pixels are whole
    return sight.inside[i] & (np.abs(np.log(wide / tall)) < 0.06 + slack) & (filled > 0.92 - slack)


def measure_edges(sight: Sight) -> float:
    """Returns the mean steepness of the solids' edges, 0 to 1, nan if none is seen.

    It is the greatest difference of chroma between neighbours within a pixel of the edge, as a
    share of the range of chroma within 4 pixels: about 1 where an edge is as sharp as pixels
    allow.
    """
    values = []
    frames = np.flatnonzero(sight.area.sum(0))
    for k in frames[:: max(len(frames) // MAX_FRAMES, 1)]:
        chroma = sight.chroma[k]
        step = np.zeros_like(chroma)
        step[:, 1:] = np.abs(np.diff(chroma, axis=1))
        step[1:] = np.maximum(step[1:], np.abs(np.diff(chroma, axis=0)))
        step = ndimage.maximum_filter(step, 3)
        span = ndimage.maximum_filter(chroma, 9) - ndimage.minimum_filter(chroma, 9)
        union = sight.masks[:, k].any(0)
        edge = union & np.logical_not(erode_mask(union, outside=True))
        if edge.any():
            values.append(float(np.mean(step[edge] / np.maximum(span[edge], 1))))
    return float(np.mean(values)) if values else math.nan


def share_missing(area: np.ndarray, beside: np.ndarray, plain: np.ndarray) -> float:
    """Returns the share of frames in which a solid is gone without a reason.

    A reason is that it was last seen beside the frame's edge or another solid, in part, and comes
    back so if it comes back; none is good where it should be in plain sight.

    Args:
      area: [t], pixels.
      beside: bool[t], as in `Sight`.
      plain: bool[t], frames in which the fitted scene has it in the open.
    """
    seen = area > 0
    if not seen.any():
        return 1.0
    hiding = beside & (area < PART * ndimage.maximum_filter1d(area, 9))
    labels = np.zeros(len(seen), np.int32)
    ndimage.label(np.logical_not(seen), output=labels)
    faults = 0
    for i in range(1, labels.max() + 1):
        run = np.flatnonzero(labels == i)
        ends = [k for k in (run[0] - 1, run[-1] + 1) if 0 <= k < len(seen)]
        reason = all(hiding[k] for k in ends)
        faults += plain[run].sum() if reason else len(run)
    return faults / len(seen)


def appear_from_nothing(sight: Sight, stated: list[str]) -> bool:
    """Whether a colour that is not stated, or a solid away from others and edges, appears."""
    for i, name in enumerate(sight.names):
        seen = sight.area[i] > 0
        starts = np.flatnonzero(seen[1:] & ~seen[:-1]) + 1
        if len(starts) and (name not in stated or not sight.beside[i, starts].all()):
            return True
    return False


def measure_speeds(places: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Returns the speeds, units a second, in overlapping parts of a way, at least 5 frames each.

    Args:
      places: [t, 2], units.
      times: [t], seconds.
    """
    size = max(5, len(times) // 3)
    speeds = []
    for start in range(0, max(len(times) - size, 0) + 1, max(size // 2, 1)):
        part = slice(start, start + size)
        if len(times[part]) >= 3:
            slope = np.polyfit(times[part], places[part], 1)[0]
            speeds.append(float(np.hypot(*slope)))
    return np.array(speeds)
