"""Each named object of a video of `occlusion` through time.

With A(t) an object's area and A* its 90th percentile, it is *seen* where A >= 0.4 A* and *gone*
where A < 0.04 A*. Of a video in which it gets out of sight, `leaves` is the first frame in which it
is gone after it was seen, and `returns` the first one after that in which it is not.
"""

import dataclasses

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import both
from sora_jax.evals.worlds.occlusion_expected import SEEN, count_turns
from sora_jax.evals.worlds.occlusion_tracking import Track

FILL_LIMIT = 0.835  # of the bounding rectangle; between a ball's 0.785 and a blurred box's 0.88
MIN_COHERENCE = 0.6  # of a way, the share that leads on, where it does not go to and fro


@dataclasses.dataclass(frozen=True)
class Object:
    """One named object: what is said of it, where it is found, and what its clip shows.

    Attributes:
      index: its number in the truth.
      color, shape, size, story, direction, exit: as the caption states them, of these frames.
      track: where its colour is found.
      usual: A*, its 90th percentile of area in pixels.
      seen, gone: bool[t].
      leaves: g, the frame in which it is gone for the first time; the number of frames if never.
      returns: h, the first frame after g in which it is not gone; the number of frames if never.
      clear: bool[t], whether the simulator's frame shows all of it; for what applies.
      due: bool[t], whether the simulator's frame shows half of it at least.
      twice: whether the simulator's clip shows all of it before and after it was out of sight.
      steps: number of steps in which the simulator's frames show it move before it is gone.
      travels: number of steps in which the simulator's frames show it, before or after.
      turns: how often the simulator's gets into or out of sight.
      starts_gone: whether the simulator's is out of sight in the first frame.
    """

    index: int
    color: str
    shape: str
    size: str
    story: str
    direction: str
    exit: str
    track: Track
    usual: float
    seen: np.ndarray
    gone: np.ndarray
    leaves: int
    returns: int
    clear: np.ndarray
    due: np.ndarray
    twice: bool
    steps: int
    travels: int
    turns: int
    starts_gone: bool

    @property
    def fill(self) -> np.ndarray:
        """Share of its bounding rectangle that it fills, float[t]; nan where there is nothing."""
        box = self.track.width * self.track.height
        return self.track.area / np.maximum(box, 1e-6) + 0 * box

    @property
    def moves(self) -> bool:
        """Whether it moves while it is in sight, before a camera that stands still."""
        return self.direction != "none" and self.story not in ("rests", "edge")

    def is_shape(self, fill: float) -> bool:
        return fill >= FILL_LIMIT if self.shape == "box" else 0.5 < fill < FILL_LIMIT

    def is_coherent(self) -> bool:
        """Whether it keeps its direction, before it gets out of sight and after.

        It may get into or out of sight once more than the simulator's.
        """
        if count_turns(self.gone) > self.turns + 1:
            return False
        x = np.where(self.track.area >= max(0.15 * self.usual, 1), self.track.center[:, 0], np.nan)
        for part in (slice(0, self.leaves), slice(self.returns, None)):
            steps = np.diff(x[part][~np.isnan(x[part])])
            steps = steps[np.abs(steps) > 0.1]
            if len(steps) > 1 and abs(steps.sum()) < MIN_COHERENCE * np.abs(steps).sum():
                return False
        return True

    def find_appearing(self) -> int:
        """Returns the first frame in which it is in sight after it was not.

        It is the number of frames if there is none, or if it is seen before that and the
        simulator's is not.
        """
        t = len(self.gone)
        lost = int(self.gone.argmax()) if self.gone.any() else t
        if self.starts_gone and self.seen[:lost].any():
            return t
        return lost + int((~self.gone[lost:]).argmax()) if not self.gone[lost:].all() else t

    def find_whole(self, part: slice = slice(None)) -> np.ndarray:
        """Whether it is seen in all the width that it has in a part of the frames, bool[t]."""
        width = np.zeros(len(self.seen))
        width[part] = np.where(self.seen & ~self.track.is_cut(), self.track.width, 0.0)[part]
        if not len(width[part]):
            return width > 0
        return (width > 0) & (width >= 0.93 * width.max())


def follow(track: Track, expected: Expected, i: int, suffix: str) -> Object:
    """Reads object i, whose attributes end in `suffix`, where its colour is found."""
    a, truth, t = expected.attributes, expected.truth, len(track.area)
    there = track.area[track.area >= 1]
    usual = float(np.quantile(there, 0.9)) if len(there) else 0.0
    seen = track.area >= max(0.4 * usual, 1.0)
    gone = track.area < max(0.04 * usual, 1.0)
    first = int(seen.argmax()) if seen.any() else t
    leaves = first + int(gone[first:].argmax()) if gone[first:].any() else t
    returns = leaves + int((~gone[leaves:]).argmax()) if (~gone[leaves:]).any() else t
    whole, visible = np.asarray(truth["whole"])[i][:t], np.asarray(truth["visible"])[i][:t]
    most = max(whole.max(), 1)
    moving = visible >= 0.2 * most
    clear = np.asarray(truth["clear"])[i][:t]
    lost = np.flatnonzero(~moving & np.maximum.accumulate(moving))
    end = int(lost[0]) if len(lost) else t
    says = {key: a[key + suffix] for key in ("color", "shape", "size")}
    story = {key: a[key + suffix] for key in ("story", "direction", "exit")}
    return Object(
        index=i,
        **says,
        **story,
        track=track,
        usual=usual,
        seen=seen,
        gone=gone,
        leaves=leaves,
        returns=returns,
        clear=clear,
        due=visible >= SEEN * most,
        twice=len(lost) > 0 and bool(clear[: lost[0]].any() and clear[lost[0] :].any()),
        steps=max(int(moving[:end].sum()) - 1, 0),
        travels=int(both(moving).sum()),
        turns=count_turns(visible == 0),
        starts_gone=bool(visible[0] < 0.04 * most),
    )
