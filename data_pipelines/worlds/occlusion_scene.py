"""What a run of `occlusion` is: things on their paths, a wall, a camera, and what is out of sight.

Lengths are units of `sora_jax.laws.occlusion`; times are frames from the moment when the first
object is hidden, or out of the frame; speeds are units a frame.
"""

import dataclasses
import math

import numpy as np

from sora_jax.laws import occlusion as laws

CAMERA_Y = -laws.DISTANCE * math.cos(math.radians(laws.TILT))
CAMERA_Z = laws.TARGET + laws.DISTANCE * math.sin(math.radians(laws.TILT))


@dataclasses.dataclass(frozen=True)
class Path:
    """Where something is: at `pivot` at `time`, before which it moves at `speed`.

    After that it goes on ("steady"), comes back at the same speed ("turn") or stays ("stop"); a
    path of speed 0 is a place.
    """

    kind: str
    pivot: float
    speed: float
    time: float

    def at(self, time: np.ndarray) -> np.ndarray:
        since = time - self.time
        if self.kind == "turn":
            since = -np.abs(since)
        elif self.kind == "stop":
            since = np.minimum(since, 0)
        return self.pivot + self.speed * since

    def mirror(self) -> "Path":
        return dataclasses.replace(self, pivot=-self.pivot, speed=-self.speed)


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object: a ball of a radius or a box of that half side, on the floor at y = lane."""

    color: str
    shape: str
    size: str
    radius: float
    lane: float
    path: Path


@dataclasses.dataclass(frozen=True)
class Wall:
    """A wall: its middle (x, y) on the floor, half its width, and its height."""

    color: str
    x: float
    y: float
    half: float
    height: float


@dataclasses.dataclass(frozen=True)
class Pan:
    """A camera that turns by `speed` radians a frame up to `reach` at `time`, and back."""

    speed: float = 0.0
    reach: float = 0.0
    time: float = 0.0

    def at(self, time: np.ndarray) -> np.ndarray:
        """Returns the angle in radians by which the camera looks to the right of y."""
        left = self.reach - abs(self.speed) * np.abs(time - self.time)
        return math.copysign(1, self.speed) * np.maximum(left, 0)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A run: its event, what is in it, when its clip starts, and when the first object is hidden.

    `until` is the time at which the first object's hidden time ends, inf if it never does.
    """

    event: str
    floor: str
    things: tuple[Thing, ...]
    wall: Wall
    pan: Pan
    start: float
    until: float


def find_hidden_span(wall: Wall, shape: str, radius: float, lane: float) -> tuple[float, float]:
    """Returns the least and the greatest x of an object of which the wall leaves nothing in sight.

    The camera's lines of sight past the wall's two upright edges bound a wedge behind it. A ball is
    inside while its middle is a radius away from both, a box while its corners are inside.
    """
    span = []
    for side in (-1, 1):
        edge = side * wall.x + wall.half  # as if on the right
        y = wall.y - _find_depth(edge)
        tangent = edge / (y - CAMERA_Y)
        room = radius * math.hypot(1, tangent) if shape == "ball" else radius * (1 + abs(tangent))
        span.append(side * (tangent * (lane - CAMERA_Y) - room))
    return span[0], span[1]


def _find_depth(edge: float) -> float:
    """Returns how far before the wall's middle the edge stands that bounds the view past it."""
    return math.copysign(laws.WALL_DEPTH / 2, edge)


def find_edge(radius: float) -> float:
    """Returns how far from the middle of the frame an object of the first lane is out of sight.

    Its shadow and the back of a box, up to two radii farther than the lane, are out, too.
    """
    return 1 + 2 * radius / laws.DISTANCE
