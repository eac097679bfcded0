"""What the shattering world obeys: a ball is thrown at a target on a stand, which breaks or holds.

Units: the short side of a frame is 1 unit long; time is in seconds; y is down. Everything that is
free falls at `GRAVITY`. The ball flies to the target on a parabola. The target breaks when a ball
of at least `BREAKING_SPEED` touches it, and not before; a slower ball bounces back and leaves it
whole. A broken target is a fixed number of rigid pieces whose areas sum up to that of the target.
They leave the place of the impact, fall, and come to rest on the floor. The stand is behind them
and touches nothing.
"""

import numpy as np

RGB = tuple[int, int, int]

GRAVITY = 1.2  # units/s^2
BREAKING_SPEED = 0.5  # units/s, horizontal
SPEEDS = {"slowly": (0.3, 0.42), "fast": (0.65, 0.95), "very fast": (1.2, 1.5)}  # units/s, uniform
TRAINED_SPEEDS = ("slowly", "fast")
OUTCOMES = {"breaks": 0.7, "holds": 0.15, "is missed": 0.15}  # of runs in training: their share

RADII = (0.055, 0.07)  # of the ball, uniform
PIECES, OUTSIDE_PIECES = (6, 9), (12, 14)  # first and last number, equally likely
FLOOR = 0.1  # height of the floor's picture at the frame's lower edge
STAND_HEIGHTS = (0.22, 0.28)  # of the target's lower end above the floor, uniform
TARGET_HEIGHTS = {"pane": (0.36, 0.42), "vase": (0.34, 0.40)}  # uniform

RESTITUTION = {"ball": 0.5, "piece": 0.15}  # of bounces off the floor; of both in one, the product
FRICTION = 1.0
DENSITY = {"ball": 1.4, "piece": 1.0}

GLASS = (110, 160, 150)
FLOOR_COLOR, STAND_COLOR = (150, 120, 90), (90, 60, 40)

PANE_WIDTH = 0.30  # of its height
# A vase's outline, in units of its height, y up from its lower end: a body and a neck, both convex.
VASE_BODY = (
    (-0.18, 0.0),
    (0.18, 0.0),
    (0.32, 0.34),
    (0.28, 0.58),
    (0.12, 0.78),
    (-0.12, 0.78),
    (-0.28, 0.58),
    (-0.32, 0.34),
)
VASE_NECK = ((-0.12, 0.78), (0.12, 0.78), (0.19, 1.0), (-0.19, 1.0))


def outline(kind: str) -> list[np.ndarray]:
    """Returns the convex parts of a target of height 1, corners [n, 2], y down from its foot."""
    if kind == "pane":
        half = PANE_WIDTH / 2
        return [np.array([(-half, 0.0), (half, 0.0), (half, -1.0), (-half, -1.0)])]
    return [np.array(part) * (1, -1) for part in (VASE_BODY, VASE_NECK)]


def area(polygon: np.ndarray) -> float:
    """Returns the area of a simple polygon of corners [n, 2]."""
    corners = polygon.tolist()
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum(x * b - y * a for (x, y), (a, b) in pairs)) / 2
