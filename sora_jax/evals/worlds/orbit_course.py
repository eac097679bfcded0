"""Reads the camera's course in a video of `orbit`, and what follows from it.

A camera and a scene at rest are fitted to all frames; the course is measured from frame `start`
on, the last given one or the first.
"""

import dataclasses
import math

import numpy as np

from sora_jax.evals.worlds import orbit_camera, orbit_path, orbit_solids
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.orbit_sight import Sight, cut
from sora_jax.laws import orbit as laws

DEVIATION = {"orbit": 6.0, "pan": 2.0, "dolly": 0.25}  # degrees or units, of u from its path; a
# quarter of what a camera's jump is, twice the error of u in a small picture
SCALES = (0.85, 0.92, 1.0, 1.08, 1.17)  # of a dolly's u, which the tracks leave open
LEGS = (2, 3, 4)  # steps that a leg has at least whose direction is named
MIN_BALL = 5  # frames that must show a rolling ball whole for its speed to be read


@dataclasses.dataclass(frozen=True)
class Course:
    """What is read of a camera that moves, from frame `start` on.

    Attributes:
      costs: of each motion's fit in these frames; only the stated one's if `moved` is 0.
      directions: names of the directions, with each of `LEGS` as the shortest leg.
      agreement: share of the path's steps that have the direction of the simulator's.
      speed: of the camera along the fitted path, degrees or units a second.
      deviation: greatest deviation of u, or of its steps, from the path, of `DEVIATION`.
      moved: share of the frames due whose u was measured, if it follows a path of the laws at half
        of their least speed at least; else 0.
      reprojection: rms error of the stated motion's fit, of the short side.
      ball_speeds: of the ball in parts of the clip.
      ball_seen: share of the frames in which the ball is due that show it whole, or of
        `MIN_BALL` of them from text alone, at most 1.
      missing: greatest share of frames in which a solid that is due is gone without a reason.
    """

    costs: dict[str, float]
    directions: list[str]
    agreement: float
    speed: float
    deviation: float
    moved: float
    reprojection: float
    ball_speeds: np.ndarray
    ball_seen: float
    missing: float


NO_COURSE = Course({}, [], 0.0, 0.0, math.inf, 0.0, math.inf, np.zeros(0), 0.0, 1.0)


def read_course(sight: Sight, pairs, expected: Expected, start: int, due: np.ndarray) -> Course:
    """Reads the course of a camera.

    Args:
      sight: the stated solids in all frames.
      pairs: their colours and kinds.
      expected: what the video should show.
      start: the first frame that counts.
      due: bool[n, t], where the simulator shows a solid whole.
    """
    h, w = sight.chroma.shape[1:]
    motion, rolls = expected.attributes["motion"], expected.attributes["path"] != "none"
    n, short, standing = len(pairs), min(h, w), slice(int(rolls), None)
    distance = laws.middle_distance(n, rolls)
    half = np.array([laws.SOLIDS[solid] for _, solid in pairs]) * laws.middle_radius(n, rolls)
    z = half[:, 1]
    places = (sight.center - np.array([w / 2, h / 2])) / short
    whole, at = sight.whole[standing], places[standing]
    known = np.asarray(whole.any(0))
    known[:start] = False
    if not known.any():
        return NO_COURSE
    fit = orbit_camera.fit(motion, at, whole, z[standing], distance)
    u, path = _fit_path(fit, known, start, expected.fps, distance)
    frames = np.flatnonzero(known[start:])
    steps = np.abs(np.diff(u[frames]) - np.diff(path.u[frames]))
    deviation = max(path.misses.max(), steps.max(initial=0)) / DEVIATION[motion]
    follows = np.median(path.misses[frames]) <= DEVIATION[motion] / 2
    fast = abs(path.rate) >= laws.SPEEDS[motion]["slow"][0] / 2
    tracked = min(known.sum() / max(due[standing, start:].any(0).sum(), 1), 1.0)
    moved = float(tracked * (fast and follows))
    fits = {motion: fit}
    if moved:
        others = [m for m in laws.MOTIONS if m != motion]
        fits |= {m: orbit_camera.fit(m, at, whole, z[standing], distance) for m in others}

    ball_speeds, ball_seen = np.zeros(0), 0.0
    if rolls:
        frames = start + np.flatnonzero(orbit_solids.find_round(sight, 0)[start:])
        on_floor = orbit_camera.locate(
            motion, fit.height, fit.tilt, places[:1, frames], z[:1], fit.u[frames]
        )[0]
        ball_speeds = orbit_solids.measure_speeds(on_floor, frames / expected.fps)
        # From text alone a ball may roll out of the frame at any time.
        wanted = due[0, start:].sum() if expected.given else min(due[0].sum(), MIN_BALL)
        ball_seen = min(len(frames) / max(wanted, 1), 1.0)

    return Course(
        costs={m: orbit_camera.measure_cost(f.errors[:, start:]) for m, f in fits.items()},
        directions=[laws.name_directions(motion, path.u, leg) for leg in LEGS],
        agreement=_compare_steps(path.u, np.asarray(expected.truth["u"], np.float64)[start:]),
        speed=abs(path.rate),
        deviation=float(deviation),
        moved=moved,
        reprojection=float(np.sqrt(np.nanmean(fit.errors[:, start:] ** 2))),
        ball_speeds=ball_speeds,
        ball_seen=ball_seen,
        missing=_measure_missing(sight, fit, half, standing, start, due[:, start:].any(1)),
    )


def _fit_path(fit, known: np.ndarray, start: int, fps: float, distance: float):
    """Returns u from frame `start` on, in degrees or units, and the laws' path that fits it."""
    scales = SCALES if fit.motion == "dolly" else (math.degrees(1),)
    best = None
    for scale in scales:
        u = scale * fit.u[start:]
        path = orbit_path.fit_path(fit.motion, u, known[start:], fps, distance)
        if best is None or path.misses.sum() < best[1].misses.sum():
            best = u, path
    assert best is not None
    return best


def _compare_steps(path: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of steps, of those of the longer one, in the same direction."""
    own, true = np.sign(np.diff(path)), np.sign(np.diff(truth))
    both, most = min(len(own), len(true)), max(len(own), len(true))
    return float((own[:both] == true[:both]).sum() / max(most, 1))


def _measure_missing(sight: Sight, fit, half, standing: slice, start: int, due) -> float:
    """Returns the greatest share of frames in which a solid is gone without a reason."""
    t, h, w = sight.chroma.shape
    n, short = len(sight.names), min(h, w)
    found, depth = orbit_camera.project(
        fit.motion, fit.height, fit.tilt, fit.places, half[standing, 1], fit.u
    )
    plain = np.zeros((n, t), bool)
    plain[standing] = _find_plain(
        sight, found * short + (w / 2, h / 2), half, depth, standing, short
    )
    new = cut(sight, start)
    return max(
        (
            orbit_solids.share_missing(new.area[i], new.beside[i], plain[i, start:])
            for i in np.flatnonzero(due)
        ),
        default=1.0,
    )


def _find_plain(sight: Sight, center, half, depth, standing: slice, short: int) -> np.ndarray:
    """Returns bool[m, t], where the fit has standing solids in the frame, away from all others."""
    h, w = sight.chroma.shape[1:]
    size = half[standing][:, None] * laws.FOCAL * short / np.maximum(depth, 0.1)[..., None]
    size = size * (1.4, 1.0) + size[..., ::-1] * (0.0, 0.5)
    low, high = center - size, center + size
    plain = (low > 0).all(-1) & (high < (w, h)).all(-1)
    box = np.nan_to_num(sight.box, nan=-1e6)
    for i in range(len(plain)):
        for j in range(len(box)):
            if j != i + (standing.start or 0):
                plain[i] &= ((box[j, :, :2] > high[i]) | (box[j, :, 2:] < low[i])).any(-1)
    return plain
