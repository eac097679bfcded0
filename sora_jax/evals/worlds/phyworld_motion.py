"""What phyworld's scores measure of motion: constant velocity, gravity, collisions.

A value is 0 to 1, or nan where a score does not apply; see `phyworld`. Frames that were given are
used only to know how a ball starts.
"""

import math

import numpy as np

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.phyworld_reading import MOVING, Reading
from sora_jax.laws import phyworld as laws

MIN_FRAMES = 3  # of a line that is fitted
MIN_FALL = 7  # frames of a parabola that is fitted


def fit_line(
    values: np.ndarray, frames: np.ndarray, degree: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a polynomial of time (s): coefficients, lowest power first, and what it leaves."""
    time = frames / laws.FPS
    fitted = np.polynomial.Polynomial.fit(time, values, degree)
    coefficients = np.zeros(degree + 1)
    found = fitted.convert().coef
    coefficients[: len(found)] = found
    return coefficients, values - fitted(time)


def measure_steady(reading: Reading) -> float:
    value, order = math.nan, np.arange(reading.frames)
    falls = reading.expected.attributes["motion"] == "parabola"
    for i, ball in enumerate(reading.balls):
        if not reading.moves or (reading.due(i) & (order < reading.touch)).sum() < MIN_FRAMES:
            continue
        errors = []
        for number, part in enumerate(_split(reading)):
            frames = np.flatnonzero(ball.whole & part)
            if len(frames) < MIN_FRAMES:
                errors += [math.inf] * (number == 0)
                continue
            (_, speed), left = fit_line(ball.center[frames, 0], frames)
            errors.append(_root_mean_square(left[frames >= reading.first]))
            if number == 0 and abs(speed) <= MOVING:
                errors.append(math.inf)
        shown = ball.whole & reading.judged
        if not falls and shown.any():
            errors.append(float(ball.center[shown, 1].std()))
        value = np.fmin(value, grade(max(errors), 0.03, 0.08))
    return float(value)


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else math.inf


def _split(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames before the balls meet, given ones too, and those after it, bool[t]."""
    order = np.arange(reading.frames)
    return order < reading.meeting, order > reading.meeting


def measure_gravity(reading: Reading) -> float:
    if reading.expected.attributes["motion"] != "parabola":
        return math.nan
    if (reading.wanted(0) & reading.judged).sum() < MIN_FALL:
        return math.nan
    ball = reading.balls[0]
    frames = np.flatnonzero(ball.whole & reading.judged)
    if len(frames) < MIN_FALL - 2:
        return 0.0
    coefficients, left = fit_line(ball.center[frames, 1], frames, 2)
    error = abs(2 * coefficients[2] / laws.GRAVITY - 1)
    return grade(float(error), 0.15, 0.5) * grade(_root_mean_square(left), 0.05, 0.15)


def _collides(reading: Reading) -> bool:
    """Whether the simulator's collision is new, with enough frames in view before and after it."""
    if len(reading.balls) < 2 or not reading.moves or not reading.first <= reading.touch < math.inf:
        return False
    order, view = np.arange(reading.frames), reading.wanted(0) & reading.wanted(1)
    parts = view & (order < reading.touch), view & (order > reading.touch + 1)
    return all(int(part.sum()) >= MIN_FRAMES for part in parts)


def measure_collision(reading: Reading) -> float:
    if not _collides(reading):
        return math.nan
    velocities = np.zeros((2, 2))  # before and after, of both balls
    for k, part in enumerate(_split(reading)):
        for i, ball in enumerate(reading.balls):
            frames = np.flatnonzero(part & ball.whole)
            if len(frames) < 2:
                return 0.0
            velocities[k, i] = fit_line(ball.center[frames, 0], frames)[0][1]
    mass = np.array([np.nanmedian(ball.radius) ** 2 for ball in reading.balls])
    closing = velocities[0, 0] - velocities[0, 1]
    momentum, scale = velocities @ mass, np.abs(velocities[0]) @ mass
    if closing < MOVING or scale <= 0:
        return 0.0
    restitution = (velocities[1, 1] - velocities[1, 0]) / closing
    error = max(abs(restitution - 1), abs(momentum[1] - momentum[0]) / scale)
    return grade(float(error), 0.15, 0.5)


def measure_contact(reading: Reading) -> float:
    """Extends the balls' distance from before and after their meeting to where both are equal."""
    if not _collides(reading):
        return math.nan
    (a, b), order = reading.balls, np.arange(reading.frames)
    distance, lines = np.linalg.norm(a.center - b.center, axis=1), []
    for part in _split(reading):
        frames = np.flatnonzero(part & a.whole & b.whole)
        if len(frames) < 2:
            return 0.0
        lines.append(fit_line(distance[frames], frames)[0])
    closing = lines[1][1] - lines[0][1]
    if closing < MOVING:
        return 0.0
    time = (lines[0][0] - lines[1][0]) / closing
    if abs(time * laws.FPS - reading.meeting) > 1.5:
        return 0.0
    near = reading.new & (np.abs(order - reading.meeting) <= MIN_FRAMES)
    apart = lines[0][0] + lines[0][1] * time
    for ball in reading.balls:
        radii = ball.radius[near & ball.whole]
        apart -= float(np.median(radii)) if len(radii) else math.inf
    overlap = max(0.0, -float(reading.gap[reading.new].min()))
    return grade(abs(apart), 0.15, 0.4) * grade(overlap, 0.1, 0.4)
