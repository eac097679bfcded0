"""How far ball and pieces of a shattering video are from the simulator's, from given frames on."""

import math

import numpy as np

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.shatter_reading import Reading

UNSEEN = 1.0  # units: the error of what should be seen and is not
MIN_MOVED = 0.04  # units: the mean distance from the start; what moves less predicts nothing
FALL = 8  # frames after the impact for which the middle of the pieces is predicted


def measure_prediction(reading: Reading) -> float:
    """Compares the ball until the impact, and the pieces' middle after it, with the simulator's.

    The ball is compared if it is wholly in the last given frame, the pieces for a second after an
    impact that was not given and while all of them are in the frame.
    """
    truth, given, order = reading.expected.truth, reading.expected.given, np.arange(reading.frames)
    values, flight = [], find_flight(reading)
    ball = np.asarray(truth["ball"], float)
    if flight.any():
        values.append(_compare(_find_path(reading)[flight], ball[flight], ball[given - 1]))
    areas = np.asarray(truth["areas"], float)
    middle = (np.asarray(truth["poses"], float)[..., :2] * areas[:, None]).sum(1) / areas.sum()
    fall = reading.new & np.asarray(truth["inside"]) & bool(truth["breaks"])
    fall &= (order > reading.impact) & (order <= reading.impact + FALL)
    if reading.impact >= given - 1:
        values.append(_compare(reading.target.middle[fall], middle[fall], middle[given - 1]))
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def find_flight(reading: Reading) -> np.ndarray:
    """Returns the new frames, bool[t], in which the simulator's ball is seen until the impact.

    There are none if it is not wholly in the last given frame: when it comes is not known then.
    """
    given, whole = reading.expected.given, reading.ball_whole
    known = 0 < given <= reading.frames and bool(whole[given - 1])
    return whole & reading.new & (np.arange(reading.frames) <= reading.impact) & known


def prediction_errors(reading: Reading) -> dict[str, np.ndarray]:
    """Returns the error of the ball's position until the impact, beside that of two baselines.

    Returns:
      float[t - given] in units of the frame's short side, for each new frame; nan but for those
      until the impact in which the simulator's ball is wholly in view, as it has to be in
      the last given frame. "model", of the ball that is seen; `UNSEEN` if none is. "copy_last", of
      a ball that stays where the simulator has it in the last given frame. "constant_velocity", of
      one that moves on as between the last two given frames; nan if it is not wholly in both.
    """
    flight, given = find_flight(reading), reading.expected.given
    truth, order = np.asarray(reading.expected.truth["ball"], float), np.arange(reading.frames)
    shown = np.nan_to_num(np.linalg.norm(_find_path(reading) - truth, axis=1), nan=UNSEEN)
    last, velocity = np.full((2, 2), np.nan)
    if flight.any():
        last = truth[given - 1]
        if given > 1 and reading.ball_whole[given - 2]:
            velocity = last - truth[given - 2]
    line = last + velocity * (order - given + 1)[:, None]
    errors = {
        "model": shown,
        "copy_last": np.linalg.norm(last - truth, axis=1),
        "constant_velocity": np.linalg.norm(line - truth, axis=1),
    }
    return {name: np.where(flight, error, np.nan)[given:] for name, error in errors.items()}


def _find_path(reading: Reading) -> np.ndarray:
    """Returns the ball's centre [t, 2], units; nan where none is seen."""
    centers = reading.ball.centers
    return np.array([c[0] if len(c) else (np.nan, np.nan) for c in centers]).reshape(-1, 2)


def _compare(path: np.ndarray, wanted: np.ndarray, start: np.ndarray) -> float:
    """Grades a path's mean error by the mean distance to the start; nan if that is small."""
    if not len(wanted):
        return math.nan
    moved = float(np.linalg.norm(wanted - start, axis=1).mean())
    if moved < MIN_MOVED:
        return math.nan
    error = np.nan_to_num(np.linalg.norm(path - wanted, axis=1), nan=UNSEEN).mean()
    return grade(float(error) / moved, 0.2, 0.7)
