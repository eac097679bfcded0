"""Physics of the ballistics world by pymunk: how the object starts, moves and collides.

Lengths are in pixels, times in seconds, y points down.
"""

import math
from typing import Any

import numpy as np

from data_pipelines.worlds import base

SHAPES = ("ball", "square", "triangle", "star")
MOTIONS = ("slide", "bounce", "throw", "hit")
SUBSTEPS = 24  # physics steps per frame


def simulate(rng, motion, shape, radius, t, h, w):
    """Simulates `t` frames of h x w pixels.

    Args:
      rng: random generator of the clip.
      motion: one of `MOTIONS`, or 'rest'.
      shape: one of `SHAPES`.
      radius: radius of the circle around the shape in pixels.

    Returns:
      states[t, 5]: x, y, velocity x, velocity y and angle (pixels, seconds, radians); the corners
      of the block, [t, 4, 2], or None; and the direction as captions name it.
    """
    import pymunk  # only here, so that the module imports without the simulator

    space = pymunk.Space()
    body = pymunk.Body(1.0, 0.5 * radius**2)
    if shape == "ball":
        collider = pymunk.Circle(body, radius)
    else:
        collider = pymunk.Poly(
            body, [tuple(p) for p in _convex_corners(outline_shape(shape, radius))]
        )
    collider.elasticity, collider.friction = 0.97, 0.3
    space.add(body, collider)
    body.angle = rng.uniform(0, 2 * math.pi)
    start = {
        "rest": _start_rest,
        "slide": _start_slide,
        "bounce": _start_bounce,
        "throw": _start_throw,
        "hit": _start_hit,
    }
    seconds = max(t - 1, 1) / base.FPS
    sign = base.pick(rng, (-1, 1))
    direction, block = start[motion](rng, space, body, radius, sign, seconds, h, w)

    states, corners = [], []
    for _ in range(t):
        states.append([*body.position, *body.velocity, body.angle])
        if block is not None:
            corners.append([block.body.local_to_world(v) for v in block.get_vertices()])
        for _ in range(SUBSTEPS):
            space.step(1 / base.FPS / SUBSTEPS)
    return np.array(states), np.array(corners) if corners else None, direction


# Each function sets the body's position and velocity, gravity, walls and block, so that a clip of
# any duration shows the whole motion. It returns the direction, and the block or None.


def _start_rest(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    body.position = rng.uniform(radius, w - radius), rng.uniform(radius, h - radius)
    return "none", None


def _start_slide(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    vertical = rng.uniform() < (0.2 if w > h else 0.5)
    along, across = (h, w) if vertical else (w, h)
    travel = sign * (along - 2 * radius) * rng.uniform(0.75, 1.0)
    body.position = _to_xy(vertical, along / 2 - travel / 2, rng.uniform(radius, across - radius))
    body.velocity = _to_xy(vertical, travel / seconds, 0)
    return _name_direction(sign, vertical), None


def _start_bounce(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    _add_walls(space, h, w)
    space.gravity = (0, 2.2 * h / 0.55**2)  # from the top to the floor in about half a second
    body.position = rng.uniform(radius, w - radius), rng.uniform(radius, 0.35 * h + radius / 2)
    body.velocity = sign * rng.uniform(0.2, 0.6) * w, 0
    body.angular_velocity = sign * rng.uniform(0.5, 2)
    return "none", None


def _start_throw(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    rise = (h - 2 * radius) * rng.uniform(0.75, 0.95)
    travel = sign * (w - 2 * radius) * rng.uniform(0.75, 1.0)
    space.gravity = (0, 8 * rise / seconds**2)
    body.position = w / 2 - travel / 2, h - radius
    body.velocity = travel / seconds, -4 * rise / seconds
    body.angular_velocity = sign * rng.uniform(1, 4)
    return _name_direction(sign, False), None


def _start_hit(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    import pymunk

    vertical = h > w
    along, across = (h, w) if vertical else (w, h)
    thick, wide = 0.12 * along, rng.uniform(0.44, 0.6) * across
    other = across * rng.uniform(0.42, 0.58)
    block_offset = along * rng.uniform(0.68, 0.74)  # from the edge where the object starts
    gap = max(block_offset - thick / 2 - 2 * radius, 4)
    mass = rng.uniform(2.0, 4.0)

    size = _to_xy(vertical, thick, wide)
    pushed = pymunk.Body(mass, pymunk.moment_for_box(mass, size))
    block = pymunk.Poly.create_box(pushed, size)
    block.elasticity, block.friction = 0.8, 0.3
    space.add(pushed, block)
    start, block_offset = (
        (radius, block_offset) if sign > 0 else (along - radius, along - block_offset)
    )
    body.position = _to_xy(vertical, start, other)
    body.velocity = _to_xy(vertical, sign * gap / (0.35 * seconds), 0)
    pushed.position = _to_xy(vertical, block_offset, across / 2)
    return _name_direction(sign, vertical), block


def _to_xy(vertical: bool, along: float, across: float) -> tuple[float, float]:
    return (across, along) if vertical else (along, across)


def _add_walls(space, h, w):
    import pymunk

    thick = 20  # thick walls, so that nothing tunnels through them
    for p, q in (
        ((-thick, h + thick), (w + thick, h + thick)),
        ((-thick, -thick), (w + thick, -thick)),
        ((-thick, -thick), (-thick, h + thick)),
        ((w + thick, -thick), (w + thick, h + thick)),
    ):
        wall = pymunk.Segment(space.static_body, p, q, thick)
        wall.elasticity, wall.friction = 0.98, 0.1
        space.add(wall)


def _name_direction(sign: int, vertical: bool) -> str:
    return (("up", "down") if vertical else ("left", "right"))[sign > 0]


def rotate(angle: float) -> np.ndarray:
    """Returns the 2x2 matrix that rotates by `angle` radians."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def outline_shape(shape: str, radius: float) -> np.ndarray:
    """Returns the corners [n, 2] of a shape around its centre; all lie within `radius` pixels."""
    corners = {"ball": 40, "square": 4, "triangle": 3, "star": 10}[shape]
    angles = np.arange(corners) * 2 * math.pi / corners
    reach = np.where(np.arange(corners) % 2, 0.52, 1.0) if shape == "star" else np.ones(corners)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]


def _convex_corners(outline: np.ndarray) -> np.ndarray:
    """Returns the corners of the convex hull; a star's hull is every second corner."""
    return outline[::2] if len(outline) == 10 else outline
