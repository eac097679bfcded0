"""How objects of the ballistics world move: directions, classes, laws, and the simulator's places.

With g and e of the laws, velocities v before and v' after a hit, and masses m, which are areas:

- gravity: d^2 y / dt^2 = g and d^2 x / dt^2 = 0 in free flight;
- steady velocity: without gravity, both are 0;
- bounce: the velocity across the wall becomes v' = -e v, and that along it stays;
- collision: sum m v' = sum m v, |v1' - v2'| = |v1 - v2|, and the velocities of both balls change;
- prediction: distance of each object from the simulator's, after the given frames.

Every function of a score returns 0 to 1, or nan where it does not apply. Lengths are in units, the
frame's short side; times in seconds. Limits are several times what the simulator's own videos,
blurred and noisy, need.
"""

import dataclasses
import math

import numpy as np

from sora_jax.evals.worlds.ballistics_motion import (
    MIN_FLIGHT,
    Path,
    find_collisions,
    find_rebounds,
    measure_drifts,
    measure_gravity,
)
from sora_jax.evals.worlds.ballistics_reading import Reading, classify_motion
from sora_jax.laws import ballistics as laws

SECTOR = math.radians(45)  # farthest from the middle of a direction's sector, half of which is 22.5
FIRST_STEPS = 4  # steps at the start that show the direction
GRAVITY_ERROR = 0.15  # of g
DRIFT = 0.15  # change of velocity in a flight, of the speed; and of 0.33 units/s at least
SLOWEST = 0.05  # units/s of an object that moves
RESTITUTION_ERROR = 0.12
SLIP = 0.12  # change of the velocity along a wall, of the speed; and of 0.3 units/s at least
MOMENTUM_ERROR, ENERGY_ERROR = 0.12, 0.2
PUSH = 0.1  # units/s, least change of velocity of either ball in a collision
OVERLAP = 0.03  # units that two balls may overlap
TOUCH = 0.05  # units, farthest gap of balls that touch, beside half a step
HIDDEN = 0.85  # area of an object that nothing covers, of its usual area
LOST = 1.0  # units, error of an object that is not seen, and the largest of any
NEAR_TRUTH = 0.15  # units, error that scores 0


def _mean(values) -> float:
    values = list(values)
    return float(np.mean(values)) if values else math.nan


# Where: directions and classes of motion.

HEADINGS = {
    name: index * math.pi / 4
    for index, name in enumerate(
        (
            "right", "down and right", "down", "down and left",
            "left", "up and left", "up", "up and right",
        )
    )
}  # fmt: skip


def score_direction(reading: Reading) -> float:
    """Share of moving objects whose first steps all go in the named direction.

    Where first frames are given, they show it.
    """
    if reading.start or reading.frames < FIRST_STEPS + 1:
        return math.nan
    return _mean(
        float(_goes(reading.paths[i].center, thing["direction"], reading.paths[i].falls))
        for i, thing in enumerate(reading.objects)
        if thing["direction"] != "none"
    )


def _goes(center: np.ndarray, direction: str, falls: bool) -> bool:
    steps = np.diff(center[: FIRST_STEPS + 1], axis=0)
    if len(steps) < FIRST_STEPS or not np.isfinite(steps).all():
        return False
    x, y = steps.T
    if falls and direction == "down":
        return bool((y > 0.003).all() and (np.abs(x) < np.maximum(y, 0.01)).all())
    if falls:
        return bool(((x if direction == "right" else -x) > 0.01).all())
    off = np.arctan2(y, x) - HEADINGS[direction]
    off = np.abs((off + math.pi) % (2 * math.pi) - math.pi)
    return bool((off < SECTOR).all() and (np.hypot(x, y) > 0.005).all())


def score_motion(reading: Reading) -> float:
    """1 if the class of motion is the expected one."""
    motion = reading.expected.attributes["motion"]
    if motion == "still" or classify_motion(reading.true_paths) != motion:
        return math.nan
    return float(classify_motion(reading.paths) == motion)


# Laws.


def score_gravity(reading: Reading) -> float:
    """Share of objects that fall by the law's acceleration, straight down."""
    if reading.expected.attributes["gravity"] != "yes":
        return math.nan
    right = []
    for path, true_path in zip(reading.paths, reading.true_paths, strict=True):
        if measure_gravity(true_path, MIN_FLIGHT + 1) is not None:
            pull = measure_gravity(path)
            limit = GRAVITY_ERROR * laws.GRAVITY
            right.append(
                float(pull is not None and (np.abs(pull - [0, laws.GRAVITY]) <= limit).all())
            )
    return _mean(right)


def score_steady_velocity(reading: Reading) -> float:
    """Mean over moving objects of the share of free flight in which velocity stays.

    Flights that are less than 6 of 10 frames of the simulator's count as if the rest of those
    were not steady.
    """
    if reading.expected.attributes["gravity"] != "none":
        return math.nan
    right = []
    for path, true_path in zip(reading.paths, reading.true_paths, strict=True):
        wanted = _count_steady(true_path)[0]
        if wanted:
            steady, frames = _count_steady(path)
            right.append(steady / max(frames, 0.6 * wanted))
    return _mean(right)


def _count_steady(path: Path) -> tuple[int, int]:
    """Counts the frames of flights that are steady, and of all, where the object moves."""
    drifts = [drift for drift in measure_drifts(path) if drift[1] >= SLOWEST]
    steady = [n for n, speed, change in drifts if change <= DRIFT * max(speed, 0.33)]
    return sum(steady), sum(frames for frames, _, _ in drifts)


def score_bounce(reading: Reading) -> float:
    """Mean over objects of the share of their reflections that obey the law; none scores 0.

    Clips with collisions do not count, as reflections soon before or after those read wrongly.
    """
    if reading.expected.attributes["motion"] != "bounce":
        return math.nan
    right = []
    for i in reading.names("bounces"):
        if _count_lawful(reading.true_paths[i]) == 1:
            lawful = _count_lawful(reading.paths[i])
            right.append(0.0 if math.isnan(lawful) else lawful)
    return _mean(right)


def _count_lawful(path: Path) -> float:
    """Returns the share of reflections that obey the law; nan without any."""
    restitution = laws.RESTITUTION["gravity" if path.falls else "none"]
    return _mean(
        abs(rebound.restitution - restitution) <= RESTITUTION_ERROR
        and rebound.slip <= SLIP * max(rebound.speed, 0.3)
        for rebound in find_rebounds(path)
    )


def score_collision(reading: Reading) -> float:
    """1 if the first collision of the named balls keeps momentum and energy and turns both."""
    pair = reading.names("collides")
    if not pair:
        return math.nan
    i, j = pair
    if not _collide_lawfully(reading.true_paths[i], reading.true_paths[j], 2 * PUSH):
        return math.nan
    return float(_collide_lawfully(reading.paths[i], reading.paths[j], PUSH))


def _collide_lawfully(one: Path, two: Path, push: float) -> bool:
    collisions = find_collisions(one, two)
    return bool(
        collisions
        and collisions[0].momentum <= MOMENTUM_ERROR
        and abs(collisions[0].energy - 1) <= ENERGY_ERROR
        and min(collisions[0].changes) >= push
    )


def score_no_interpenetration(reading: Reading) -> float:
    """1 if the named balls come to touch and never overlap."""
    pair = reading.names("collides")
    if not pair:
        return math.nan
    one, two = (reading.paths[i] for i in pair)
    both = one.whole & two.whole
    if both.sum() < 2:
        return 0.0
    offset = two.center - one.center
    gaps = np.linalg.norm(offset, axis=1) - one.radius - two.radius
    steps = np.linalg.norm(np.diff(offset, axis=0), axis=1)
    steps = np.fmin(np.fmax(np.r_[0, steps], np.r_[steps, 0]), 0.25)
    touch = (gaps[both] <= TOUCH + np.nan_to_num(steps[both]) / 2).any()
    overlap = (gaps[both] < -OVERLAP).any()
    # Where both are near, each must show its area, if the frame's edge does not cut it.
    for i, path in zip(pair, (one, two), strict=True):
        usual = math.pi * path.radius**2
        uncut = reading.seen()[:, i] & ~reading.tracks.cut[:, i]
        overlap |= (reading.tracks.area[uncut, i] < HIDDEN * usual).any()
    return float(touch and not overlap)


# Prediction.


@dataclasses.dataclass(frozen=True)
class Errors:
    """Distance from the simulator's positions, a mean over objects wholly within the frame.

    Attributes:
      frame: [k], frames after the given ones in which an object moves within the frame.
      video: [k], error of the video in units, at most `LOST`.
      copied: [k], error of a copy of the last given frame.
      straight: [k], error of constant velocity, that of the last two given frames.
      score: 1 if there is no error, 0 if all are `NEAR_TRUTH` or more.
    """

    frame: np.ndarray
    video: np.ndarray
    copied: np.ndarray
    straight: np.ndarray
    score: float


def measure_prediction(reading: Reading) -> Errors | None:
    """Measures the error over time; None if nothing is to be predicted."""
    given = reading.expected.given
    true = np.asarray(reading.expected.truth["position"], float)
    whole = np.asarray(reading.expected.truth["whole"], bool)
    moves = np.array([thing["direction"] != "none" for thing in reading.objects])
    moves |= [i in reading.names("collides") for i in range(len(moves))]
    if given < 2 or not moves.any():
        return None
    later = np.arange(given, len(true))
    later = later[(whole[later] & moves).any(1)]
    if not len(later):
        return None
    seen = np.full(true.shape, np.nan)
    shown = reading.tracks.center[: reading.frames]
    seen[reading.start : reading.start + len(shown)] = shown
    steps = (later - (given - 1))[:, None, None]
    last = true[given - 1]
    guesses = (seen[later], last, last + steps * (last - true[given - 2]))
    counted = whole[later] & moves
    means, scores = [], []
    for guess in guesses:
        error = np.linalg.norm(guess - true[later], axis=-1)
        error = np.minimum(np.where(np.isfinite(error), error, LOST), LOST)
        means.append(np.where(counted, error, 0).sum(1) / counted.sum(1))
        scores.append(np.clip(1 - error / NEAR_TRUTH, 0, 1)[counted].mean())
    return Errors(later, *means, score=float(scores[0]))


def score_prediction(reading: Reading) -> float:
    errors = measure_prediction(reading)
    return math.nan if errors is None else errors.score
