"""What a video of phyworld shows, beside what it should show; see `phyworld`."""

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import label_parts
from sora_jax.evals.worlds.phyworld_parser import Ball, crop_world, find_painted, read_balls
from sora_jax.evals.worlds.tracking import MIN_AREA, TOLERANCE
from sora_jax.laws import phyworld as laws

MOVING = 0.1  # units/s: slower balls are at rest
NEAR = 0.8  # units: a larger least gap is no meeting; 0.6 are possible between two frames
INK = 100.0  # of 0..441: least distance from white of what is painted
JUMP = 0.9  # units from frame to frame: no ball moves faster (6 units/s to the right, 6 down)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one video shows.

    Attributes:
      frames: of the clip that is expected, and of all that follows.
      expected: what the video should show.
      balls: the expected balls, red first.
      others: bool[t], whether a ball that is not expected is seen.
      strange: float[t], share of the pixels that are neither white, a ball's, nor between both.
      appear: int[t], components that appear away from all that was painted a frame before.
    """

    frames: int
    expected: Expected
    balls: tuple[Ball, ...]
    others: np.ndarray
    strange: np.ndarray
    appear: np.ndarray

    @functools.cached_property
    def new(self) -> np.ndarray:
        """Which frames were not given, bool[t]."""
        return np.arange(self.frames) >= self.expected.given

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
        """Frame in which the balls meet; the number of frames if they never come near."""
        least = self.gap.min()
        return int(np.argmax(self.gap <= least + 0.04)) if least < NEAR else self.frames

    def wanted(self, ball: int) -> np.ndarray:
        """Returns in which frames the simulator's ball is wholly in view, bool[t]."""
        return np.asarray(self.expected.truth["in_view"])[:, ball].astype(bool)

    @property
    def touch(self) -> float:
        """When the simulator's balls touch, in frames; infinite for never."""
        touch = float(self.expected.truth["touch"])
        return (touch - laws.STEP) * laws.FPS if touch >= 0 else math.inf

    @property
    def moves(self) -> bool:
        """Whether all of the simulator's balls are clearly faster than `MOVING`."""
        speed = np.abs(np.asarray(self.expected.truth["velocity"])[0, :, 0])
        return self.frames > 1 and bool((speed > 2 * MOVING).all())


def read_video(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video uint8[t, h, w, 3]."""
    world = crop_world(video, len(expected.truth["position"]))
    painted = find_painted(world)
    balls = read_balls(world, list(laws.BALLS))
    count = len(expected.truth["radius"])
    offset = world[painted].astype(np.float32) - np.array(laws.WHITE, np.float32)
    away = np.full(len(offset), np.inf)
    for color in list(laws.BALLS.values())[:count]:
        axis = np.subtract(color, laws.WHITE).astype(np.float32)
        share = np.clip(offset @ axis / (axis @ axis), 0, 1)
        away = np.minimum(away, np.linalg.norm(offset - share[:, None] * axis, axis=1))
    strange, ink = np.zeros_like(painted), np.zeros_like(painted)
    strange[painted] = away > TOLERANCE
    ink[painted] = np.linalg.norm(offset, axis=1) > INK
    return Reading(
        frames=len(world),
        expected=expected,
        balls=tuple(balls[:count]),
        others=np.any([ball.seen for ball in balls[count:]] or [np.zeros(len(world), bool)], 0),
        strange=strange.mean((1, 2)),
        appear=_count_appearing(ink),
    )


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
