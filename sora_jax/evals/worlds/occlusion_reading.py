"""What is read in one video of `occlusion`: each named object through time, the wall, the floor.

Frames are read from the last given one on, and compared with what the simulator shows from there
on (`occlusion_expected`); the given one serves only as the state from which the others go on.

"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import occlusion_tracking as tracking
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import both, measure_smoothness
from sora_jax.evals.worlds.morphology import find_blots
from sora_jax.evals.worlds.occlusion_expected import cut, find_turning
from sora_jax.evals.worlds.occlusion_object import Object, follow
from sora_jax.evals.worlds.occlusion_tracking import Track
from sora_jax.evals.worlds.tracking import measure_light
from sora_jax.laws import occlusion as laws
from sora_jax.laws.scene import AMBIENT, DIFFUSE, FLOORS

TOUCH = 2.5  # pixels between things that are next to one another
MAX_SLANT = 0.06  # of a wall's upright side
MIN_WALL = 0.5  # share of its rectangle that a wall fills at least; an object may pass before it
MOVING = 0.15  # of its usual area, of an object that is seen to move
DARK = 0.45  # of the floor in full light; its shadows have AMBIENT = 0.55
FULL = 0.7  # share of a pixel that an object fills whose light is measured
MAX_FLOOR_GAP = 14.0  # levels between a floor's colour and its picture, in each channel


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the scores need of one video.

    Attributes:
      expected: what it should show in the frames that are read.
      whole: what all of it should show.
      first: the first frame that was not given, 0 or 1.
      count: frames that were not given and should be seen.
      size: (frames, height, width).
      objects: those that the caption names.
      wall: where its colour is found.
      solids: saturated things other than the wall, in each frame.
      strange: float[t], the share of saturated pixels whose hue is not named.
      floor: name of the floor whose colour is seen, in each frame; "" for none.
      jumps: float[t - 1], how far the still parts of the picture change from frame to frame,
        in levels.
      light: by how much objects are brighter at the top, see `tracking.measure_light`.
      smooth: how steadily the picture goes on, see `continuity.measure_smoothness`.
      blots: bool[t], whether a grey thing is seen that is darker than the floor's shadows.
    """

    expected: Expected
    whole: Expected
    first: int
    count: int
    size: tuple[int, int, int]
    objects: tuple[Object, ...]
    wall: Track
    solids: list[list[tuple[int, np.ndarray, bool]]]
    strange: np.ndarray
    floor: list[str]
    jumps: np.ndarray
    light: float
    smooth: float
    blots: np.ndarray

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

    def limit_due(self, thing: Object, frames: int) -> int:
        """Limits the frames in which an object should be seen to what the prompt tells.

        Given frames tell where it is and how fast, so that the simulator's count holds. From text
        alone only what stays in sight has to be seen in as many; of anything else nothing says when
        it gets out of sight or into it, so that a single frame is enough.
        """
        tells = self.whole.given > 0 or thing.story in ("seen", "rests")
        return frames if tells else min(frames, 1)

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
        full = (wall.area >= least) & (wall.area >= MIN_WALL * box)
        return full & self._upright

    @functools.cached_property
    def _upright(self) -> np.ndarray:
        slants = [tracking.measure_slant(frame) for frame in self.wall.share]
        return np.array(slants) <= MAX_SLANT

    def find_scene(self) -> np.ndarray:
        """Whether the wall and the named floor are seen, bool[t]."""
        floor = np.array([name == self.expected.attributes["floor"] for name in self.floor])
        return floor & self.find_wall()

    def measure_share(self, seen: np.ndarray) -> float:
        """Returns the share of the frames that should be seen, without the given one."""
        return float(seen[self.first :].sum() / self.count)

    def measure_shown(self) -> float:
        """Returns what is seen of what should be.

        It is the squared share of the frames that show the wall and the floor, times the least
        share of the frames that show an object, of those that should (`limit_due`).
        """
        shares = [1.0]
        for thing in self.objects:
            due = self.limit_due(thing, int(thing.due[self.first :].sum()))
            if due and thing.story != "edge":
                shares.append(min(float(thing.seen[self.first :].sum()) / due, 1.0))
        return self.measure_share(self.find_scene()) ** 2 * min(shares)


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Finds everything that the scores need in the pixels of one video; see `base`."""
    length = np.asarray(expected.truth["visible"]).shape[1]
    given = min(expected.given, len(video) - 1, length - 1)
    start = max(given - 1, 0)
    video, own = video[start:], cut(expected, start)
    a = own.attributes
    hues = tracking.find_colors(video)
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
            objects.append(follow(tracking.track(share), own, i, suffix))
    assert wall is not None  # every clip has a first object, seen or not
    return Reading(
        own,
        expected,
        given - start,
        max(length, start + len(video)) - given,
        (video.shape[0], video.shape[1], video.shape[2]),
        tuple(objects),
        wall,
        tracking.find_solids(hues, a["wall"]),
        _find_strange(hues, [a["wall"], *(thing.color for thing in objects)]),
        _name_floors(video, hues),
        _measure_jumps(video, hues),
        _measure_light(video[given - start :], objects, given - start),
        measure_smoothness(video, _find_moving(objects, len(video), own)),
        find_blots((hues < 0) & (video.mean(-1) < DARK * np.mean(FLOORS[a["floor"]]))),
    )


def _find_moving(objects: list[Object], frames: int, expected: Expected) -> np.ndarray:
    """Finds the steps [t - 1] in which an object that moves is in sight, or the camera turns.

    From text alone a camera that stops may do so at any time.
    """
    turning = find_turning(expected)
    moving = np.full(frames - 1, len(turning) > 0 and bool(turning.all()))
    for thing in objects:
        if thing.moves and expected.attributes["event"] != "pan":
            moving |= both(thing.track.area >= max(MOVING * thing.usual, 1.0))
    return moving


def _measure_light(video: np.ndarray, objects: list[Object], first: int) -> float:
    full = [thing.track.share[first:] >= FULL for thing in objects]
    return measure_light(video, np.stack(full)) if full else math.nan


def _find_strange(hues: np.ndarray, named: list[str]) -> np.ndarray:
    known = np.isin(hues, [tracking.NAMES.index(name) for name in named])
    colored = (hues >= 0).sum((1, 2))
    return (colored - known.sum((1, 2))) / np.maximum(colored, 1)


def _name_floors(video: np.ndarray, hues: np.ndarray) -> list[str]:
    """Names the floor's colour by the median of the lower half's grey pixels."""
    lit = AMBIENT + DIFFUSE * laws.LIGHT[2] / math.hypot(*laws.LIGHT)
    names = []
    for frame, hue in zip(
        video[:, video.shape[1] // 2 :: 2, ::2], hues[:, hues.shape[1] // 2 :: 2, ::2], strict=True
    ):
        grey = frame[hue < 0]
        color = np.median(grey, axis=0) if len(grey) else np.zeros(3)
        gaps = {n: float(np.abs(np.multiply(c, lit) - color).max()) for n, c in FLOORS.items()}
        best = min(gaps, key=lambda name: gaps[name])
        names.append(best if gaps[best] <= MAX_FLOOR_GAP else "")
    return names


def _measure_jumps(video: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """Measures how far the floor changes between frames, away from everything with a colour.

    A change is averaged over 5 x 5 pixels, so that noise does not count; the value is the 95th
    percentile over the picture, where no coloured thing is within an eighth of its width.
    """
    if len(video) < 2:
        return np.zeros(0)
    taken = tracking.spread(hues >= 0, max(video.shape[2] // 8, 2))
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
