"""What is read in one video of `occlusion`: each named object through time, the wall, the floor.

With A(t) an object's area and A* its 90th percentile, it is *seen* where A >= 0.4 A* and *gone*
where A < 0.04 A*. Of a video in which it gets out of sight, `leaves` is the first frame in which it
is gone after it was seen, and `returns` the first one after that in which it is not.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import occlusion_tracking as tracking
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.occlusion_tracking import Track
from sora_jax.laws import occlusion as laws
from sora_jax.laws.scene import AMBIENT, DIFFUSE, FLOORS

FILL_LIMIT = 0.835  # of the bounding rectangle; between a ball's 0.785 and a blurred box's 0.88
TOUCH = 2.5  # pixels between things that are next to one another


@dataclasses.dataclass(frozen=True)
class Object:
    """One named object: what is said of it, where it is found, and what its clip shows.

    Attributes:
      color, shape, size, story, direction, exit: as the caption states them.
      track: where its colour is found.
      usual: A*, its 90th percentile of area in pixels.
      seen, gone: bool[t].
      leaves: g, the frame in which it is gone for the first time; the number of frames if never.
      returns: h, the first frame after g in which it is not gone; the number of frames if never.
      clear: bool[t], whether the simulator's frame shows all of it; for what applies.
      twice: whether the simulator's clip shows all of it before and after it was out of sight.
      steps: number of steps in which the simulator's frames show it move before it is gone.
    """

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
    twice: bool
    steps: int

    @property
    def fill(self) -> np.ndarray:
        """Share of its bounding rectangle that it fills, float[t]; nan where there is nothing."""
        box = self.track.width * self.track.height
        return self.track.area / np.maximum(box, 1e-6) + 0 * box

    def is_shape(self, fill: float) -> bool:
        return fill >= FILL_LIMIT if self.shape == "box" else 0.5 < fill < FILL_LIMIT

    def find_whole(self, part: slice = slice(None)) -> np.ndarray:
        """Whether it is seen in all the width that it has in a part of the frames, bool[t]."""
        width = np.zeros(len(self.seen))
        width[part] = np.where(self.seen & ~self.track.is_cut(), self.track.width, 0.0)[part]
        if not len(width[part]):
            return width > 0
        return (width > 0) & (width >= 0.93 * width.max())


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the scores need of one video.

    Attributes:
      expected: what it should show.
      size: (frames, height, width).
      objects: those that the caption names.
      wall: where its colour is found.
      solids: saturated things other than the wall, in each frame.
      strange: float[t], the share of saturated pixels whose hue is not named.
      floor: name of the floor whose colour is seen, in each frame; "" for none.
      jumps: float[t - 1], how far the still parts of the picture change from frame to frame,
        in levels.
    """

    expected: Expected
    size: tuple[int, int, int]
    objects: tuple[Object, ...]
    wall: Track
    solids: list[list[tuple[int, np.ndarray, bool]]]
    strange: np.ndarray
    floor: list[str]
    jumps: np.ndarray

    @property
    def is_behind(self) -> bool:
        """Whether something is behind the wall, rather than out of the frame."""
        return self.expected.attributes["event"] in laws.BEHIND

    @property
    def is_steady(self) -> bool:
        """Whether the objects go on at a steady speed while they are hidden."""
        return self.expected.attributes["event"] in ("through", "cross")

    def is_present(self, thing: Object) -> bool:
        """Whether as much of an object is seen as its smallest size allows; edges may be faint."""
        least = math.pi * (min(r for r, _ in laws.RADII.values()) * self.size[2] / 2) ** 2
        return thing.story == "edge" or thing.usual >= 0.3 * least

    def find_gap(self, thing: Object) -> np.ndarray:
        """Returns the horizontal distance in pixels from an object to the wall; inf for none."""
        gap = np.maximum(self.wall.left - thing.track.right, thing.track.left - self.wall.right)
        return np.nan_to_num(gap, nan=np.inf)

    def find_calm(self) -> np.ndarray:
        """Whether nothing has a colour that is not named, bool[t]."""
        named = {tracking.NAMES.index(thing.color) for thing in self.objects}
        calm = np.array([all(hue in named for hue, _, _ in frame) for frame in self.solids])
        return calm & (self.strange <= 0.3)

    def find_wall(self) -> np.ndarray:
        """Whether an upright rectangle of the wall's colour is seen, bool[t]."""
        wall, least = self.wall, 0.015 * self.size[2] ** 2  # its narrowest picture is 0.03
        box = np.nan_to_num(wall.width * wall.height)
        return (wall.area >= least) & (wall.area >= 0.7 * box)

    def shows_scene(self) -> bool:
        """Whether the wall is seen in half of the frames at least, and so is what is named."""
        wall = bool(self.find_wall().mean() >= 0.5)
        return wall and all(self.is_present(thing) for thing in self.objects)


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Finds everything that the scores need in the pixels of one video; see `base`."""
    a = expected.attributes
    hues = tracking.classify_hues(video)
    objects, wall = [], None
    for i, suffix in enumerate(("", "2")):
        if a["color" + suffix] == "none":
            continue
        other = a["color2" if suffix == "" else "color"]
        names = a["floor"], a["wall"], a["color" + suffix], other
        share, wall_share = tracking.unmix(video, hues, *names)
        if wall is None:
            wall = tracking.track(wall_share)
        if a["story" + suffix] != "unseen":
            objects.append(_follow(tracking.track(share), expected, i, suffix))
    assert wall is not None  # every clip has a first object, seen or not
    return Reading(
        expected,
        (video.shape[0], video.shape[1], video.shape[2]),
        tuple(objects),
        wall,
        tracking.find_solids(hues, a["wall"]),
        _find_strange(hues, [a["wall"], *(thing.color for thing in objects)]),
        _name_floors(video, hues),
        _measure_jumps(video, hues),
    )


def _follow(track: Track, expected: Expected, i: int, suffix: str) -> Object:
    a, truth, t = expected.attributes, expected.truth, len(track.area)
    there = track.area[track.area >= 1]
    usual = float(np.quantile(there, 0.9)) if len(there) else 0.0
    seen = track.area >= max(0.4 * usual, 1.0)
    gone = track.area < max(0.04 * usual, 1.0)
    first = int(seen.argmax()) if seen.any() else t
    leaves = first + int(gone[first:].argmax()) if gone[first:].any() else t
    returns = leaves + int((~gone[leaves:]).argmax()) if (~gone[leaves:]).any() else t
    whole, visible = np.asarray(truth["whole"])[i][:t], np.asarray(truth["visible"])[i][:t]
    moving = visible >= 0.2 * max(whole.max(), 1)
    clear = np.asarray(truth["clear"])[i][:t]
    lost = np.flatnonzero(~moving & np.maximum.accumulate(moving))
    end = int(lost[0]) if len(lost) else t
    says = {key: a[key + suffix] for key in ("color", "shape", "size")}
    story = {key: a[key + suffix] for key in ("story", "direction", "exit")}
    return Object(
        **says,
        **story,
        track=track,
        usual=usual,
        seen=seen,
        gone=gone,
        leaves=leaves,
        returns=returns,
        clear=clear,
        twice=len(lost) > 0 and bool(clear[: lost[0]].any() and clear[lost[0] :].any()),
        steps=max(int(moving[:end].sum()) - 1, 0),
    )


def _find_strange(hues: np.ndarray, named: list[str]) -> np.ndarray:
    known = np.isin(hues, [tracking.NAMES.index(name) for name in named])
    colored = (hues >= 0).sum((1, 2))
    return (colored - known.sum((1, 2))) / np.maximum(colored, 1)


def _name_floors(video: np.ndarray, hues: np.ndarray) -> list[str]:
    """Names the floor's colour by the median of the lower half's grey pixels, within 25 levels."""
    lit = AMBIENT + DIFFUSE * laws.LIGHT[2] / math.hypot(*laws.LIGHT)
    names = []
    for frame, hue in zip(video, hues, strict=True):
        grey = frame[len(frame) // 2 :][hue[len(frame) // 2 :] < 0]
        color = np.median(grey, axis=0) if len(grey) else np.zeros(3)
        gaps = {n: float(np.abs(np.multiply(c, lit) - color).max()) for n, c in FLOORS.items()}
        best = min(gaps, key=lambda name: gaps[name])
        names.append(best if gaps[best] <= 25 else "")
    return names


def _measure_jumps(video: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """Measures how far the floor changes between frames, away from everything with a colour.

    A change is averaged over 5 x 5 pixels, so that noise does not count; the value is the 95th
    percentile over the picture, where no coloured thing is within an eighth of its width.
    """
    if len(video) < 2:
        return np.zeros(0)
    reach = 2 * max(video.shape[2] // 8, 2) + 1
    taken = ndimage.maximum_filter((hues >= 0).astype(np.uint8), (1, reach, reach)) > 0
    change = np.diff(video.astype(np.float32).mean(-1), axis=0)
    size: Any = (0, 5, 5)
    change = np.abs(ndimage.uniform_filter(change, size))
    free = ~(taken[1:] | taken[:-1])
    return np.array(
        [
            np.quantile(c[f], 0.95) if f.sum() >= 20 else 0.0
            for c, f in zip(change, free, strict=True)
        ]
    )


def find_worst(reading: Reading, measure: Callable[[Reading, Object], float]) -> float:
    """Returns the least value of the named objects to which it applies; nan for none."""
    values = [measure(reading, thing) for thing in reading.objects]
    return min((v for v in values if not math.isnan(v)), default=math.nan)
