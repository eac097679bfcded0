"""One coloured object that slides, bounces, is thrown or hits a block.

The object is drawn from above or from the side on a plain, unsaturated background, so that the
only saturated colour of a clip is the object's. Lengths are in pixels, y points down.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines.worlds import base
from data_pipelines.worlds.ballistics_physics import (
    MOTIONS,
    SHAPES,
    outline_shape,
    rotate,
    simulate,
)
from data_pipelines.worlds.base import COLORS

NAME = "ballistics"
NEEDS_GL = False
LICENCE = "Apache-2.0"

BACKGROUNDS = {
    "white": (250, 250, 250),
    "light grey": (205, 205, 205),
    "black": (12, 12, 12),
    "dark grey": (72, 72, 72),
    "beige": (232, 221, 200),
}
DIAMETERS = {"small": (0.28, 0.33), "large": (0.38, 0.45)}  # fractions of the short side
BLOCK = (140, 140, 140)
STRETCH = {"ball": 1.0, "square": 1.1, "triangle": 1.2, "star": 1.2}  # to look equally large
SUPERSAMPLING = 3


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 8 of the 32 pairs of colour and shape out of training, two colours for each shape."""
    return _is_held_out_pair(attributes["color"], attributes["shape"])


def _is_held_out_pair(color: str, shape: str) -> bool:
    return list(COLORS).index(color) % len(SHAPES) == SHAPES.index(shape)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, per frame t:

    position[t, 2] (x, y) and velocity[t, 2] in pixels and pixels/s, angle[t] in radians,
    visible[t] the share of the object within the frame; radius in pixels.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request)
    pairs = base.allowed_pairs(COLORS, SHAPES, _is_held_out_pair, request.held_out)
    color, shape = base.pick(rng, pairs)
    background = base.pick(rng, tuple(BACKGROUNDS))
    size = base.pick(rng, tuple(DIAMETERS))
    motion = base.pick(rng, MOTIONS) if t > 1 else "rest"
    radius = min(h, w) * rng.uniform(*DIAMETERS[size]) * STRETCH[shape] / 2
    states, block, direction = simulate(rng, motion, shape, radius, t, h, w)

    outlines = [outline_shape(shape, radius) @ rotate(state[4]).T + state[:2] for state in states]
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
        "visible": np.array([_measure_visible(o, radius, h, w) for o in outlines], np.float32),
    }
    captions = _write_captions(rng, attributes, base.name_view(h, w))
    return base.Clip(video, base.FPS, captions, truth, attributes)


def _draw(outline, block, color, background, h, w) -> np.ndarray:
    s = SUPERSAMPLING
    image = Image.new("RGB", (w * s, h * s), BACKGROUNDS[background])
    pen = ImageDraw.Draw(image)
    if block is not None:
        pen.polygon([tuple(p) for p in block * s], fill=BLOCK)
    pen.polygon([tuple(p) for p in outline * s], fill=color)
    return np.asarray(image.reduce(s))


def _measure_visible(outline, radius, h, w) -> float:
    """Measures the share of the object's area within the frame, 0 to 1, on a mask with a margin."""
    if (outline >= 0).all() and (outline <= (w, h)).all():
        return 1.0
    s, margin = SUPERSAMPLING, math.ceil(2 * radius)
    mask = Image.new("1", ((w + 2 * margin) * s, (h + 2 * margin) * s))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (outline + margin) * s], fill=1)
    pixels = np.asarray(mask)
    inside = pixels[margin * s : (margin + h) * s, margin * s : (margin + w) * s]
    return float(inside.sum() / max(pixels.sum(), 1))


def _write_captions(rng, attributes, view) -> dict[str, str]:
    color, shape, size = (attributes[k] for k in ("color", "shape", "size"))
    towards = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}
    towards = towards.get(attributes["direction"], "")
    ground = f"{base.add_article(attributes['background'])} background"
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
                f"a photo-like still: {base.add_article(thing)} on {ground}",
                f"a still image of {base.add_article(thing)} on {ground}",
                f"an image of {base.add_article(thing)} on {ground}",
            ),
        )
        detailed = f"a photo-like still, {view}: one {size} {thing} on a plain {ground[2:]}."
    else:
        short = f"{base.add_article(thing)} {base.pick(rng, verb)} on {ground}"
        detailed = (
            f"a video, {view}, still camera: one {size} {thing} {says}, on a plain {ground[2:]}."
        )
    return {"short": short, "detailed": detailed}
