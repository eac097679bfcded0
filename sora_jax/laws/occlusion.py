"""Laws of the world `occlusion`: things that cannot be seen for a while, and stay what they are.

Units: half of the frame's width, measured at the objects' lane, is 1 unit, whatever the aspect;
x points right, y away, z up; times in seconds where no frames are named. The camera stands still
(but for `pan`) `DISTANCE` from the middle of the scene and looks along y, down by `TILT`. The light
comes from straight behind it, so that a shadow is hidden wherever its object is.

Events, with the object's x(t) at a steady speed v in the direction d = +1 or -1:

- through: x = x0 + d v t, behind the wall and out on the other side.
- back: x = turn - d v |t|, turning at once while nothing of it is seen, out where it went in.
- stays: x = stop + d v min(t, 0), stopping while nothing of it is seen, for ever.
- cross: two objects go through in opposite directions, hidden at the same time for a while.
- beside: an object does `back` or `stays`; another one rests on the wall's other side.
- leaves: x = turn - d v |t| with the turn outside the frame; the wall stands behind the lane.
- pan: the object rests; the camera turns about the vertical by a steady v / DISTANCE radians a
  second until the object is out of the frame, turns round at once, comes back and stops. The wall
  stays in sight.
"""

import colorsys
import math

from sora_jax.laws.palette import COLORS

EVENTS = {  # event: share of the clips
    "through": 0.24,
    "back": 0.16,
    "stays": 0.10,
    "cross": 0.18,
    "beside": 0.10,
    "leaves": 0.12,
    "pan": 0.10,
}
BEHIND = ("through", "back", "stays", "cross", "beside")  # events with something behind the wall
STORIES = {  # what a clip shows of one object
    "seen": "in sight in all frames",
    "rests": "in sight in all frames, beside the wall behind which another object is",
    "going": "in sight, then partly out of sight",
    "gone": "in sight, then out of sight until the end",
    "stays": "as gone, for MIN_HIDDEN_FRAMES at least, and it never comes out",
    "coming": "in sight, out of sight, then partly in sight",
    "again": "in sight, out of sight, in sight",
    "appears": "out of sight, then in sight",
    "edge": "at most partly in sight",
    "unseen": "out of sight in all frames",
}
SHAPES = ("ball", "box")
VERBS = {"ball": "rolls", "box": "slides"}
WALLS = ("red", "yellow", "green", "blue", "purple")
ALIKE = (("red", "orange"), ("orange", "yellow"), ("red", "pink"))  # never in one clip

SPEEDS = (0.3, 0.9)  # units / s, evenly distributed in log
OUTSIDE_SPEEDS = (
    (0.19, 0.25),
    (1.0, 1.2),
)  # of clips outside training's range; the fast ones small
HIDDEN = (5.2, 21.8)  # frames (of 1 / 8 s) without any of the object, evenly distributed in log
MIN_HIDDEN_FRAMES, MAX_HIDDEN_FRAMES = 5, 24  # so counted in pixels, whatever the canvas
RADII = {"small": (0.14, 0.155), "large": (0.19, 0.21)}  # units; half the side of a box
SIZE_LIMIT = 0.166  # units between small and large, as seen in either lane
MARGIN = 0.05  # units between a frame's side and an object of which surely all is in the frame
REST = 0.14  # units between the wall and an object that rests beside it, at least
LANE = 0.5  # units between the lanes of two objects that cross

DISTANCE = 6.0  # units from the camera to (0, 0, TARGET)
TARGET = 0.25  # height in units of the point in the middle of the frame
TILT = 10.0  # degrees
LIGHT = (0.0, -0.4, 0.9)  # direction to the light
WALL_DEPTH = 0.1  # units, along y
GAP = 0.06  # units between the wall and an object, and between an object and the frame's edge


def are_alike(first: str, second: str) -> bool:
    """Whether two colours are the same, or too near to be told apart in shadow and blur."""
    return first == second or (first, second) in ALIKE or (second, first) in ALIKE


def may_mix(color: str, other: str, wall: str) -> bool:
    """Whether pixels in which another object meets the wall may show this colour's hue.

    They do if it lies between the hues of those two, the shorter way round.
    """
    start, stop, hue = (colorsys.rgb_to_hsv(*COLORS[name])[0] for name in (other, wall, color))
    way = (stop - start + 0.5) % 1 - 0.5
    return (hue - start) * math.copysign(1, way) % 1 < abs(way)


def is_held_out(color: str, wall: str) -> bool:
    """Whether training has no clip with an object of this colour and a wall of that one."""
    return (list(COLORS).index(color) + 2 * WALLS.index(wall)) % len(WALLS) == 1
