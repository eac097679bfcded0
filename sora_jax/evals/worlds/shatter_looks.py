"""The values of the shattering world's scores of looks, 0 to 1 or nan; see `shatter`."""

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.continuity import both, measure_smoothness
from sora_jax.evals.worlds.morphology import dilate_mask, label_parts
from sora_jax.evals.worlds.shatter_measures import sign
from sora_jax.evals.worlds.shatter_reading import Reading

STRIDE = 0.27  # units: how far a ball that has just come into the frame is from its edge, at most
MOVES = 0.02  # units from frame to frame of a ball that moves
LANDED = 0.05  # units between the floor and a ball that flies, at least
HEAP = 0.16  # units above the floor: the middle of pieces that lie is lower
TOUCHES = 0.06  # units between a ball and pieces that may stop it
NEAR, MIN_PIECE = 3, 8  # pixels around a piece in the air, and of it
LEAST = 3  # steps
REACH = 0.3  # units that nothing moves from frame to frame


def measure_one_component(reading: Reading) -> float:
    """A ball is one piece from when it comes into the frame until it leaves it."""
    wanted = np.asarray(reading.expected.truth["ball_seen"]) & reading.new
    if wanted.sum() < 3:
        return math.nan
    count = reading.ball.count
    seen = np.flatnonzero((count > 0) & reading.new)
    if not len(seen):
        return 0.0
    first, last = seen[0], seen[-1]
    center, width = reading.ball.centers[last][0], reading.size[0]
    near = min(center[0], width - center[0]) < STRIDE
    stop = last + 1 if near else reading.frames
    return grade(float((count[first:stop] != 1).mean()), 0.05, 0.3)


def measure_no_spontaneous(reading: Reading) -> float:
    """Nothing in the ball's or the target's colour appears away from where it was.

    Things that the scene has no place for (`Reading.blots`) may not be seen at all.
    """
    if reading.frames < 2 or not reading.new.any():
        return math.nan
    if reading.blots[reading.new].sum() > 1:
        return 0.0
    width, strange = reading.size[0], 0
    for part, may_enter in ((reading.ball, True), (reading.target, False)):
        for t in np.flatnonzero(reading.new & (np.arange(reading.frames) > 0)):
            rows, columns = np.nonzero(part.share[t - 1] >= 0.5)
            before = (np.stack([columns, rows], 1) + 0.5) / reading.unit
            for center in part.centers[t]:
                if len(before):
                    strange += np.linalg.norm(before - center, axis=1).min() > REACH
                else:
                    strange += not may_enter or min(center[0], width - center[0]) > STRIDE
    return float(strange == 0)


def measure_sharp_edges(reading: Reading) -> float:
    """Measures the width of the target's edges: partly covered pixels to a pixel of outline."""
    if not reading.new.any():
        return math.nan
    return grade(measure_edge_width(reading), 1.9, 2.6)


def measure_edge_width(reading: Reading) -> float:
    """Returns the median over new frames of the target's edge width, pixels; nan without any."""
    share = reading.target.share[reading.new]
    half = share >= 0.5
    inner = ndimage.minimum_filter(half.view(np.uint8), (1, 3, 3), mode="nearest") > 0
    outline = (half & ~inner).sum((1, 2))
    partly = ((share > 0.1) & (share < 0.9)).sum((1, 2))
    known = outline > 0
    return float(np.median(partly[known] / outline[known])) if known.any() else math.nan


def measure_no_flicker(reading: Reading) -> float:
    """Measures how much the background changes from frame to frame, in levels of 0..255."""
    new = reading.new[1:]
    if not new.any():
        return math.nan
    return grade(float(reading.changes[new].mean()), 5.0, 13.0)


def measure_smooth(reading: Reading) -> float:
    """What is in the air, and a ball that touches nothing, moves on in every step.

    It applies where the simulator's does in `LEAST` steps at least. A ball that touches nothing and
    goes back is 0.
    """
    truth, floor = reading.expected.truth, reading.floor
    path, poses = (np.asarray(truth[name], float) for name in ("ball", "poses"))
    flight = both(reading.ball_whole) & (np.linalg.norm(np.diff(path, axis=0), axis=1) > MOVES)
    falls = np.median(np.abs(np.diff(poses[..., :2], axis=0)).max(-1), axis=1) > MOVES
    if ((flight | falls) & both(reading.new)).sum() < LEAST:
        return math.nan
    may_lie, flies = reading.may_lie, reading.target.middle[:, 1] < floor - HEAP
    flies[: reading.broken] = False
    flies |= find_airborne(reading)
    for t in np.flatnonzero(reading.ball.count > 0):
        bottom = reading.ball.centers[t][0][1] + math.sqrt(reading.ball.areas[t][0] / math.pi)
        flies[t] |= bottom < floor - LANDED and not (may_lie[t] and reading.gaps[t] < TOUCHES)
    free = _find_free_motion(reading)
    if free.turns:
        return 0.0
    due = both(flies) | free.due
    leaps = 2 if np.any(reading.expected.truth["ball_seen"][reading.first :]) else 0
    return measure_smoothness(reading.video[reading.first :], due[reading.first :], leaps)


def find_airborne(reading: Reading) -> np.ndarray:
    """Returns in which frames, bool[t], a piece above the floor touches no other and no ball."""
    found = np.zeros(reading.frames, bool)
    eight = np.ones((3, 3))  # neighbours
    lowest = (reading.floor - LANDED) * reading.unit
    for t in np.flatnonzero(reading.may_lie):
        pieces, ball = reading.target.share[t], reading.ball.share[t]
        labels, count = label_parts(pieces >= 0.5, eight)
        for label in range(1, count + 1):
            piece = labels == label
            near = dilate_mask(piece, eight, NEAR)
            others = (pieces > 0.1) & (labels != label) & ~dilate_mask(piece, eight)
            free = not (near & (others | (ball > 0.1))).any()
            found[t] |= free and piece.sum() >= MIN_PIECE and np.nonzero(piece)[0].max() < lowest
    return found


class FreeMotion(NamedTuple):
    """The motion of a ball that touches nothing: nothing brakes it, in the air or on the floor.

    Attributes:
      due: bool[t - 1], steps of a whole ball that has moved and touched nothing since.
      turns: whether it goes back in one of them, or away from a target that it has not touched.
    """

    due: np.ndarray
    turns: bool


def _find_free_motion(reading: Reading) -> FreeMotion:
    due, turns = np.zeros(reading.frames - 1, bool), False
    way, moved = (sign(reading) if reading.impact > reading.first else 0.0), False
    for t in range(reading.first, reading.frames - 1):
        seen = [reading.ball.centers[s] for s in (t, t + 1)]
        if not len(seen[0]) or not len(seen[1]):
            continue
        if reading.gaps[t : t + 2].min() < TOUCHES:
            way, moved = 0.0, False
            continue
        due[t] = moved and not reading.ball.cut[t : t + 2].any()
        step = seen[1][0] - seen[0][0]
        moved |= bool(np.linalg.norm(step) > MOVES)
        if abs(step[0]) > MOVES:
            turns, way = turns or way * step[0] < 0, float(step[0])
    return FreeMotion(due, turns)
