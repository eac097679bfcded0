"""The values of phyworld's scores, 0 to 1, or nan where one does not apply; see `phyworld`."""

import math

import numpy as np

from sora_jax.evals.worlds.phyworld_parser import Ball, find_velocity_error
from sora_jax.evals.worlds.phyworld_reading import MOVING, Reading
from sora_jax.laws import phyworld as laws

MIN_FRAMES = 3  # of a line that is fitted
VELOCITY = {"uniform": 0.05, "parabola": 0.08, "collision": 0.2}  # units/s; see `phyworld`


def _grade(error: float, good: float, bad: float) -> float:
    """Returns 1 for errors up to `good`, 0 from `bad` on and for nan, between both a line."""
    return 0.0 if math.isnan(error) else float(np.clip((bad - error) / (bad - good), 0, 1))


def _last(ball: Ball) -> int:
    """Counts the frames until a ball has left; all if it vanishes inside or is never seen."""
    frames = len(ball.pieces)
    if not ball.seen.any():
        return frames
    last = frames - 1 - int(np.argmax(ball.seen[::-1]))
    ahead = ball.center[last] + np.nan_to_num(ball.center[last] - ball.center[max(last - 1, 0)])
    near = (ahead < ball.radius[last]) | (ahead > laws.SIDE - ball.radius[last])
    return last + 1 if ball.cut[last] or near.any() else frames


def _line(values: np.ndarray, frames: np.ndarray, degree: int = 1) -> tuple[np.ndarray, float]:
    """Fits a polynomial of time (s): coefficients, lowest power first, and the RMS distance."""
    time = frames / laws.FPS
    fitted = np.polynomial.Polynomial.fit(time, values, degree)
    error = float(np.sqrt(np.mean((fitted(time) - values) ** 2)))
    coefficients = np.zeros(degree + 1)
    found = fitted.convert().coef
    coefficients[: len(found)] = found
    return coefficients, error


def measure_balls(reading: Reading) -> float:
    if not reading.new.any():
        return math.nan
    missing = 0.0
    for ball in reading.balls:
        frames = reading.new & (np.arange(reading.frames) < _last(ball))
        missing = max(missing, (~ball.seen[frames]).mean() if frames.any() else 0.0)
    new = reading.new
    value = _grade(missing, 0.05, 0.3) * _grade(reading.others[new].mean(), 0.05, 0.3)
    return value * _grade(reading.strange[new].mean(), 0.01, 0.1)


def measure_one_component(reading: Reading) -> float:
    if not reading.new.any():
        return math.nan
    value = 1.0
    for ball in reading.balls:
        frames = reading.new & (np.arange(reading.frames) < _last(ball))
        wrong = (ball.pieces[frames] != 1).mean() if frames.any() else 0.0
        value = min(value, _grade(wrong, 0.05, 0.3))
    return value


def measure_no_spontaneous(reading: Reading) -> float:
    if reading.frames < 2 or not reading.new.any():
        return math.nan
    return float(reading.appear[reading.new].sum() == 0)


def measure_size(reading: Reading) -> float:
    value = math.nan
    for i, ball in enumerate(reading.balls):
        if not (reading.wanted(i) & reading.new).any():
            continue
        word = reading.expected.attributes[("size", "second_size")[i]]
        frames = ball.whole & reading.new
        radius = float(np.median(ball.radius[frames])) if frames.any() else math.nan
        value = np.fmin(value, _grade(_leave_range(radius, laws.SIZES[word]), 0.05, 0.15))
    return float(value)


def _leave_range(value: float, bounds: tuple[float, float]) -> float:
    """Returns by which share of a bound a value lies outside of both; nan stays nan."""
    low, high = bounds
    below = 1 - value / low if low else 0.0
    return value if math.isnan(value) else max(below, value / high - 1, 0.0)


def _approach(reading: Reading, ball: int) -> np.ndarray | None:
    """Returns the new frames of a ball before it meets another; None if they are not judged."""
    order = np.arange(reading.frames)
    wanted = reading.wanted(ball) & reading.new & (order < reading.touch)
    if not reading.moves or wanted.sum() < MIN_FRAMES:
        return None
    shown = reading.balls[ball].whole & reading.new
    return np.flatnonzero(shown & (order <= reading.meeting))


def measure_direction(reading: Reading) -> float:
    value = math.nan
    for i, ball in enumerate(reading.balls):
        frames = _approach(reading, i)
        if frames is None:
            continue
        right = False
        if len(frames) >= 2:
            vx, vy = (_line(ball.center[frames, k], frames)[0][1] for k in (0, 1))
            falls = reading.expected.attributes["motion"] == "parabola"
            right = (-vx if i else vx) > MOVING
            right &= vy < -MOVING if falls else abs(vy) < MOVING + 0.1 * abs(vx)
        value = np.fmin(value, float(right))
    return float(value)


def measure_speed(reading: Reading) -> float:
    value = math.nan
    for i, ball in enumerate(reading.balls):
        frames = _approach(reading, i)
        if frames is None:
            continue
        speed = _line(ball.center[frames, 0], frames)[0][1] if len(frames) >= 2 else 0.0
        speed = -speed if i else speed
        bounds = laws.SPEEDS[reading.expected.attributes[("speed", "second_speed")[i]]]
        grade = _grade(_leave_range(speed, bounds), 0.05, 0.2)
        value = np.fmin(value, grade if speed > MOVING else 0.0)
    return float(value)


def measure_steady(reading: Reading) -> float:
    value, order = math.nan, np.arange(reading.frames)
    for i, ball in enumerate(reading.balls):
        if not reading.moves or (reading.wanted(i) & (order < reading.touch)).sum() < MIN_FRAMES:
            continue
        parts = [np.flatnonzero(ball.whole & part) for part in _split(reading)]
        errors = [math.inf]
        if len(parts[0]) >= MIN_FRAMES:
            (_, speed), error = _line(ball.center[parts[0], 0], parts[0])
            errors = [error if abs(speed) > MOVING else math.inf]
        if len(parts[1]) >= MIN_FRAMES:
            errors.append(_line(ball.center[parts[1], 0], parts[1])[1])
        if reading.expected.attributes["motion"] != "parabola" and ball.whole.any():
            errors.append(float(ball.center[ball.whole, 1].std()))
        value = np.fmin(value, _grade(max(errors), 0.03, 0.08))
    return float(value)


def _split(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames before the balls meet and those after it, bool[t]."""
    order = np.arange(reading.frames)
    return order < reading.meeting, order > reading.meeting


def measure_gravity(reading: Reading) -> float:
    if reading.expected.attributes["motion"] != "parabola" or reading.wanted(0).sum() < 5:
        return math.nan
    ball = reading.balls[0]
    frames = np.flatnonzero(ball.whole)
    if len(frames) < 5:
        return 0.0
    gravity = 2 * _line(ball.center[frames, 1], frames, 2)[0][2]
    return _grade(abs(gravity / laws.GRAVITY - 1), 0.15, 0.5)


def measure_collision(reading: Reading) -> float:
    if len(reading.balls) < 2 or math.isinf(reading.touch):
        return math.nan
    order = np.arange(reading.frames)
    view = reading.wanted(0) & reading.wanted(1)
    parts = view & (order < reading.touch), view & (order > reading.touch + 1)
    if min(part.sum() for part in parts) < MIN_FRAMES or not reading.moves:
        return math.nan
    velocities = np.zeros((2, 2))  # before and after, of both balls
    for k, part in enumerate(_split(reading)):
        for i, ball in enumerate(reading.balls):
            frames = np.flatnonzero(part & ball.whole)
            if len(frames) < 2:
                return 0.0
            velocities[k, i] = _line(ball.center[frames, 0], frames)[0][1]
    mass = np.array([np.nanmedian(ball.radius) ** 2 for ball in reading.balls])
    closing = velocities[0, 0] - velocities[0, 1]
    momentum, scale = velocities @ mass, np.abs(velocities[0]) @ mass
    if closing < MOVING or scale <= 0:
        return 0.0
    restitution = (velocities[1, 1] - velocities[1, 0]) / closing
    error = max(abs(restitution - 1), abs(momentum[1] - momentum[0]) / scale)
    return _grade(float(error), 0.15, 0.5)


def measure_contact(reading: Reading) -> float:
    if len(reading.balls) < 2 or not reading.touch <= reading.frames - 1:
        return math.nan
    if reading.touch < reading.expected.given:
        return math.nan
    least = float(reading.gap.min())
    return _grade(max(least, 0.0), 0.5, 1.0) * _grade(max(-least, 0.0), 0.1, 0.4)


def measure_radius(reading: Reading) -> float:
    value = math.nan
    for i, ball in enumerate(reading.balls):
        if reading.wanted(i).sum() < 2 * MIN_FRAMES:
            continue
        radius = ball.radius[ball.whole]
        spread = math.nan
        if len(radius):
            spread = float(np.ptp(np.quantile(radius, (0.1, 0.9))) / np.median(radius))
        value = np.fmin(value, _grade(spread, 0.1, 0.3))
    return float(value)


def measure_prediction(reading: Reading) -> float:
    """Compares with the simulator; a ball that is not seen is half a side away."""
    value = math.nan
    for i, ball in enumerate(reading.balls):
        frames = np.flatnonzero(reading.wanted(i) & reading.new)
        truth = np.asarray(reading.expected.truth["position"], float)[:, i]
        start = truth[reading.expected.given - 1]
        moved = np.linalg.norm(truth[frames] - start, axis=1).mean() if len(frames) else 0.0
        if moved < 0.2:
            continue
        away = np.linalg.norm(ball.center[frames] - truth[frames], axis=1)
        error = np.nan_to_num(away, nan=laws.SIDE / 2).mean() / moved
        value = np.fmin(value, _grade(float(error), 0.1, 0.6))
    return float(value)


def measure_velocity(reading: Reading) -> float:
    error = find_velocity_error([ball.center for ball in reading.balls], reading.expected)
    if math.isnan(error):
        return math.nan
    bound = VELOCITY[reading.expected.attributes["motion"]]
    return _grade(error, bound, 3 * bound)
