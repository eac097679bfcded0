"""Finds the food and the face of the eater's videos: a circle, a disc, a picture on the food.

Lengths are in pixels, y points down, the centre of column i is at i + 1/2.
"""

import math

import numpy as np
from scipy import ndimage, signal

from sora_jax.evals.worlds.morphology import fill_holes, label_parts
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

GROUNDS = {**BACKGROUNDS, "plate": laws.PLATE, "plate rim": laws.PLATE_RIM}
DECORATIONS = {
    "brown": laws.BROWN,
    "crust": laws.FOODS["pizza"].rim_color,
    "rind": laws.FOODS["melon"].rim_color,
}
CLASSES = {**GROUNDS, **COLORS, **DECORATIONS, "face": laws.FACE}  # what a pixel may show

_TRIALS = 300  # circles through three points of the outline
_NEAR = 1.0  # pixels between a circle and the points of an outline that lie on it
_FACE_SHARE = 0.12  # of the face's disc must be in sight and seen
_FACE_FILL = 0.35  # of the disc within the frame; the open mouth and the eye are not the face's
_TURNS = 60


def find_face(face: np.ndarray, radius: float) -> np.ndarray:
    """Finds the centre [t, 2] of a disc of known radius in masks face[t, h, w]; nan without one.

    The centre maximises (pixels of the face) - 0.3 (other pixels within the frame) in the disc.
    """
    reach = math.ceil(radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (np.hypot(x, y) <= radius).astype(np.float32)
    pad = ((0, 0), (reach, reach), (reach, reach))
    padded = np.pad(face.astype(np.float32), pad)
    seen = signal.fftconvolve(padded, disc[None], "same", axes=(1, 2))
    frame = np.pad(np.ones_like(face[:1], np.float32), pad)
    within = signal.fftconvolve(frame, disc[None], "same", axes=(1, 2))
    value = 1.3 * seen - 0.3 * within
    centers = np.full((len(face), 2), np.nan)
    for i, v in enumerate(value):
        rows, columns = np.nonzero(v >= v.max() - 0.5)
        best = np.unravel_index(v.argmax(), v.shape)
        count, room = seen[i][best], within[0][best]
        if count >= _FACE_SHARE * disc.sum() and count >= _FACE_FILL * room:
            centers[i] = columns.mean() + 0.5 - reach, rows.mean() + 0.5 - reach
    return centers


def fit_circle(mask: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float] | None:
    """Fits the circle that most of a region's outline lies on; its radius is within low and high.

    Of circles through three points of the outline the one with most points within `_NEAR` is
    taken, then fitted to these points by least squares: |p|^2 = 2 c p + (R^2 - |c|^2).
    """
    labels, count = label_parts(mask)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    region = fill_holes((sizes >= 0.1 * sizes.max())[labels])
    assert region is not None
    # Outline points are halfway between a pixel of the region and its neighbour outside.
    points = []
    for axis in (0, 1):
        before, after = (region[:-1], region[1:]) if axis == 0 else (region[:, :-1], region[:, 1:])
        rows, columns = np.nonzero(before != after)
        offset = (1.0, 0.5) if axis == 0 else (0.5, 1.0)
        points.append(np.stack([columns + offset[1], rows + offset[0]], 1))
    points = np.concatenate(points)
    if len(points) < 12:
        return None
    rng = np.random.default_rng(0)
    triples = points[rng.integers(len(points), size=(_TRIALS, 3))]
    center, radius = _pass_through(triples)
    distance = np.hypot(*(points[None] - center[:, None]).transpose(2, 0, 1))
    near = np.abs(distance - radius[:, None]) < _NEAR
    votes = near.sum(1) * ((radius >= low) & (radius <= high))
    best = int(votes.argmax())
    if votes[best] < 12:
        return None
    on = points[near[best]]
    system = np.c_[2 * on, np.ones(len(on))]
    solution = np.linalg.lstsq(system, (on**2).sum(1), rcond=None)[0]
    fitted = math.sqrt(max(solution[2] + (solution[:2] ** 2).sum(), 0.0))
    return solution[:2], float(np.clip(fitted, low, high))


def _pass_through(triples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns centres [n, 2] and radii [n] of the circles through triples[n, 3, 2] of points."""
    a, b, c = triples.transpose(1, 0, 2)
    u, v = b - a, c - a
    cross = 2 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    cross = np.where(np.abs(cross) < 1e-9, np.inf, cross)
    uu, vv = (u**2).sum(1), (v**2).sum(1)
    offset = np.stack([v[:, 1] * uu - u[:, 1] * vv, u[:, 0] * vv - v[:, 0] * uu], 1)
    offset /= cross[:, None]
    return a + offset, np.hypot(*offset.T)


def measure_distance_to(point, h: int, w: int) -> np.ndarray:
    """Returns the distance [h, w] of each pixel's centre from a point."""
    return np.hypot(np.arange(w) + 0.5 - point[0], np.arange(h)[:, None] + 0.5 - point[1])


def missing_templates(
    center: np.ndarray, radius: float, towards, unit: int, h: int, w: int
) -> np.ndarray:
    """Returns bool[m, n + 1, h, w]: what n = 0, 1, ... bites take off a food by the laws.

    The m patterns are the tilts within the law, to either side.

    Args:
      center, radius: of the food.
      towards: unit vector from the food to the face's side.
      unit: pixels of the frame's short side.
    """
    rows, columns = np.nonzero(measure_distance_to(center, h, w) <= radius)
    depth, offset = np.array(laws.BITES).T * laws.BITE_RADIUS * unit
    bites = []
    for tilt in np.radians(np.linspace(-laws.TILT, laws.TILT, 5)):
        turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
        toward = turn @ np.asarray(towards, float)
        normal = np.array([-toward[1], toward[0]])
        for sign in (1, -1):
            bites.append(
                center + np.outer(radius - depth, toward) + sign * np.outer(offset, normal)
            )
    x, y = (np.array(bites)[..., axis, None] for axis in (0, 1))  # [m, n, 1]
    square = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2
    taken = np.maximum.accumulate(square <= (laws.BITE_RADIUS * unit) ** 2, axis=1)
    patterns = np.zeros((len(bites), len(depth) + 1, h, w), bool)
    patterns[:, 1:, rows, columns] = taken
    return patterns


def name_food(
    frame: np.ndarray, remaining: np.ndarray, center: np.ndarray, radius: float, color: str
) -> str:
    """Names the food whose picture, turned as fits best, is most like what remains of it.

    A plain disc has no name: the picture's mean squared error must be at most 0.6 of that of the
    food's body alone.

    Args:
      frame: uint8[h, w, 3].
      remaining: bool[h, w], pixels that show food.
      color: name of the body's colour.
    """
    rows, columns = np.nonzero(remaining)
    if len(rows) < 12:
        return ""
    few = slice(None, None, math.ceil(len(rows) / 300))
    rows, columns = rows[few], columns[few]
    shown = frame[rows, columns].astype(np.float32)
    x, y = (
        ((places + 0.5 - middle) / radius).astype(np.float32)
        for places, middle in zip((columns, rows), center, strict=True)
    )
    body = np.array(COLORS[color], np.float32)
    plain = ((shown - body) ** 2).sum(1).mean()
    turns = np.arange(_TURNS, dtype=np.float32)[:, None] * 2 * math.pi / _TURNS
    # The food's own axes, [turns, pixels].
    ahead = x * np.cos(turns) + y * np.sin(turns)
    aside = y * np.cos(turns) - x * np.sin(turns)
    soft = radius  # coverage changes from 0 to 1 within one pixel
    errors = {}
    for name, look in laws.FOODS.items():
        rim = np.clip(0.5 + soft * (np.hypot(x, y) - (1 - look.rim)), 0, 1) if look.rim else 0 * x
        brown = np.zeros_like(ahead)
        for dot_x, dot_y, size in look.dots:
            inside = size - np.sqrt((ahead - dot_x) ** 2 + (aside - dot_y) ** 2)
            brown = np.maximum(brown, np.clip(0.5 + soft * inside, 0, 1))
        for angle, distance, half_width in look.bars:
            across = aside if angle == 0 else ahead
            inside = half_width - np.abs(across - distance)
            brown = np.maximum(brown, np.clip(0.5 + soft * inside, 0, 1))
        painted = body + rim[:, None] * (np.array(look.rim_color, np.float32) - body)
        expected = painted + brown[..., None] * (np.array(laws.BROWN, np.float32) - painted)
        errors[name] = ((expected - shown) ** 2).sum(-1).mean(1).min()
    best = min(errors, key=lambda name: errors[name])
    return best if errors[best] <= 0.6 * plain else ""


def measure_edge_width(frame: np.ndarray, center: np.ndarray, radius: float, skip) -> float:
    """Measures the width, in pixels, of the food's edge: contrast over the steepest gradient.

    The contrast of a radial profile is that between 1.5 pixels within the outline and 2.5 pixels
    outside of it, and the gradient is taken over one pixel; of 48 profiles the median counts.
    Without any contrast the width is infinite.

    Args:
      skip: bool[h, w], pixels where profiles are not read.
    """
    h, w, _ = frame.shape
    angles = np.arange(48) * math.pi / 24
    reach = np.arange(-1.75, 3.01, 0.25)
    x = center[0] + np.outer(np.cos(angles), radius + reach) - 0.5
    y = center[1] + np.outer(np.sin(angles), radius + reach) - 0.5
    at = (np.clip(np.rint(y), 0, h - 1).astype(int), np.clip(np.rint(x), 0, w - 1).astype(int))
    usable = ~skip[at].any(1) & ((x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)).all(1)
    if usable.sum() < 4:
        return math.inf
    picture = frame.astype(np.float32)
    profiles = np.stack(
        [
            ndimage.map_coordinates(picture[..., i], [y[usable], x[usable]], order=1)
            for i in range(3)
        ],
        -1,
    )
    contrast = np.linalg.norm(profiles[:, -4:].mean(1) - profiles[:, :2].mean(1), axis=-1)
    steps = np.linalg.norm(profiles[:, 4:] - profiles[:, :-4], axis=-1)  # over one pixel
    steepest = steps.max(1)
    width = np.where(contrast >= 30, contrast / np.maximum(steepest, 1e-3), math.inf)
    return float(np.median(width))
