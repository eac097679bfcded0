"""What a video of phyworld shows, beside what it should show; see `phyworld`."""

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.base import Expected, grade
from sora_jax.evals.worlds.continuity import both, measure_smoothness
from sora_jax.evals.worlds.morphology import dilate_mask, find_blots, label_parts
from sora_jax.evals.worlds.phyworld_parser import Ball, crop_world, find_painted, read_balls
from sora_jax.evals.worlds.tracking import MIN_AREA, TOLERANCE, measure_flicker
from sora_jax.laws import phyworld as laws

MOVING = 0.1  # units/s: slower balls are at rest
MIN_MOVING = 4  # steps in which a ball that is not slow is in view
NEAR = 0.8  # units: a larger least gap is no meeting; 0.6 are possible between two frames
INK = 100.0  # of 0..441: least distance from white of what is painted
JUMP = 0.9  # units from frame to frame: farther than the simulator's balls move, but for hard hits
LOST = 3  # frames after which a ball that is seen again is not followed
EARLY = 0.6  # share of the simulator's frames after which a ball may leave, from text alone


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one video shows.

    Attributes:
      frames: of the clip that is expected, and of all that follows.
      expected: what the video should show.
      balls: the expected balls, red first; where first frames are given, only as far as they can be
        followed from there.
      others: bool[t], whether a ball that is not expected is seen.
      strange: float[t], share of the pixels that are neither white, a ball's, nor between both.
      appear: int[t], components that appear away from all that was painted a frame before.
      still: how little the white changes from frame to frame, see `tracking.measure_flicker`.
      smooth: how steadily balls that are not slow go on until they touch, see
        `continuity.measure_smoothness`; nan where the simulator shows too few of their steps.
    """

    frames: int
    expected: Expected
    balls: tuple[Ball, ...]
    others: np.ndarray
    strange: np.ndarray
    appear: np.ndarray
    still: float
    smooth: float

    @functools.cached_property
    def new(self) -> np.ndarray:
        """Which frames were not given, bool[t]."""
        return np.arange(self.frames) >= self.expected.given

    @property
    def first(self) -> int:
        """The first frame that is measured: the last given one, as reference, or frame 0."""
        return max(self.expected.given - 1, 0)

    @functools.cached_property
    def judged(self) -> np.ndarray:
        """Which frames are measured, bool[t]."""
        return np.arange(self.frames) >= self.first

    @functools.cached_property
    def shown(self) -> float:
        """How much of what should be seen is seen, 0 to 1; nan if no ball should be.

        It is that of the ball that is missed most: 1 if at most 5 % of the frames miss it, 0 from
        40 % on; and it falls with the share of pixels that belong to nothing, from 1 % to 10 %.
        """
        missing = [self._miss(i) for i in range(len(self.balls)) if self.due(i).any()]
        if not missing:
            return math.nan
        strange = float(self.strange[self.new].mean())
        return grade(max(missing), 0.05, 0.4) * grade(strange, 0.01, 0.1)

    def due(self, ball: int) -> np.ndarray:
        """Returns the new frames in which a ball should be seen, bool[t]."""
        return self.wanted(ball) & self.new

    def until_left(self, ball: int) -> np.ndarray:
        """Returns the new frames until a ball has left the frame, or all of them, bool[t]."""
        return self.new & (np.arange(self.frames) < _count_until_left(self.balls[ball]))

    def _miss(self, ball: int) -> float:
        """Returns the share of the frames in which a ball should be seen and is not.

        From text alone its start is not known, so that it may leave before the simulator's does.
        """
        due, seen = self.due(ball), self.balls[ball].seen
        if self.expected.given:
            return float((~seen)[due].mean())
        enough = float((seen & self.new).sum() / (EARLY * due.sum()))
        due = due & self.until_left(ball)
        missing = float((~seen)[due].mean()) if due.any() else 0.0
        return max(missing, 1 - enough)

    @functools.cached_property
    def gap(self) -> np.ndarray:
        """Distance [t] between the surfaces of two balls, units; infinite if one is not seen."""
        if len(self.balls) < 2:
            return np.full(self.frames, np.inf)
        a, b = self.balls
        gap = np.linalg.norm(a.center - b.center, axis=1) - a.radius - b.radius
        return np.where(a.seen & b.seen, gap, np.inf)

    @functools.cached_property
    def meeting(self) -> int:
        """Measured frame in which the balls meet; the number of frames if they never come near."""
        gap = np.where(self.judged, self.gap, np.inf)
        least = gap.min()
        return int(np.argmax(gap <= least + 0.04)) if least < NEAR else self.frames

    def wanted(self, ball: int) -> np.ndarray:
        """Returns in which frames the simulator's ball is wholly in view, bool[t]."""
        return np.asarray(self.expected.truth["in_view"])[:, ball].astype(bool)

    @property
    def touch(self) -> float:
        """When the simulator's balls touch, in frames; infinite for never."""
        return find_touch(self.expected)

    @property
    def moves(self) -> bool:
        """Whether all of the simulator's balls are clearly faster than `MOVING`."""
        speed = np.abs(np.asarray(self.expected.truth["velocity"])[0, :, 0])
        return self.frames > 1 and bool((speed > 2 * MOVING).all())


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video uint8[t, h, w, 3]; see `base`."""
    world = crop_world(video, len(expected.truth["position"]))
    painted = find_painted(world)
    balls = read_balls(world, list(laws.BALLS))
    count = len(expected.truth["radius"])
    kept = [_follow(ball, i, expected) for i, ball in enumerate(balls[:count])]
    offset = world[painted].astype(np.float32) - np.array(laws.WHITE, np.float32)
    away = np.full(len(offset), np.inf)
    for color in list(laws.BALLS.values())[:count]:
        axis = np.subtract(color, laws.WHITE).astype(np.float32)
        share = np.clip(offset @ axis / (axis @ axis), 0, 1)
        away = np.minimum(away, np.linalg.norm(offset - share[:, None] * axis, axis=1))
    strange, ink = np.zeros_like(painted), np.zeros_like(painted)
    strange[painted] = away > TOLERANCE
    ink[painted] = np.linalg.norm(offset, axis=1) > INK
    first = max(expected.given - 1, 0)
    return Reading(
        frames=len(world),
        expected=expected,
        balls=tuple(kept),
        others=np.any([*(ball.seen for ball in balls[count:]), find_blots(strange)], 0),
        strange=strange.mean((1, 2)),
        appear=_count_appearing(ink),
        still=_measure_still(*(part[first:] for part in (world, ink))),
        smooth=_measure_smooth(world, kept, expected, first),
    )


def _measure_smooth(world: np.ndarray, balls: list[Ball], expected: Expected, first: int) -> float:
    truth = expected.truth
    speeds = np.linalg.norm(np.asarray(truth["velocity"], float)[0], axis=-1)
    free = np.arange(1, len(world)) < find_touch(expected)
    due, wanted = np.zeros((2, len(world) - 1), bool)
    for i in np.flatnonzero(speeds > 2 * MOVING):
        due |= both(balls[i].whole) & free
        wanted |= both(np.asarray(truth["in_view"])[:, i].astype(bool)) & free
    if wanted[first:].sum() < MIN_MOVING:
        return math.nan
    return measure_smoothness(world[first:], due[first:], leaps=2)


def find_touch(expected: Expected) -> float:
    """Returns when the simulator's balls touch, in frames; infinite for never."""
    touch = float(expected.truth["touch"])
    return (touch - laws.STEP) * laws.FPS if touch >= 0 else math.inf


def _measure_still(world: np.ndarray, ink: np.ndarray) -> float:
    """Grades how little the pixels away from ink[t, n, n] change in a video [t, n, n, 3]."""
    bare = ~dilate_mask(ink, np.ones((1, 5, 5)))
    return measure_flicker(world, bare[1:] & bare[:-1])


def _follow(ball: Ball, number: int, expected: Expected) -> Ball:
    """Removes from a ball what cannot be where the ball of the last given frame has moved."""
    given = expected.given
    if not given:
        return ball
    lost = ~ball.seen
    last = given - 1
    path = np.asarray(expected.truth["position"], float)[:, number]
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    reach = max(JUMP, 1.2 * float(steps.max(initial=0)))
    place = path[min(last, len(path) - 1)]
    for t in range(given, len(lost)):
        if lost[t]:
            continue
        distance = np.linalg.norm(ball.center[t] - place)
        lost[t] = distance > reach * (t - last) or t - last > LOST
        if not lost[t]:
            last, place = t, ball.center[t]
    return dataclasses.replace(
        ball,
        center=np.where(lost[:, None], np.nan, ball.center),
        radius=np.where(lost, np.nan, ball.radius),
        pieces=np.where(lost, 0, ball.pieces),
        cut=ball.cut & ~lost,
    )


def _count_until_left(ball: Ball) -> int:
    """Counts the frames until a ball has left; all if it vanishes inside or is never seen."""
    frames = len(ball.pieces)
    if not ball.seen.any():
        return frames
    last = frames - 1 - int(np.argmax(ball.seen[::-1]))
    ahead = ball.center[last] + np.nan_to_num(ball.center[last] - ball.center[max(last - 1, 0)])
    near = (ahead < ball.radius[last]) | (ahead > laws.SIDE - ball.radius[last])
    return last + 1 if ball.cut[last] or near.any() else frames


def _count_appearing(ink: np.ndarray) -> np.ndarray:
    """Counts the components [t] of ink [t, n, n] with none of the last frame's ink near them."""
    reach = 2 * int(np.ceil(JUMP / laws.SIDE * ink.shape[1])) + 1
    near = ndimage.maximum_filter(ink[:-1].view(np.uint8), (1, reach, reach), mode="constant")
    counts = np.zeros(len(ink), int)
    for t in np.flatnonzero((ink[1:] & (near == 0)).any((1, 2))) + 1:
        labels, _ = label_parts(ink[t], np.ones((3, 3)))
        areas = np.bincount(labels.ravel())
        areas[np.unique(labels[near[t - 1] > 0])] = 0
        counts[t] = (areas[1:] >= MIN_AREA).sum()
    return counts
