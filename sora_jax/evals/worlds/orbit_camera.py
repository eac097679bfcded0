"""Fits a camera and a scene that stands still to the tracks of solids, as the laws allow.

The frame of reference is the camera's at the first frame: r to its right, a ahead on the floor, z
up; the camera is at (0, 0, H) and looks down by the tilt. A solid of half height z stands at
(r, a, z). A camera that has moved by u (`sora_jax.laws.orbit`) sees it at

    orbit  turned by +u about the vertical through (0, D cos tilt), with D the distance to the
           target, (H - target height) / sin tilt
    pan    turned by -u about the vertical through (0, 0)
    dolly  at a - u cos tilt, from the height H - u sin tilt

and then, with f the focal length, d = a cos tilt + (H - z) sin tilt its depth and
e = a sin tilt - (H - z) cos tilt its height over the optical axis, at the pixel
(w / 2 + f r / d, h / 2 - f e / d).

Unknown are H, the tilt, (r, a) of each solid and u of each frame, 2 + 2n + (t - 1) numbers, with
u = 0 in the first frame; known are two coordinates of each solid in each frame that shows it
whole. They are fitted by least squares with Huber's weights (Gauss-Newton steps), from u that is
found frame by frame. Lengths in the picture are in shares of its short side.
"""

import dataclasses
import math

import numpy as np

from sora_jax.laws import orbit as laws

HUBER = 0.008  # of the short side; residuals beyond weigh less
_LARGEST = {"orbit": math.pi, "pan": math.radians(2.2 * laws.PAN_REACH), "dolly": 3.0}
_TILT = math.radians(sum(laws.TILT) / 2)
_STEPS = 181  # trial values of u
STEP = 1e-5  # change of an unknown by which slopes are measured


@dataclasses.dataclass(frozen=True)
class Fit:
    """A camera's course and the places of n solids.

    Attributes:
      motion: what the camera is assumed to do.
      height, tilt: of the camera at the first frame; units, radians.
      places: [n, 2], (r, a) in units.
      u: [t], relative to the first frame; radians or units.
      errors: [n, t], distance in the picture between a solid and where the fit sees it, of the
        short side; nan where it is not seen whole.
    """

    motion: str
    height: float
    tilt: float
    places: np.ndarray
    u: np.ndarray
    errors: np.ndarray


def project(motion: str, height, tilt, places, z, u) -> tuple[np.ndarray, np.ndarray]:
    """Returns where solids are seen, [..., n, t, 2], in shares of the picture's short side.

    Positions are relative to the picture's middle, y down. All arguments may have leading axes,
    one entry for each camera and scene.

    Args:
      motion: one of `laws.MOTIONS`.
      height, tilt: [...], as in `Fit`.
      places: [..., n, 2].
      z: [n], heights of the solids' centres.
      u: [..., t].

    Returns:
      positions and depths [..., n, t] in units.
    """
    height, tilt, u = (np.asarray(value) for value in (height, tilt, u))
    s, c = np.sin(tilt)[..., None, None], np.cos(tilt)[..., None, None]
    r, a = places[..., 0, None], places[..., 1, None]
    fall = height[..., None, None] - np.asarray(z)[:, None]
    u = u[..., None, :]
    if motion == "orbit":
        axis = (height[..., None, None] - laws.TARGET_HEIGHT) / s * c
        turn, side, away = np.cos(u), np.sin(u), a - axis
        r, a = r * turn - away * side, axis + r * side + away * turn
    elif motion == "pan":
        turn, side = np.cos(u), np.sin(u)
        r, a = r * turn + a * side, a * turn - r * side
    else:
        r, a, fall = r + 0 * u, a - u * c, fall - u * s
    depth = a * c + fall * s
    scale = laws.FOCAL / np.maximum(depth, 0.1)
    return np.stack([r * scale, (fall * c - a * s) * scale], -1), depth


def locate(motion: str, height, tilt, seen, z, u) -> np.ndarray:
    """Returns the places (r, a), [n, t, 2], of centres at the known heights z, from the picture.

    Args:
      seen: [n, t, 2], as `project` returns it.
    """
    s, c = math.sin(tilt), math.cos(tilt)
    x, y = seen[..., 0] / laws.FOCAL, seen[..., 1] / laws.FOCAL
    u = u[None]
    fall = height - np.asarray(z)[:, None] - (u * s if motion == "dolly" else 0)
    depth = fall / np.maximum(s + y * c, 0.05)
    r, a = depth * x, depth * (c - y * s)
    if motion == "orbit":
        axis = (height - laws.TARGET_HEIGHT) / s * c
        return np.stack(
            [
                r * np.cos(u) + (a - axis) * np.sin(u),
                axis - r * np.sin(u) + (a - axis) * np.cos(u),
            ],
            -1,
        )
    if motion == "pan":
        return np.stack([r * np.cos(u) - a * np.sin(u), a * np.cos(u) + r * np.sin(u)], -1)
    return np.stack([r, a + u * c], -1)


def fit(motion: str, seen: np.ndarray, known: np.ndarray, z: np.ndarray, distance: float) -> Fit:
    """Fits one of `laws.MOTIONS`.

    Args:
      seen: [n, t, 2], centroids as `project` returns them.
      known: bool[n, t], where solids are seen whole.
      z: [n], heights of the centres.
      distance: the camera's to the target, as a first guess.
    """
    n, t, _ = seen.shape
    seen = np.where(known[..., None], seen, 0.0)
    height, tilt = laws.TARGET_HEIGHT + distance * math.sin(_TILT), _TILT
    if not known.any():
        nothing = np.full((n, t), np.nan)
        return Fit(motion, height, tilt, np.zeros((n, 2)), np.zeros(t), nothing)
    u, places = _follow(motion, height, tilt, seen, known, z)
    values = np.concatenate([[height, tilt], places.ravel(), u[1:]])
    values = _refine(motion, values, seen, known, z, distance)
    height, tilt, places, u = _unpack(values, n)
    found, _ = project(motion, height, tilt, places, z, u)
    errors = np.where(known, np.linalg.norm(found - seen, axis=-1), np.nan)
    return Fit(motion, float(height), float(tilt), places, u, errors)


def measure_cost(errors: np.ndarray) -> float:
    """Returns the mean of Huber's function of errors, of `HUBER` squared; inf if all are nan."""
    ratio = errors[~np.isnan(errors)] / HUBER
    if not len(ratio):
        return math.inf
    return float(np.where(ratio < 1, ratio**2 / 2, ratio - 0.5).mean())


def _follow(motion: str, height, tilt, seen, known, z) -> tuple[np.ndarray, np.ndarray]:
    """Finds u frame by frame, and places from the frames before."""
    n, t, _ = seen.shape
    largest = _LARGEST[motion]
    u, total, count = np.zeros(t), np.zeros((n, 2)), np.zeros(n)
    for k in range(t):
        placed = known[:, k] & (count > 0)
        start = 2 * u[k - 1] - u[k - 2] if k > 1 else 0.0
        if placed.any():
            trials = np.linspace(-largest, largest, _STEPS)
            trials = np.concatenate([trials, start + trials / _STEPS * 4])
            places = total[placed] / count[placed][:, None]
            at, _ = project(motion, height, tilt, places, z[placed], trials)
            miss = ((at - seen[placed, k][:, None]) ** 2).sum(-1)
            miss = np.minimum(miss, 0.01).mean(0) + 1e-5 * ((trials - start) / largest) ** 2
            u[k] = trials[miss.argmin()]
        elif k:
            u[k] = np.clip(start, -largest, largest) if motion != "orbit" else start
        if motion == "orbit":
            u[k] = start + (u[k] - start + math.pi) % (2 * math.pi) - math.pi
        own = locate(motion, height, tilt, seen[:, k : k + 1], z, u[k : k + 1])[:, 0]
        total[known[:, k]] += own[known[:, k]]
        count += known[:, k]
    return u, total / np.maximum(count, 1)[:, None]


def _unpack(values: np.ndarray, n: int):
    """Splits [..., size] into H, the tilt, places [..., n, 2] and u [..., t]."""
    u = np.concatenate([np.zeros((*values.shape[:-1], 1)), values[..., 2 + 2 * n :]], -1)
    places = values[..., 2 : 2 + 2 * n].reshape(*values.shape[:-1], n, 2)
    return values[..., 0], values[..., 1], places, u


def _refine(motion: str, values, seen, known, z, distance: float) -> np.ndarray:
    """Improves all unknowns by damped Gauss-Newton steps with Huber's weights.

    A weak pull holds what the tracks leave open: the tilt to the middle of its range, and H to
    what the tilt and the distance make it, to which a dolly's start adds some.
    """
    n, t = known.shape
    size = len(values)
    to_tilt = 0.25 / math.radians(3)
    to_height = (0.8 if motion == "dolly" else 8.0) / values[0]
    weight = known / math.sqrt(max(known.sum(), 1))

    def pull(values):
        height = laws.TARGET_HEIGHT + distance * math.sin(values[1])
        return np.array([to_height * (values[0] - height), to_tilt * (values[1] - _TILT)])

    pulls = np.zeros((2, size))
    pulls[0, :2] = to_height, -to_height * distance * math.cos(_TILT)
    pulls[1, 1] = to_tilt

    def measure(values):
        at, _ = project(motion, *_unpack(values, n)[:3], z, _unpack(values, n)[3])
        return at - seen

    def cost_of(values, miss):
        ratio = np.linalg.norm(miss, axis=-1) / HUBER
        huber = np.where(ratio < 1, ratio**2, 2 * ratio - 1)
        return (weight**2 * huber).sum() + (pull(values) ** 2).sum()

    # Each number of the scene is changed by itself, and u of all frames together.
    steps = np.zeros((3 + 2 * n, size))
    steps[np.arange(2 + 2 * n), np.arange(2 + 2 * n)] = STEP
    steps[-1, 2 + 2 * n :] = STEP
    frames = np.arange(1, t)
    damping, miss = 1e-4, measure(values)
    cost = cost_of(values, miss)
    for _ in range(15):
        ratio = np.linalg.norm(miss, axis=-1) / HUBER
        root = weight * np.sqrt(1 / np.maximum(ratio, 1)) / HUBER
        changed = measure(values + steps)
        changes = np.moveaxis((changed - miss) / STEP, 0, -1)
        slopes = np.zeros((n, t, 2, size))
        slopes[..., : 2 + 2 * n] = changes[..., :-1]
        slopes[:, frames, :, 1 + 2 * n + frames] = np.moveaxis(changes[:, 1:, :, -1], 1, 0)
        matrix = (slopes * root[..., None, None]).reshape(-1, size)
        right = (miss * root[..., None]).ravel()
        matrix = np.concatenate([matrix, pulls])
        right = np.concatenate([right, pull(values)])
        square, slope = matrix.T @ matrix, matrix.T @ right
        diagonal = np.diag(np.diag(square) + 1e-9)
        for _ in range(6):
            trial = values - np.linalg.solve(square + damping * diagonal, slope)
            trial[0], trial[1] = max(trial[0], 0.6), np.clip(trial[1], 0.2, 0.9)
            trial_miss = measure(trial)
            trial_cost = cost_of(trial, trial_miss)
            if np.isfinite(trial_cost) and trial_cost < cost:
                break
            damping *= 8
        else:
            return values
        gain = cost - trial_cost
        values, miss, cost, damping = trial, trial_miss, trial_cost, damping / 8
        if gain < 1e-4 * cost:
            break
    return values
