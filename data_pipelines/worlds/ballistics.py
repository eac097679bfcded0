"""One coloured object that slides, bounces, is thrown or hits a block; physics by pymunk.

The object is drawn from above or from the side on a plain, unsaturated background, so that the
only saturated colour of a clip is the object's. Lengths are in pixels, y points down.
"""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines.worlds import base
from data_pipelines.worlds.base import COLORS

NAME = "ballistics"
NEEDS_GL = False
LICENCE = "Apache-2.0"

SHAPES = ("ball", "square", "triangle", "star")
MOTIONS = ("slide", "bounce", "throw", "hit")
BACKGROUNDS = {
    "white": (250, 250, 250),
    "light grey": (205, 205, 205),
    "black": (12, 12, 12),
    "dark grey": (72, 72, 72),
    "beige": (232, 221, 200),
}
DIAMETERS = {"small": (0.28, 0.33), "large": (0.38, 0.45)}  # of the short side
BLOCK = (140, 140, 140)
STRETCH = {"ball": 1.0, "square": 1.1, "triangle": 1.2, "star": 1.2}  # so that all look as large
SUPERSAMPLING = 3
SUBSTEPS = 24  # physics steps per frame


def held_out(attributes: dict[str, str]) -> bool:
    """Keeps 8 of the 32 pairs of colour and shape out of training, two colours for each shape."""
    color = list(COLORS).index(attributes["color"])
    return color % len(SHAPES) == SHAPES.index(attributes["shape"])


def clip(
    seed: int,
    *,
    held_out: bool | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> base.Clip:
    """Makes one clip; see `base`. Truth, per frame t:

    position[t, 2] (x, y) and velocity[t, 2] in pixels and pixels/s, angle[t] in radians,
    visible[t] the share of the object within the frame; radius in pixels.
    """
    rng = base.world_rng(NAME, seed)
    t, h, w = base.draw_canvas(rng, frames, height, width)
    color, shape = base.pick(rng, _pairs(held_out))
    background = base.pick(rng, tuple(BACKGROUNDS))
    size = base.pick(rng, tuple(DIAMETERS))
    motion = base.pick(rng, MOTIONS) if t > 1 else "rest"
    radius = min(h, w) * rng.uniform(*DIAMETERS[size]) * STRETCH[shape] / 2
    states, block, direction = _simulate(rng, motion, shape, radius, t, h, w)

    outlines = [_outline(shape, radius) @ _rotation(state[4]).T + state[:2] for state in states]
    video = np.stack(
        [
            _draw(outline, None if block is None else block[i], COLORS[color], background, h, w)
            for i, outline in enumerate(outlines)
        ]
    )
    attributes = {
        "color": color,
        "shape": shape,
        "motion": motion,
        "direction": direction,
        "background": background,
        "size": size,
    }
    truth = {
        "position": states[:, :2].astype(np.float32),
        "velocity": states[:, 2:4].astype(np.float32),
        "angle": states[:, 4].astype(np.float32),
        "radius": float(radius),
        "visible": np.array([_visible(o, radius, h, w) for o in outlines], np.float32),
    }
    captions = _captions(rng, attributes, base.view(h, w))
    return base.Clip(video, base.FPS, captions, truth, attributes)


def _pairs(wanted: bool | None) -> list[tuple[str, str]]:
    pairs = [(color, shape) for color in COLORS for shape in SHAPES]
    return [
        (color, shape)
        for color, shape in pairs
        if wanted is None or held_out({"color": color, "shape": shape}) == wanted
    ]


def _simulate(rng, motion, shape, radius, t, h, w):
    """Returns states[t, 5] (x, y, vx, vy, angle), block corners[t, 4, 2] or None, direction."""
    import pymunk  # only here, so that the module imports without the simulator

    space = pymunk.Space()
    body = pymunk.Body(1.0, 0.5 * radius**2)
    if shape == "ball":
        part = pymunk.Circle(body, radius)
    else:
        part = pymunk.Poly(body, [tuple(p) for p in _hull(_outline(shape, radius))])
    part.elasticity, part.friction = 0.97, 0.3
    space.add(body, part)
    body.angle = rng.uniform(0, 2 * math.pi)
    start = {"rest": _rest, "slide": _slide, "bounce": _bounce, "throw": _throw, "hit": _hit}
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


# Each motion sets the body's position and velocity, and what else is in its space, so that a clip
# of any duration shows the whole of it. It returns the direction, and the block if there is one.


def _rest(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    body.position = rng.uniform(radius, w - radius), rng.uniform(radius, h - radius)
    return "none", None


def _slide(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    vertical = rng.uniform() < (0.2 if w > h else 0.5)
    along, across = (h, w) if vertical else (w, h)
    travel = sign * (along - 2 * radius) * rng.uniform(0.75, 1.0)
    body.position = _point(vertical, along / 2 - travel / 2, rng.uniform(radius, across - radius))
    body.velocity = _point(vertical, travel / seconds, 0)
    return _direction(sign, vertical), None


def _bounce(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    _walls(space, h, w)
    space.gravity = (0, 2.2 * h / 0.55**2)  # from the top to the floor in about half a second
    body.position = rng.uniform(radius, w - radius), rng.uniform(radius, 0.35 * h + radius / 2)
    body.velocity = sign * rng.uniform(0.2, 0.6) * w, 0
    body.angular_velocity = sign * rng.uniform(0.5, 2)
    return "none", None


def _throw(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    rise = (h - 2 * radius) * rng.uniform(0.75, 0.95)
    travel = sign * (w - 2 * radius) * rng.uniform(0.75, 1.0)
    space.gravity = (0, 8 * rise / seconds**2)
    body.position = w / 2 - travel / 2, h - radius
    body.velocity = travel / seconds, -4 * rise / seconds
    body.angular_velocity = sign * rng.uniform(1, 4)
    return _direction(sign, False), None


def _hit(rng, space, body, radius, sign, seconds, h, w) -> tuple[str, Any]:
    import pymunk

    vertical = h > w
    along, across = (h, w) if vertical else (w, h)
    thick, wide = 0.12 * along, rng.uniform(0.44, 0.6) * across
    other = across * rng.uniform(0.42, 0.58)
    place = along * rng.uniform(0.68, 0.74)  # of the block, seen from where the object starts
    gap = max(place - thick / 2 - 2 * radius, 4)
    mass = rng.uniform(2.0, 4.0)

    size = _point(vertical, thick, wide)
    pushed = pymunk.Body(mass, pymunk.moment_for_box(mass, size))
    block = pymunk.Poly.create_box(pushed, size)
    block.elasticity, block.friction = 0.8, 0.3
    space.add(pushed, block)
    start, place = (radius, place) if sign > 0 else (along - radius, along - place)
    body.position = _point(vertical, start, other)
    body.velocity = _point(vertical, sign * gap / (0.35 * seconds), 0)
    pushed.position = _point(vertical, place, across / 2)
    return _direction(sign, vertical), block


def _point(vertical: bool, along: float, across: float) -> tuple[float, float]:
    return (across, along) if vertical else (along, across)


def _walls(space, h, w):
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


def _direction(sign: int, vertical: bool) -> str:
    return (("up", "down") if vertical else ("left", "right"))[sign > 0]


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _outline(shape: str, radius: float) -> np.ndarray:
    """Corners[n, 2] of a shape around its centre; all corners lie within `radius`."""
    corners = {"ball": 40, "square": 4, "triangle": 3, "star": 10}[shape]
    angles = np.arange(corners) * 2 * math.pi / corners
    reach = np.where(np.arange(corners) % 2, 0.52, 1.0) if shape == "star" else np.ones(corners)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]


def _hull(outline: np.ndarray) -> np.ndarray:
    """A star collides as its convex hull, every second corner."""
    return outline[::2] if len(outline) == 10 else outline


def _draw(outline, block, color, background, h, w) -> np.ndarray:
    s = SUPERSAMPLING
    image = Image.new("RGB", (w * s, h * s), BACKGROUNDS[background])
    pen = ImageDraw.Draw(image)
    if block is not None:
        pen.polygon([tuple(p) for p in block * s], fill=BLOCK)
    pen.polygon([tuple(p) for p in outline * s], fill=color)
    return np.asarray(image.reduce(s))


def _visible(outline, radius, h, w) -> float:
    """Share of the object's area within the frame, from a mask drawn with a margin around it."""
    if (outline >= 0).all() and (outline <= (w, h)).all():
        return 1.0
    s, margin = SUPERSAMPLING, math.ceil(2 * radius)
    mask = Image.new("1", ((w + 2 * margin) * s, (h + 2 * margin) * s))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (outline + margin) * s], fill=1)
    pixels = np.asarray(mask)
    inside = pixels[margin * s : (margin + h) * s, margin * s : (margin + w) * s]
    return float(inside.sum() / max(pixels.sum(), 1))


def _captions(rng, attributes, view) -> dict[str, str]:
    color, shape, size = (attributes[k] for k in ("color", "shape", "size"))
    towards = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}
    towards = towards.get(attributes["direction"], "")
    ground = f"{base.a(attributes['background'])} background"
    thing = f"{color} {shape}"
    verb = {
        "rest": ("rests", "lies still"),
        "slide": (f"slides {towards}", f"moves {towards}", f"glides {towards}"),
        "bounce": ("bounces", "bounces up and down"),
        "throw": (f"is thrown {towards}", f"flies {towards}"),
        "hit": ("hits a grey block", "bumps into a grey block"),
    }[attributes["motion"]]
    says = {
        "rest": "",
        "slide": f"slides {towards} at a steady speed",
        "bounce": "falls and bounces off the floor and the walls",
        "throw": f"is thrown {towards} and flies in a high arc",
        "hit": f"slides {towards} and hits a grey block, which is pushed away",
    }[attributes["motion"]]
    if attributes["motion"] == "rest":
        short = base.pick(
            rng,
            (
                f"a photo-like still: {base.a(thing)} on {ground}",
                f"a still image of {base.a(thing)} on {ground}",
                f"an image of {base.a(thing)} on {ground}",
            ),
        )
        detailed = f"a photo-like still, {view}: one {size} {thing} on a plain {ground[2:]}."
    else:
        short = f"{base.a(thing)} {base.pick(rng, verb)} on {ground}"
        detailed = (
            f"a video, {view}, still camera: one {size} {thing} {says}, on a plain {ground[2:]}."
        )
    return {"short": short, "detailed": detailed}
