"""Laws of the world `orbit`: a camera moves around, past or towards solids on a tiled floor.

Lengths are in units of the scene, angles in degrees, unless a name says otherwise. x points right
and y away on the floor, z up. The camera's focal length is `FOCAL` times the short side of the
frame, so that a square in the middle of every canvas shows the same part of the scene.

The camera looks down by a constant tilt. Its place along its path is one number u, which grows by
a constant speed and, at the ends of the path, turns round at once:

- orbit: u is the angle by which the camera has circled to its left about the vertical through the
  target, which it keeps looking at; the circle has no end.
- pan: u is the angle by which the camera, standing still, has turned to its left.
- dolly: u is the length by which the camera has come closer to the target, along its optical axis.
"""

import itertools
import math

import numpy as np

from sora_jax.laws import scene

FOCAL = 1.35  # focal length, of the short side of the frame: 40.6 degrees of view
TARGET_HEIGHT = 0.4  # the target is this high above the middle of the scene
TILT = (23.0, 31.0)  # degrees by which the camera looks down

SOLIDS = {  # half width and half height, of the clip's radius
    "cube": (0.85, 0.85),
    "ball": (1.0, 1.0),
    "cylinder": (0.8, 1.2),
    "pole": (0.42, 1.55),
}
FLOORS = {  # RGB of the tiles and of the other tiles, in full light
    "white": ((250, 250, 250), (218, 218, 218)),
    "beige": ((238, 227, 204), (206, 194, 168)),
    "light grey": ((204, 204, 204), (174, 174, 174)),
    "dark grey": ((104, 104, 104), (80, 80, 80)),
}
TILE = 0.5  # side of a tile
FLOOR_LIGHT = scene.AMBIENT + scene.DIFFUSE * scene.LIGHT[2] / math.hypot(*scene.LIGHT)
# brightness of the floor, on which the light falls at a slant

COUNTS = {1: 0.12, 2: 0.33, 3: 0.33, 4: 0.22}  # solids: share of the clips
OUTSIDE_COUNT = 5
RADIUS = {1: 0.46, 2: 0.41, 3: 0.38, 4: 0.36, 5: 0.33}  # by count of solids, times RADIUS_SPREAD
RADIUS_SPREAD = (0.95, 1.05)
CIRCLE = {1: 0.45, 2: 0.62, 3: 0.76, 4: 0.86, 5: 0.98}  # radius on which standing solids stand

MOVING_SHARE = 0.55  # of the clips of at least MIN_COUNT_MOVING solids, one of them moves
MIN_COUNT_MOVING = 3
PATHS = ("line", "circle")  # a ball rolls along a straight line, or around the other solids
BALL_SPEED = (0.25, 0.5)  # units a second along its path

MOTIONS = ("orbit", "pan", "dolly")
SPEEDS = {  # speed of the camera: degrees a second, or units a second for the dolly
    "orbit": {"slow": (10.0, 16.0), "quick": (28.0, 42.0), "very quick": (60.0, 80.0)},
    "pan": {"slow": (6.0, 9.0), "quick": (15.0, 22.0), "very quick": (36.0, 46.0)},
    "dolly": {"slow": (0.3, 0.42), "quick": (0.8, 1.15), "very quick": (1.9, 2.4)},
}
TRAINED_SPEEDS = ("slow", "quick")  # the others are outside of training's range
DIRECTIONS = {"orbit": ("left", "right"), "pan": ("left", "right"), "dolly": ("in", "out")}
# the direction in which u grows, and the other one
PAN_REACH = 15.0  # degrees to both sides of the scene's middle
MIN_DISTANCE = 3.3
DOLLY_REACH = (0.8, 1.35)  # of the middle distance, nearest and farthest
MIN_LEG = 3  # frames' steps; a leg of the path with fewer is not said in captions

VIEW = math.atan(0.5 / FOCAL)  # radians, half the angle of view of the frame's short side


def middle_distance(count: int, moving: bool) -> float:
    """Returns the camera's distance to the target that shows the whole scene, in units.

    It leaves room for solids that are nearer to the camera than the target, and around a single
    one.
    """
    distance = scene_reach(count, moving) / math.sin(VIEW) + 0.6 * standing_circle(count, moving)
    return max(distance, MIN_DISTANCE)


def middle_radius(count: int, moving: bool) -> float:
    """Returns the middle of the range of the solids' radius, in units; less if a ball moves."""
    return RADIUS[count] * (0.85 if moving else 1.0)


def scene_reach(count: int, moving: bool) -> float:
    """Returns the distance from the scene's middle to its outermost solid's edge, in units.

    A ball that rolls around the others may touch the frame's edge.
    """
    if moving:
        return ball_lane(count) + 0.7 * middle_radius(count, True)
    return CIRCLE[count] + RADIUS[count]


def ball_lane(count: int) -> float:
    """Returns the distance of a rolling ball's path from the scene's middle, in units.

    It clears the corners of cubes that stand on the circle of the others.
    """
    return standing_circle(count, True) + 2.3 * middle_radius(count, True)


def standing_circle(count: int, moving: bool) -> float:
    """Returns the radius of the circle on which the standing solids stand, in units."""
    return 0.68 * CIRCLE[count - 1] if moving else CIRCLE[count]


def is_trained_speed(speed: str) -> bool:
    """Whether the speed of a camera, as the attribute names it, is within training's range."""
    return speed in (*TRAINED_SPEEDS, "none")


def path_ends(motion: str, distance: float) -> tuple[float, float]:
    """Returns the least and the greatest u, between which a camera goes to and fro.

    Args:
      motion: one of `MOTIONS`.
      distance: to the target when u is 0.
    """
    if motion == "orbit":
        return -math.inf, math.inf
    if motion == "pan":
        return -PAN_REACH, PAN_REACH
    near, far = DOLLY_REACH
    return (1 - far) * distance, (1 - near) * distance


def follow_path(u, low: float, high: float) -> np.ndarray:
    """Folds u that grows without end into what turns round at the ends `low` and `high`."""
    if math.isinf(high):
        return np.asarray(u)
    span = high - low
    return high - np.abs((u - low) % (2 * span) - span)


def name_directions(motion: str, u: np.ndarray, min_leg: int = MIN_LEG) -> str:
    """Names the directions in time, as "left" or "left, right", of u, one a frame.

    A leg of fewer than `min_leg` steps is not named if there is a longer one; legs from the third
    on, which go to and fro, are "again".
    """
    forth, back = DIRECTIONS[motion]
    runs = [(sign, len(list(run))) for sign, run in itertools.groupby(np.sign(np.diff(u)))]
    longest = max((length for _, length in runs), default=0)
    said = [sign for sign, length in runs if length >= min(min_leg, longest) and sign]
    names = [forth if sign > 0 else back for sign, _ in itertools.groupby(said)]
    return ", ".join(names[:2] + ["again"] * (len(names) > 2)) or "none"
