"""What phyworld's scores measure of the balls: which they are, where they go, how they look.

A value is 0 to 1, or nan where a score does not apply; see `phyworld`.
"""

import math
from collections.abc import Sequence

import numpy as np

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.phyworld_motion import MIN_FRAMES, fit_line
from sora_jax.evals.worlds.phyworld_reading import MOVING, Reading
from sora_jax.laws import phyworld as laws


def measure_balls(reading: Reading) -> float:
    others = float(reading.others[reading.new].mean()) if reading.new.any() else math.nan
    return grade(others, 0.05, 0.3) * measure_one_component(reading) * measure_size(reading)


def measure_one_component(reading: Reading) -> float:
    value = 1.0
    for i, ball in enumerate(reading.balls):
        frames = reading.until_left(i)
        wrong = float((ball.pieces[frames] > 1).mean()) if frames.any() else 0.0
        value = min(value, grade(wrong, 0.05, 0.3))
    return value


def measure_no_spontaneous(reading: Reading) -> float:
    if reading.frames < 2:
        return math.nan
    return float(reading.appear[reading.new].sum() == 0)


def measure_size(reading: Reading) -> float:
    value = math.nan
    for i, ball in enumerate(reading.balls):
        if not reading.due(i).any():
            continue
        word = reading.expected.attributes[("size", "second_size")[i]]
        frames = ball.whole & reading.new
        radius = float(np.median(ball.radius[frames])) if frames.any() else math.nan
        value = np.fmin(value, grade(_leave_range(radius, laws.SIZES[word]), 0.05, 0.15))
    return float(value)


def measure_radius(reading: Reading) -> float:
    """Compares with the simulator's radius where first frames show it, else with the median."""
    value = math.nan
    for i, ball in enumerate(reading.balls):
        if reading.due(i).sum() < 2 * MIN_FRAMES:
            continue
        radius, error = ball.radius[ball.whole & reading.new], math.nan
        if len(radius):
            given = reading.expected.given
            right = float(reading.expected.truth["radius"][i]) if given else np.median(radius)
            error = float(np.quantile(np.abs(radius / right - 1), 0.9))
        value = np.fmin(value, grade(error, 0.1, 0.3))
    return float(value)


def measure_shape(reading: Reading) -> float:
    """Measures how round the balls are: the ratio of their axes."""
    return _grade_outlines(reading, [ball.aspect for ball in reading.balls], 1.15, 1.4)


def measure_sharpness(reading: Reading) -> float:
    """Measures the width of the balls' edges in pixels; a blur of 0.7 pixels makes it 1.6."""
    return _grade_outlines(reading, [ball.edge for ball in reading.balls], 2.0, 2.8)


def _grade_outlines(
    reading: Reading, values: Sequence[np.ndarray], good: float, bad: float
) -> float:
    """Grades the worst ball's median over the new frames that show it whole."""
    graded = math.nan
    for i, (ball, value) in enumerate(zip(reading.balls, values, strict=True)):
        if reading.due(i).any():
            own = value[ball.whole & reading.new]
            graded = np.fmin(
                graded, grade(float(np.median(own)) if len(own) else math.nan, good, bad)
            )
    return float(graded)


def measure_no_flicker(reading: Reading) -> float:
    return reading.still if reading.frames - reading.first > 1 else math.nan


def _leave_range(value: float, bounds: tuple[float, float]) -> float:
    """Returns by which share of a bound a value lies outside of both; nan stays nan."""
    low, high = bounds
    below = 1 - value / low if low else 0.0
    return value if math.isnan(value) else max(below, value / high - 1, 0.0)


def _approach(reading: Reading, ball: int) -> np.ndarray | None:
    """Returns the measured frames of a ball before it meets another; None if it is not judged."""
    order = np.arange(reading.frames)
    due = reading.due(ball) & (order < reading.touch)
    if not reading.moves or due.sum() < MIN_FRAMES:
        return None
    return np.flatnonzero(reading.balls[ball].whole & reading.judged & (order <= reading.meeting))


def measure_direction(reading: Reading) -> float:
    value = math.nan
    for i, ball in enumerate(reading.balls):
        frames = _approach(reading, i)
        if frames is None:
            continue
        right = False
        if len(frames) >= 2:
            vx, vy = (fit_line(ball.center[frames, k], frames)[0][1] for k in (0, 1))
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
        speed = fit_line(ball.center[frames, 0], frames)[0][1] if len(frames) >= 2 else 0.0
        speed = -speed if i else speed
        bounds = laws.SPEEDS[reading.expected.attributes[("speed", "second_speed")[i]]]
        graded = grade(_leave_range(speed, bounds), 0.05, 0.2)
        value = np.fmin(value, graded if speed > MOVING else 0.0)
    return float(value)
