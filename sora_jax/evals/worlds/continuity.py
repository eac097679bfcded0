"""How a video goes on from frame to frame: halts, standing still, and frames out of their order.

With x_i the frames, d(i, j) the mean of |x_i - x_j| over the picture, and c(i) the greatest mean
change of 3 x 3 pixels in step i, from frame i to frame i + 1, a step

  halts             where c(i) < HALT min(max(c(i - 2), c(i - 1)), max(c(i + 1), c(i + 2))), if that
                    minimum is `MIN_CHANGE` at least;
  stands still      where something should move in it and c(i) < max(MIN_CHANGE, STILL median c),
                    of steps with c of `MIN_CHANGE` at least;
  is out of order   where d(i - 1, i + 2) < ORDER d(i, i + 1): what lies around it is nearer to each
                    other than what lies beside it. Of motion that leads on this is so only where
                    something enters or leaves the picture in a step longer than itself, or, with
                    d(i - 1, i) and d(i + 1, i + 2) as small, crosses it in two frames.
"""

from typing import Any

import numpy as np
from scipy import ndimage

MIN_CHANGE = 4.0  # of 0..255: a smaller change of 3 x 3 pixels is no motion
HALT, STILL, ORDER = 0.35, 0.2, 0.7
MIN_STEPS = 6  # of a video that may have one out of order
LEAST = 0.02  # of the greatest d(i, i + 1): a step that changes less has no order


def measure_smoothness(video: np.ndarray, due: np.ndarray | None = None, leaps: int = 0) -> float:
    """Grades how rarely a motion halts, stands still or is out of order.

    Args:
      video: uint8[t, h, w, 3].
      due: bool[t - 1], steps in which something should move; None for none.
      leaps: steps in which something may enter or leave the picture that is smaller than its steps.

    Returns:
      The product of two grades. The first is 1 if at most 15 % of the steps halt or stand still, of
      those that do or move, and 0 from 35 % on and where nothing moves: a video of half the frame
      rate, each frame twice, halts in half of them. The second is 1 if at most 10 % of the
      steps are out of order, and 0 from 25 % on, but for `leaps`, and for one step in which
      something crosses a video of `MIN_STEPS`: if frames are swapped in pairs, half of them are.
    """
    if len(video) < 2:
        return 0.0
    frames = video.astype(np.float32)
    change = np.abs(np.diff(frames, axis=0)).mean(-1)
    between = change.mean((1, 2))
    blocks: Any = (0, 3, 3)  # scipy's stubs know one size for all axes
    change = ndimage.uniform_filter(change, blocks).max((1, 2))
    stops = find_stops(change, np.zeros(len(change), bool) if due is None else due)
    moves = (change >= MIN_CHANGE) & ~stops
    if not moves.any():
        return 0.0
    stopping = stops.sum() / (stops | moves).sum()
    leads, beside = between[1:-1], np.maximum(between[2:], between[:-2])
    ordered = leads > LEAST * between.max()
    crossed = ordered & (np.abs(frames[3:] - frames[:-3]).mean((1, 2, 3)) < ORDER * leads)
    alone = crossed & (beside < ORDER * leads)
    free = int(len(change) >= MIN_STEPS)
    excess = max(alone.sum() - free, crossed.sum() - max(leaps, free), 0)
    disorder = excess / max(ordered.sum(), 1)
    grades = (0.35 - stopping) / 0.2, (0.25 - disorder) / 0.15
    return float(np.clip(grades, 0, 1).prod())


def find_stops(change: np.ndarray, due: np.ndarray) -> np.ndarray:
    """Returns which steps bool[t - 1] halt, or stand still though motion is due; see the module.

    Args:
      change: float[t - 1], c. due: bool[t - 1].
    """
    steps = np.pad(change, 2)
    before, after = np.maximum(steps[:-4], steps[1:-3]), np.maximum(steps[3:-1], steps[4:])
    around = np.minimum(before, after)
    halts = (around >= MIN_CHANGE) & (change < HALT * around)
    moving = change[change >= MIN_CHANGE]
    least = max(MIN_CHANGE, STILL * float(np.median(moving))) if len(moving) else MIN_CHANGE
    return halts | due & (change < least)


def both(seen: np.ndarray) -> np.ndarray:
    """Returns which steps [t - 1] lead from one frame in which something is seen to another."""
    return seen[1:] & seen[:-1]
