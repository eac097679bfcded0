"""Laws of the ballistics world: shapes, speeds, gravity and restitution, in units and seconds.

Objects do not rotate and feel no friction. Balls collide as elastic discs whose mass is their
area. Every object has its position at the centroid of its area.
"""

import math

import numpy as np

GRAVITY = 1.2  # units/s^2, downwards, where there is gravity: 0.7 units are fallen in 1.1 s
RESTITUTION = {"gravity": 0.8, "none": 1.0}  # speed after a wall or floor, of that before it
SPEEDS = (0.25, 0.9)  # units/s, uniform: of slides, and of each component of a throw
DIAMETERS = {"small": (0.20, 0.24), "large": (0.30, 0.36)}  # units, uniform
COUNTS = {1: 0.40, 2: 0.35, 3: 0.25}  # objects: share of the clips that are drawn

SPEEDS_OUTSIDE = (1.1, 1.4)
DIAMETERS_OUTSIDE = {"small": (0.16, 0.18), "large": (0.40, 0.45)}
COUNT_OUTSIDE = 4

# A shape of radius r is about as large as a ball of radius r: its corners lie at REACH * r.
SHAPES = ("ball", "square", "triangle", "star")
REACH = {"ball": 1.0, "square": 1.15, "triangle": 1.3, "star": 1.3}
STAR_WAIST = 0.45  # distance of a star's inner corners from its centre, of the outer ones


def outline(shape: str) -> np.ndarray:
    """Returns the corners [n, 2] of an upright shape of radius 1 about its centroid, y down.

    A ball's corners, the ends of its diameters, serve for its extents only.
    """
    count = {"ball": 4, "square": 4, "triangle": 3, "star": 10}[shape]
    first = {"ball": 0.0, "square": 0.125, "triangle": -0.25, "star": -0.25}[shape]  # turns
    angles = 2 * math.pi * (first + np.arange(count) / count)
    reach = np.full(count, REACH[shape])
    if shape == "star":
        reach[1::2] *= STAR_WAIST
    return reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def area(shape: str) -> float:
    """Returns the area of a shape of radius 1, in units^2."""
    if shape == "ball":
        return math.pi
    x, y = outline(shape).T
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


def perimeter(shape: str) -> float:
    """Returns the length of the outline of a shape of radius 1, in units."""
    if shape == "ball":
        return 2 * math.pi
    corners = outline(shape)
    return float(np.hypot(*(np.roll(corners, -1, 0) - corners).T).sum())
