"""Reading of one video of the ballistics world: what is expected of it, and what it shows.

From text alone the expected objects are those of the caption, known by their colours, and places
are not compared. Frames whose background is not the named one show nothing.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable

import numpy as np

from sora_jax.evals.worlds.ballistics_hits import find_collisions, find_rebounds
from sora_jax.evals.worlds.ballistics_motion import Path, count_jumps, measure_gravity
from sora_jax.evals.worlds.ballistics_tracks import Tracks, find_objects
from sora_jax.evals.worlds.ballistics_window import Window, look_at_truth
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import both, measure_smoothness
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS

LEAST_SEEN = 0.5  # of the frames in which the simulator's object is in sight
FLOOR = 0.03  # units above the frame's lower edge: what is that near may rest on it
MOVES = 0.03  # units; an object that stays within this lies still
STAGE_LEVELS = 25  # of 0..255: largest difference of the background from the named one
STAGE_SHARE = 0.35  # of a frame's pixels that must show the background


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one video shows of what is expected of it.

    Attributes:
      expected: what it should show.
      objects: colour, shape, size and direction of each expected object.
      start: first frame that is read, the last given one: laws of given frames are not the
        video's own.
      stage: [t], whether the frames from `start` on show the named background.
      tracks: where the video shows the objects in these frames; nothing where there is no stage.
      paths: their motion in the video.
      window: what the simulator shows.
      smooth: how steadily the picture goes on, see `continuity.measure_smoothness`.
    """

    expected: Expected
    objects: list[dict[str, str]]
    start: int
    stage: np.ndarray
    tracks: Tracks
    paths: list[Path]
    window: Window
    smooth: float

    @property
    def frames(self) -> int:
        """Number of frames of the simulator's clip that are read."""
        return len(self.expected.truth["position"]) - self.start

    def names(self, attribute: str) -> list[int]:
        """Returns the indices of the objects whose colours an attribute lists."""
        listed = self.expected.attributes[attribute].split(", ")
        return [i for i, thing in enumerate(self.objects) if thing["color"] in listed]

    @property
    def is_due(self) -> bool:
        """Whether the simulator shows any object in a frame that was not given."""
        return bool(self.window.in_sight.any())

    @property
    def new(self) -> slice:
        """The read frames that were not given."""
        return slice(self.expected.given - self.start, None)

    @functools.cached_property
    def seen(self) -> np.ndarray:
        """Whether each object is seen [t, n]."""
        return self.tracks.area > 0

    @functools.cached_property
    def left(self) -> np.ndarray:
        """Whether each object has left [t, n]: not seen, and last seen at the edge.

        What is less than 1.5 of its last steps from the edge is at the edge too: it may cross it
        between two frames. Nothing leaves where the caption says that the edges reflect.
        """
        seen, at_edge = self.seen, self.tracks.cut.copy()
        center, extent = self.tracks.center, self.tracks.extent
        if len(center) > 1:
            ahead = center[1:] + 1.5 * np.nan_to_num(np.diff(center, axis=0))
            with np.errstate(invalid="ignore"):
                beyond = (ahead + extent[..., 1] > self.tracks.room) | (ahead < extent[..., 0])
            at_edge[1:] |= beyond.any(-1)
        left = np.zeros_like(seen)
        if self.expected.attributes["walls"] == "yes":
            return left
        for i in range(1, len(seen)):
            left[i] = ~seen[i] & (left[i - 1] | (seen[i - 1] & at_edge[i - 1]))
        return left

    @functools.cached_property
    def presence(self) -> np.ndarray:
        """How much is seen of each object [n] in the new frames, 0 to 1.

        It is the smaller one of two shares: of the frames that show the background, and the object
        unless it has left; and of the number of frames in which the simulator's object is in
        sight, or `LEAST_SEEN` of them from text alone, which does not say when an object leaves.
        An object that the simulator does not show is nan.
        """
        least = (
            1.0 if self.expected.given or self.expected.attributes["walls"] == "yes" else LEAST_SEEN
        )
        wanted = least * self.window.in_sight.sum(0)
        staged = ((self.seen | self.left) & self.stage[:, None])[self.new]
        shares = staged.sum(0) / max(len(staged), 1)
        seen = self.seen[self.new].sum(0) / np.maximum(wanted, 0.5)
        return np.where(wanted > 0, np.minimum(np.minimum(shares, seen), 1), np.nan)

    def count_due(self) -> np.ndarray:
        """Counts the new frames [n] in which each object should be whole.

        They are those of the simulator where given frames tell when an object leaves, or those of
        the video in which it has not left and is not cut, if these are more.
        """
        due = (~self.left & (self.tracks.whole | ~self.seen))[self.new].sum(0)
        known = self.window.whole.sum(0)
        return np.maximum(due, known if self.expected.given else np.minimum(known, 1))


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video; see `base`. Of given frames, only the last one is read."""
    attributes = expected.attributes
    values = [attributes[key].split(", ") for key in ("colors", "shapes", "sizes", "directions")]
    objects = [
        {"color": color, "shape": shape, "size": size, "direction": direction}
        for color, shape, size, direction in zip(*values, strict=True)
    ]
    start = max(expected.given - 1, 0)
    video = video[min(start, len(video) - 1) :]
    ground = np.array(BACKGROUNDS[attributes["background"]], np.int16)
    near = (np.abs(video - ground) <= STAGE_LEVELS).all(-1)
    stage = near.mean((1, 2)) >= STAGE_SHARE
    tracks = find_objects(video, *values[:2])
    tracks = dataclasses.replace(
        tracks,
        center=np.where(stage[:, None, None], tracks.center, np.nan),
        area=np.where(stage[:, None], tracks.area, 0),
        whole=tracks.whole & stage[:, None],
    )
    falls = attributes["gravity"] == "yes"
    paths = []
    for i, whole in enumerate(tracks.whole.T):
        area = float(np.median(tracks.area[whole, i])) if whole.any() else 0.0
        radius, room = math.sqrt(area / math.pi), tracks.room
        center, extent = tracks.center[:, i], tracks.extent[i]
        paths.append(Path(center, whole, extent, radius, falls, room, expected.fps))
    window = look_at_truth(expected)
    smooth = measure_smoothness(video, _find_moving(paths, window), leaps=2)
    return Reading(expected, objects, start, stage, tracks, paths, window, smooth)


def _find_moving(paths: list[Path], window: Window) -> np.ndarray:
    """Finds the steps [t - 1] in which a moving object is in sight, and on no floor."""
    moving = np.zeros(len(paths[0].whole) - 1, bool)
    for path, moves in zip(paths, window.moves, strict=True):
        with np.errstate(invalid="ignore"):
            lies = path.center[:, 1] + path.extent[1, 1] > path.room[1] - FLOOR
        seen = ~np.isnan(path.center[:, 0])
        free = seen & ~lies if path.falls else seen
        moving |= both(free) & moves
    return moving


def average(values: Iterable[float] | np.ndarray) -> float:
    """Averages values; nan without any."""
    known = list(values)
    return float(np.mean(known)) if known else math.nan


def classify_motion(paths: list[Path]) -> str:
    """Names the class of motion: rest, slide, fall, bounce, collide, or 'none' of them."""
    if not all(path.whole[:3].any() for path in paths):
        return "none"
    for path in paths:
        if count_jumps(path, [other for other in paths if other is not path]):
            return "none"
    if any(find_collisions(*pair) for pair in itertools.combinations(paths, 2)):
        return "collide"
    if any(find_rebounds(path) for path in paths):
        return "bounce"
    if all(np.ptp(path.center[path.whole], axis=0).max() < MOVES for path in paths):
        return "rest"
    pulls = [measure_gravity(path) for path in paths]
    if any(pull is not None and pull[1] > laws.GRAVITY / 2 for pull in pulls):
        return "fall"
    return "slide"
