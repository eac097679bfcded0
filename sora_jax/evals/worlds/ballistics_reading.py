"""Reading of one video of the ballistics world: what is expected, what is seen, what applies.

From text alone the expected objects are those of the caption, known by their colours, and places
are not compared. Whether a window shows enough of a flight, bounce or collision to be measured is
decided by the same measurement on the simulator's positions.
"""

import dataclasses
import itertools
import math

import numpy as np

from sora_jax.evals.worlds.ballistics_motion import (
    Path,
    count_jumps,
    find_collisions,
    find_rebounds,
    measure_gravity,
)
from sora_jax.evals.worlds.ballistics_tracks import Tracks, find_objects
from sora_jax.evals.worlds.base import Expected
from sora_jax.laws import ballistics as laws

MOVES = 0.03  # units; an object that stays within this lies still


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one video shows of what is expected of it.

    Attributes:
      expected: what it should show.
      objects: colour, shape, size and direction of each expected object.
      start: first frame that is read, the last given one: laws of given frames are not the
        video's own.
      tracks: where the video shows them, from there on.
      paths: their motion in the video.
      true_paths: their motion in the simulator.
    """

    expected: Expected
    objects: list[dict[str, str]]
    start: int
    tracks: Tracks
    paths: list[Path]
    true_paths: list[Path]

    @property
    def frames(self) -> int:
        """Number of frames of the simulator's clip that are read."""
        return len(self.expected.truth["position"]) - self.start

    def names(self, attribute: str) -> list[int]:
        """Returns the indices of the objects whose colours an attribute lists."""
        listed = self.expected.attributes[attribute].split(", ")
        return [i for i, thing in enumerate(self.objects) if thing["color"] in listed]

    def seen(self) -> np.ndarray:
        """Returns whether each object is seen [t, n]."""
        return self.tracks.area > 0

    def left(self) -> np.ndarray:
        """Returns whether each object has left [t, n]: not seen, and last seen at the edge.

        What is less than 1.5 of its last steps from the edge is at the edge too: it may cross it
        between two frames. Nothing leaves where the caption says that the edges reflect.
        """
        seen, at_edge = self.seen(), self.tracks.cut.copy()
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

    def due(self) -> np.ndarray:
        """Returns whether each object should be whole [t, n]: it has not left and is not cut."""
        return ~self.left() & (self.tracks.whole | ~self.seen())


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video; see `base`. Of given frames, only the last one is read."""
    attributes = expected.attributes
    values = [attributes[key].split(", ") for key in ("colors", "shapes", "sizes", "directions")]
    objects = [
        {"color": color, "shape": shape, "size": size, "direction": direction}
        for color, shape, size, direction in zip(*values, strict=True)
    ]
    start = max(expected.given - 1, 0)
    tracks = find_objects(video[min(start, len(video) - 1) :], *values[:2])
    falls = attributes["gravity"] == "yes"
    paths = []
    for i, whole in enumerate(tracks.whole.T):
        area = float(np.median(tracks.area[whole, i])) if whole.any() else 0.0
        radius, room = math.sqrt(area / math.pi), tracks.room
        center, extent = tracks.center[:, i], tracks.extent[i]
        paths.append(Path(center, whole, extent, radius, falls, room, expected.fps))
    true_paths = [_follow_truth(expected, start, i, shape) for i, shape in enumerate(values[1])]
    return Reading(expected, objects, start, tracks, paths, true_paths)


def _follow_truth(expected: Expected, start: int, i: int, shape: str) -> Path:
    truth = expected.truth
    radius, angle = float(truth["radius"][i]), float(truth["angle"][i])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    corners = laws.outline(shape) @ (np.eye(2) if shape == "ball" else turn) * radius
    return Path(
        center=np.asarray(truth["position"], float)[start:, i],
        whole=np.asarray(truth["whole"], bool)[start:, i],
        extent=np.stack([-corners.min(0), corners.max(0)], 1),
        radius=radius * math.sqrt(laws.area(shape) / math.pi),
        falls=expected.attributes["gravity"] == "yes",
        room=np.asarray(truth["room"], float),
        fps=expected.fps,
    )


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
