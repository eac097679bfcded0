"""Errors of predicted positions in the ballistics world, beside two guesses that know no laws.

The error is the distance of an object from the simulator's, in units of the frame's short side. An
object that is not seen, or is farther away, is `LOST` away.
"""

import math

import numpy as np

from sora_jax.evals.worlds.ballistics_reading import Reading

LOST = 1.0  # units, error of an object that is not seen, and the largest of any
NEAR_TRUTH = 0.15  # units, error that scores 0


def prediction_errors(reading: Reading) -> dict[str, np.ndarray]:
    """Measures the mean error over the objects that move, in each frame that was not given.

    Returns:
      float[frames - given] for each of "model", the video; "copy_last", the simulator's positions
      in the last given frame; and "constant_velocity", these moved on by the last step between two
      given frames. A value is nan where no moving object is wholly within the simulator's frame,
      and where too few frames are given: for the guess by constant velocity two, or else one.
    """
    counted = _count_movers(reading)
    errors = {}
    for name, guess in _list_guesses(reading).items():
        error = _measure_errors(reading, guess)
        total = np.where(counted & np.isfinite(error), error, 0).sum(1)
        known = counted.any(1) & np.isfinite(error).any(1)
        errors[name] = np.where(known, total / np.maximum(counted.sum(1), 1), np.nan)
    return errors


def score_prediction(reading: Reading) -> float:
    """1 if all moving objects are where the simulator has them, 0 if `NEAR_TRUTH` away or more."""
    counted = _count_movers(reading)
    if not reading.expected.given or not counted.any():
        return math.nan
    error = _measure_errors(reading, _list_guesses(reading)["model"])
    return float(np.clip(1 - error / NEAR_TRUTH, 0, 1)[counted].mean())


def _count_movers(reading: Reading) -> np.ndarray:
    """Returns whether each object [k, n] is compared: it moves, and is wholly within the frame."""
    moves = np.array([thing["direction"] != "none" for thing in reading.objects])
    moves |= [i in reading.names("collides") for i in range(len(moves))]
    return reading.window.whole & moves


def _list_guesses(reading: Reading) -> dict[str, np.ndarray]:
    """Returns positions [k, n, 2] by the video and by both guesses; nan where one has none."""
    given = reading.expected.given
    true = np.asarray(reading.expected.truth["position"], float)
    seen = np.full(true[given:].shape, math.inf)
    if not given:
        return dict.fromkeys(
            ("model", "copy_last", "constant_velocity"), np.full_like(seen, math.nan)
        )
    shown = reading.tracks.center[reading.new][: len(seen)]
    seen[: len(shown)] = np.where(np.isnan(shown), math.inf, shown)
    last = np.broadcast_to(true[given - 1], seen.shape)
    step = true[given - 1] - true[given - 2] if given > 1 else math.nan
    ahead = np.arange(1, len(seen) + 1)[:, None, None]
    return {"model": seen, "copy_last": last, "constant_velocity": last + ahead * step}


def _measure_errors(reading: Reading, guess: np.ndarray) -> np.ndarray:
    """Returns the error [k, n] of guessed positions; nan where these are."""
    true = np.asarray(reading.expected.truth["position"], float)[reading.expected.given :]
    return np.minimum(np.linalg.norm(guess - true, axis=-1), LOST)
