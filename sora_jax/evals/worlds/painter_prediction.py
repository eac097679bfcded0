"""Compares what the painter's videos show after given frames with what the simulator has there."""

import math

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.painter_scene import Scene, unpack_painted

LOST = 1.0  # units, error of a brush that is not seen, and the largest of any
EDGE = 0.1  # units; a brush whose tip is nearer to the frame's edge may be out of sight
_TIP_ERROR = 0.06  # units: largest error of a brush that is where it should be


def measure_tip_errors(
    tip: np.ndarray, room: np.ndarray, expected: Expected
) -> dict[str, np.ndarray]:
    """Measures how far the brush's tip is from the simulator's in each frame that was not given.

    Args:
      tip: [t, 2], where a video shows the tip, in units; nan where no brush is seen.
      room: width and height of the frame in units.
      expected: what it should show.

    Returns:
      float[frames - given], in units of the frame's short side, for each of "model", the video;
      "copy_last", the simulator's tip in the last given frame; and "constant_velocity", which goes
      on by the last step between two given frames. A value is nan where the simulator's tip is
      out of sight or less than `EDGE` from the frame's edge, and where too few frames are given:
      for the guess by constant velocity two, or else one. Where no brush is seen, the video's error
      is `LOST`, the largest of any.
    """
    given, true = expected.given, np.asarray(expected.truth["tip"], float)
    wanted = true[given:]
    inside = _is_in_sight(wanted, room)[:, None]
    known = inside if given else np.zeros_like(inside)
    seen = np.full(wanted.shape, math.inf)
    shown = tip[given:][: len(seen)]
    seen[: len(shown)] = np.where(np.isnan(shown), math.inf, shown)
    last = true[max(given - 1, 0)]
    step = last - true[given - 2] if given > 1 else np.full(2, math.nan)
    guesses = {
        "model": seen,
        "copy_last": np.broadcast_to(last, wanted.shape),
        "constant_velocity": last + np.arange(1, len(wanted) + 1)[:, None] * step,
    }
    return {
        name: np.minimum(np.linalg.norm(np.where(known, guess - wanted, math.nan), axis=1), LOST)
        for name, guess in guesses.items()
    }


def measure_prediction(expected: Expected, scene: Scene) -> float:
    """Compares the ink since the given frames, and the tip, with the simulator's.

    The value is the mean over frames of overlap (intersection over union, 0.7 counts as 1: edges
    of thin strokes) times whether the tip is within `_TIP_ERROR` of its place.
    """
    n, t, h, w = scene.ink.shape
    unit = min(h, w)
    painted = unpack_painted(expected, h, w)
    frames = [i for i in list_predictable(expected) if i < t]
    if not frames or painted is None:
        return 0.0
    old = painted[max(expected.given, 1) - 1]
    tips = np.asarray(expected.truth["tip"]) * unit
    room = np.array([w, h], float) / unit
    within = ((tips >= 0) & (tips <= (w, h))).all(1)
    in_sight = _is_in_sight(tips / unit, room)
    values = []
    for i in frames:
        seen = ~scene.hidden[i]
        should, did = painted[i] & ~old & seen, scene.ink[:, i].any(0) & ~old & seen
        overlap = (should & did).sum() / max((should | did).sum(), 1)
        overlap = min(overlap / 0.7, 1) if should.sum() >= 8 else 1.0
        if np.isnan(scene.tip[i, 0]):
            right = not in_sight[i]
        else:
            right = not within[i] or np.hypot(*(scene.tip[i] - tips[i])) <= _TIP_ERROR * unit
        values.append(overlap * right)
    return float(np.mean(values))


def list_predictable(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which there is new ink of some size."""
    painted = np.unpackbits(np.asarray(expected.truth["painted"], np.uint8), axis=1).sum(1)
    given = max(expected.given, 1)
    # Half the least stroke, of a frame with (short side)^2 or more pixels.
    enough = painted[min(given, len(painted)) - 1] + 10
    return given + np.flatnonzero(painted[given:].astype(int) > enough)


def _is_in_sight(tips: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Returns whether tips [t, 2] in units are `EDGE` or more within the frame."""
    return np.all((tips >= EDGE) & (tips <= room - EDGE), axis=1)
