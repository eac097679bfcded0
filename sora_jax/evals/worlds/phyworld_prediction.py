"""How far the balls of a phyworld video are from the simulator's, from given first frames on."""

import math

import numpy as np

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.phyworld_parser import find_velocity_error
from sora_jax.evals.worlds.phyworld_reading import Reading
from sora_jax.laws import phyworld as laws

VELOCITY = {"uniform": 0.05, "parabola": 0.08, "collision": 0.2}  # units/s; see `phyworld`
UNSEEN = 0.5  # of the frame's side: the error of a ball that should be seen and is not
MIN_MOVED = 0.2  # units: the mean distance of a ball from its start; one that moves less is at rest


def measure_prediction(reading: Reading) -> float:
    """Compares with the simulator's ball, and with one that stays where it was last given."""
    value = math.nan
    for i, ball in enumerate(reading.balls):
        frames = np.flatnonzero(reading.due(i))
        truth = np.asarray(reading.expected.truth["position"], float)[:, i]
        start = truth[reading.expected.given - 1]
        moved = np.linalg.norm(truth[frames] - start, axis=1).mean() if len(frames) else 0.0
        if moved < MIN_MOVED:
            continue
        away = np.linalg.norm(ball.center[frames] - truth[frames], axis=1)
        error = np.nan_to_num(away, nan=UNSEEN * laws.SIDE).mean() / moved
        value = np.fmin(value, grade(float(error), 0.1, 0.6))
    return float(value)


def measure_velocity(reading: Reading) -> float:
    expected, balls = reading.expected, reading.balls
    bound = VELOCITY[expected.attributes["motion"]]
    still = [np.zeros((reading.frames, 2))] * len(balls)
    # A ball that stands still must be wrong.
    if not find_velocity_error(still, expected) > 3 * bound:
        return math.nan
    return grade(find_velocity_error([ball.center for ball in balls], expected), bound, 3 * bound)


def prediction_errors(reading: Reading) -> dict[str, np.ndarray]:
    """Returns the mean error of the balls' positions, beside that of two baselines.

    Returns:
      float[t - given] in units of the frame's short side, for each frame that was not given; nan
      where no ball of the simulator is wholly in view, and everywhere if none is given. "model",
      of the balls that are seen; one that is not seen has an error of `UNSEEN`. "copy_last", of
      balls that stay where the simulator has them in the last given frame. "constant_velocity", of
      balls that move on as between the last two given frames; nan if fewer are given.
    """
    truth = np.asarray(reading.expected.truth["position"], float)
    given, order = reading.expected.given, np.arange(reading.frames)[:, None, None]
    shown = np.stack([ball.center for ball in reading.balls], 1)
    unknown = np.full_like(truth, np.nan)
    last = truth[given - 1] if 0 < given <= len(truth) else unknown[0]
    velocity = last - truth[given - 2] if 1 < given <= len(truth) else unknown[0]
    paths = {
        "model": shown,
        "copy_last": np.broadcast_to(last, truth.shape),
        "constant_velocity": last + velocity * (order - given + 1),
    }
    due = np.stack([reading.due(i) for i in range(len(reading.balls))], 1) & (given > 0)
    errors = {}
    for name, path in paths.items():
        away = np.linalg.norm(path - truth, axis=-1) / laws.SIDE
        if name == "model":
            away = np.nan_to_num(away, nan=UNSEEN)
        total = np.where(due, away, 0).sum(1)
        errors[name] = np.where(due.any(1), total / np.maximum(due.sum(1), 1), np.nan)[given:]
    return errors
