"""How objects of the ballistics world move: directions, classes of motion, and laws.

With g and e of the laws, velocities v before and v' after a hit, and masses m, which are areas:

- gravity: d^2 y / dt^2 = g and d^2 x / dt^2 = 0 in free flight;
- steady velocity: without gravity, both are 0;
- bounce: the velocity across the wall becomes v' = -e v, and that along it stays;
- collision: sum m v' = sum m v, |v1' - v2'| = |v1 - v2|, and the velocities of both balls change.

Every function of a score returns 0 to 1, or nan where `ballistics_window` finds that the
simulator's window does not show the law. What is measured of an object is multiplied by how much
is seen of it. Lengths are in units, the frame's short side; times in seconds. Limits are several
times what the simulator's own videos, blurred and noisy, need.
"""

import math

import numpy as np

from sora_jax.evals.worlds.ballistics_hits import find_collisions, find_rebounds
from sora_jax.evals.worlds.ballistics_motion import Path, measure_drifts, measure_gravity
from sora_jax.evals.worlds.ballistics_reading import Reading, average, classify_motion
from sora_jax.evals.worlds.ballistics_window import SLOWEST
from sora_jax.laws import ballistics as laws

SECTOR = math.radians(45)  # farthest from the middle of a direction's sector, half of which is 22.5
FIRST_STEPS = 4  # steps at the start that show the direction
GRAVITY_ERROR = 0.15  # of g
DRIFT = 0.15  # change of velocity in a flight, of the speed; and of 0.33 units/s at least
RESTITUTION_ERROR = 0.12
SLIP = 0.12  # change of the velocity along a wall, of the speed; and of 0.3 units/s at least
MOMENTUM_ERROR, ENERGY_ERROR = 0.12, 0.2
PUSH = 0.1  # units/s, least change of velocity of either ball in a collision
OVERLAP = 0.03  # units that two balls may overlap
TOUCH = 0.05  # units, farthest gap of balls that touch, beside half a step
HIDDEN = 0.85  # area of an object that nothing covers, of its usual area

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
    if reading.start or reading.expected.given or reading.frames < FIRST_STEPS + 1:
        return math.nan
    return average(
        float(_goes(reading.paths[i].center, thing["direction"], reading.paths[i].falls))
        * reading.presence[i]
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
    """Presence of the least seen object if the class of motion is the expected one.

    It is multiplied by the share of frames in which no object is in pieces.
    """
    motion, named = reading.window.motion, reading.expected.attributes["motion"]
    if not motion or named == "still" or (not reading.start and motion != named):
        return math.nan
    right = classify_motion(reading.paths) == motion
    one = np.asarray((reading.tracks.pieces[reading.new] <= 1).all(1))
    return float(right * one.mean() * np.nanmin(reading.presence)) if len(one) else 0.0


def score_gravity(reading: Reading) -> float:
    """Share of objects that fall by the law's acceleration, straight down."""
    if reading.expected.attributes["gravity"] != "yes":
        return math.nan
    limit = GRAVITY_ERROR * laws.GRAVITY
    values = []
    for path, flights, presence in _list_paths(reading):
        if flights:
            pull = measure_gravity(path)
            right = pull is not None and (np.abs(pull - [0, laws.GRAVITY]) <= limit).all()
            values.append(float(right) * presence)
    return average(values)


def score_steady_velocity(reading: Reading) -> float:
    """Mean over moving objects of the share of free flight in which velocity stays.

    Flights that are less than 6 of 10 frames of the simulator's count as if the rest of those
    were not steady.
    """
    if reading.expected.attributes["gravity"] != "none":
        return math.nan
    values = []
    for (path, flights, presence), moves in zip(
        _list_paths(reading), reading.window.moves, strict=True
    ):
        if flights and moves:
            steady, frames = _count_steady(path)
            values.append(steady / max(frames, 0.6 * sum(flights)) * presence)
    return average(values)


def _list_paths(reading: Reading):
    """Yields the path, the simulator's free flights and the presence of each object."""
    return zip(reading.paths, reading.window.flights, reading.presence, strict=True)


def _count_steady(path: Path) -> tuple[int, int]:
    """Counts the frames of flights that are steady, and of all, where the object moves."""
    drifts = [drift for drift in measure_drifts(path) if drift[1] >= SLOWEST]
    steady = [n for n, speed, change in drifts if change <= DRIFT * max(speed, 0.33)]
    return sum(steady), sum(frames for frames, _, _ in drifts)


def score_bounce(reading: Reading) -> float:
    """Mean over objects of the lawful reflections, of those seen or of the simulator's if more.

    Clips with collisions do not count, as reflections soon before or after those read wrongly.
    """
    if reading.expected.attributes["motion"] != "bounce":
        return math.nan
    values = []
    for path, wanted, presence in zip(
        reading.paths, reading.window.bounces, reading.presence, strict=True
    ):
        if wanted:
            lawful = _list_lawful(path)
            values.append(sum(lawful) / max(len(lawful), wanted) * presence)
    return average(values)


def _list_lawful(path: Path) -> list[bool]:
    """Returns of each reflection whether it obeys the law."""
    restitution = laws.RESTITUTION["gravity" if path.falls else "none"]
    return [
        abs(rebound.restitution - restitution) <= RESTITUTION_ERROR
        and rebound.slip <= SLIP * max(rebound.speed, 0.3)
        for rebound in find_rebounds(path)
    ]


def score_collision(reading: Reading) -> float:
    """1 if the first collision of the named balls keeps momentum and energy and turns both."""
    pair = reading.names("collides")
    if not pair or not reading.window.collides:
        return math.nan
    i, j = pair
    collisions = find_collisions(reading.paths[i], reading.paths[j])
    lawful = (
        collisions
        and collisions[0].momentum <= MOMENTUM_ERROR
        and abs(collisions[0].energy - 1) <= ENERGY_ERROR
        and min(collisions[0].changes) >= PUSH
    )
    return float(bool(lawful) * reading.presence[pair].min())


def score_no_interpenetration(reading: Reading) -> float:
    """1 if the named balls come to touch and never overlap."""
    pair = reading.names("collides")
    if not pair or not reading.window.touches:
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
        uncut = reading.seen[:, i] & ~reading.tracks.cut[:, i]
        overlap |= (reading.tracks.area[uncut, i] < HIDDEN * usual).any()
    return float((touch and not overlap) * reading.presence[pair].min())
