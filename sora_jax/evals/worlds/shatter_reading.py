"""What a video of the shattering world shows, beside what it should show; see `shatter`.

Lengths are in units of `sora_jax.laws.shatter`, y down.
"""

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.base import Expected, grade
from sora_jax.evals.worlds.shatter_parts import Part
from sora_jax.laws import shatter as laws

MIN_GROUND, MAX_STRANGE = 0.35, 0.12  # shares of a frame's pixels, if it shows the scene
TARGET = (0.5, 1.8)  # area of a target that is seen, over that of the simulator's in the frame
MOVED = 0.06  # share of a broken target's pixels that it has left, at least
STILL = 0.004  # units or radians from frame to frame: what moves less stands still
BALL = 0.7  # share of the simulator's frames in which a ball has to be seen, since it may be faster


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one video shows; t is the number of frames that are expected.

    Attributes:
      expected: what the video should show.
      size: (width, height) of the frame, units.
      unit: pixels a unit.
      ball, target: what is shown in their colours.
      strange: [t], share of the pixels that are on no line.
      ground: [t], share of the pixels above the floor that have the background's colour.
      base: [t], share of the pixels below the floor's surface that have its colour.
      ledge: [t], share of the columns in which wood goes on above the floor's surface.
      others: [t], whether another colour of the palette is seen.
      changes: [t - 1], mean change of the background's pixels from frame to frame, levels.
      video: uint8[t, h, w, 3].
      blots: bool[t], whether a thing is seen that the scene has no place for.
    """

    expected: Expected
    size: tuple[float, float]
    unit: float
    ball: Part
    target: Part
    strange: np.ndarray
    ground: np.ndarray
    base: np.ndarray
    ledge: np.ndarray
    others: np.ndarray
    changes: np.ndarray
    video: np.ndarray
    blots: np.ndarray

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.strange)

    @property
    def floor(self) -> float:
        """The floor's y."""
        return self.size[1] - laws.FLOOR

    @property
    def impact(self) -> float:
        """The simulator's impact, in frames; below 0 before the window."""
        return float(self.expected.truth["impact"])

    @property
    def new(self) -> np.ndarray:
        """Which frames were not given, bool[t]."""
        return np.arange(self.frames) >= self.expected.given

    @property
    def first(self) -> int:
        """The last given frame, the reference of what follows; frame 0 if none is given."""
        return max(self.expected.given - 1, 0)

    @functools.cached_property
    def shown(self) -> float:
        """How much of the scene is seen, 0 to 1; nan without a new frame.

        It is 1 if at most a tenth of the new frames do not show the background and the target or
        its pieces, 0 from a half on; and it falls with the leap from the last given frame.
        """
        if not self.new.any():
            return math.nan
        scene = (self.ground >= MIN_GROUND) & (self.strange <= MAX_STRANGE)
        area = self.share_inside * np.asarray(self.expected.truth["areas"], float).sum()
        low, high = TARGET
        target = (self.target.area >= low * area) & (self.target.area <= high * area.max())
        missing = float((~(scene & target))[self.new].mean())
        return grade(missing, 0.1, 0.5) * grade(self._leap, 0.25, 0.6)

    @functools.cached_property
    def ball_shown(self) -> float:
        """How much of the ball is seen, 0 to 1: 1 also where the simulator's is in no new frame.

        From text alone a ball that moves away from its target may be in the frame for a moment.
        """
        wanted = float(BALL * (self.ball_whole & self.new).sum())
        if not wanted:
            return 1.0
        if not self.expected.given and self.impact < 0:
            wanted = min(wanted, 1.0)
        seen = (self.ball.count > 0) & self.new
        return grade(1 - float(seen.sum() / wanted), 0.1, 0.5)

    @functools.cached_property
    def ball_whole(self) -> np.ndarray:
        """In which frames the simulator's ball is wholly in the frame, bool[t]."""
        return self.find_whole_ball(0.0)

    def find_whole_ball(self, margin: float) -> np.ndarray:
        """Returns in which frames the simulator's ball is that far (units) within it, bool[t]."""
        center = np.asarray(self.expected.truth["ball"])
        inset = self.expected.truth["radius"] + margin
        return ((center > inset) & (center < np.array(self.size) - inset)).all(1)

    @functools.cached_property
    def share_inside(self) -> np.ndarray:
        """Share [t] of the area of the simulator's pieces whose centres are in the frame."""
        x = np.asarray(self.expected.truth["poses"])[..., 0]
        areas = np.asarray(self.expected.truth["areas"], float)
        return ((x > 0) & (x < self.size[0])) @ areas / areas.sum()

    @functools.cached_property
    def _leap(self) -> float:
        """Share of the target's outline that is not where the last given frame has it.

        It counts while the simulator's target does not move, and is 0 without given frames.
        """
        given = self.expected.given
        if not 0 < given < self.frames:
            return 0.0
        poses = np.asarray(self.expected.truth["poses"])
        if np.abs(poses[given] - poses[given - 1]).max() > STILL:
            return 0.0
        before, after = (self.target.share[t] >= 0.5 for t in (given - 1, given))
        free = ~(self._near_ball[given - 1] | self._near_ball[given])
        either = (before | after) & free
        return float(((before ^ after) & free).sum() / max(either.sum(), 1))

    @functools.cached_property
    def _near_ball(self) -> np.ndarray:
        """Which pixels are the ball's or beside it, bool[t, h, w]."""
        size = 2 * int(0.04 * self.unit) + 3
        ball = self.ball.share > 0.1
        return ndimage.maximum_filter(ball.view(np.uint8), (1, size, size), mode="constant") > 0

    @functools.cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The highest and the lowest y, [t], of pixels that the target half covers, or nan."""
        rows = np.any(self.target.share >= 0.5, axis=2)
        seen, height = rows.any(1), rows.shape[1]
        top, bottom = rows.argmax(1), height - rows[:, ::-1].argmax(1)
        top, bottom = (np.where(seen, edge, np.nan) / self.unit for edge in (top, bottom))
        return top, bottom

    @functools.cached_property
    def intact(self) -> np.ndarray:
        """Whether the target is whole on its stand, bool[t]: one piece of its shape up there."""
        columns = np.any(self.target.share >= 0.5, axis=1)
        width = columns.shape[1] - columns[:, ::-1].argmax(1) - columns.argmax(1)
        top, bottom = self.edges
        with np.errstate(invalid="ignore"):
            aspect = width / self.unit / np.maximum(bottom - top, 1e-6)
            pane = self.expected.attributes["target"] == "pane"
            shape = (aspect < 0.45) if pane else (aspect > 0.5) & (aspect < 0.85)
            above = self.floor - bottom > 0.14
        return (self.target.count == 1) & shape & above

    @functools.cached_property
    def moved(self) -> np.ndarray:
        """Share of the target's pixels that it has left, [t], but for those beside the ball.

        They are those of the last given frame, or of the first frame if none is given.
        """
        share = self.target.share
        before = share[min(self.first, self.frames - 1)] > 0.7
        away = before & (share < 0.35) & ~self._near_ball
        return away.sum((1, 2)) / max(before.sum(), 1)

    @functools.cached_property
    def broken(self) -> int:
        """First frame in which the target is broken; the number of frames for never."""
        away = self.moved > MOVED
        return int(np.argmax(away)) if away.any() else self.frames

    @property
    def may_lie(self) -> np.ndarray:
        """In which frames there are pieces that a ball may lie on, bool[t]."""
        begins = 0 if self.expected.truth["breaks"] and self.impact < 0 else self.broken
        return np.arange(self.frames) >= begins

    @functools.cached_property
    def gaps(self) -> np.ndarray:
        """Distance [t] from the ball's edge to the target in the same frame, or infinity."""
        return np.array([self.gap(frame, frame) for frame in range(self.frames)])

    def gap(self, frame: int, reference: int) -> float:
        """Distance from the ball's edge in a frame to the target in another, or infinity."""
        if not self.ball.count[frame] or not self.target.count[reference]:
            return math.inf
        rows, columns = np.nonzero(self.target.share[reference] >= 0.5)
        x, y = self.ball.centers[frame][0]
        distance = np.hypot((columns + 0.5) / self.unit - x, (rows + 0.5) / self.unit - y).min()
        return float(distance - math.sqrt(self.ball.areas[frame][0] / math.pi))
