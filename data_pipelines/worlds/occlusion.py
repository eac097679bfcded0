"""A coloured ball or box passes behind a coloured wall and comes out again; drawn by MuJoCo.

The scene is scaled so that the frame's width shows 2 units at the object, whatever the aspect.
The object moves at a steady speed along x: a ball rolls without slipping, a box slides.
"""

import math

import numpy as np

from data_pipelines.worlds import base, gl
from data_pipelines.worlds.base import COLORS

NAME = "occlusion"
NEEDS_GL = True
LICENCE = "Apache-2.0"

SHAPES = ("ball", "box")
WALLS = ("red", "yellow", "green", "blue", "purple")
SIZES = {"small": (0.19, 0.21), "large": (0.24, 0.27)}  # radius, of half the frame's width
FIELD_OF_VIEW = math.radians(24)  # vertical, radians
TILT = math.radians(12)  # the camera looks down by this


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 7 of the 35 pairs of object and wall colour out of training."""
    return _is_held_out_pair(attributes["color"], attributes["wall"])


def _is_held_out_pair(color: str, wall: str) -> bool:
    return (list(COLORS).index(color) + 2 * WALLS.index(wall)) % len(WALLS) == 1


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. An image shows the object beside the wall.

    Truth, per frame t: position[t, 3] of the object, visible[t] pixels of it that are seen,
    whole[t] pixels it would have without the wall, hidden[t] whether none is seen; speed along x
    in units/s, radius, and the camera as in `orbit` (pose[4, 4], intrinsics[3, 3]).
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request)
    pairs = base.allowed_pairs(COLORS, WALLS, _is_held_out_pair, request.held_out)
    color, wall = base.pick(rng, [pair for pair in pairs if pair[0] != pair[1]])
    shape, size = base.pick(rng, SHAPES), base.pick(rng, tuple(SIZES))
    floor = base.pick(rng, tuple(gl.FLOORS))
    sign = base.pick(rng, (-1, 1))
    radius = rng.uniform(*SIZES[size])
    thickness = rng.uniform(radius + 0.05, radius + 0.09)  # half the wall's width
    tall = rng.uniform(2 * radius + 0.25, 2 * radius + 0.5)
    reach = rng.uniform(0.93, 0.97) - radius

    distance = 1 / (w / h * math.tan(FIELD_OF_VIEW / 2))
    geom = {"ball": "sphere", "box": "box"}[shape]
    scene = gl.Scene(
        f"""
        <body name="object" mocap="true" pos="0 0 {radius}">
          <geom name="object" type="{geom}" size="{radius} {radius} {radius}" material="object"/>
        </body>
        <body name="shadow" mocap="true">{gl.draw_shadow(1.1 * radius, 0, (0.04, 0.06))}</body>
        <geom name="wall" type="box" size="{thickness} 0.05 {tall / 2}"
          pos="0 {-radius - 0.12} {tall / 2}" material="wall"/>
        <geom type="box" size="{thickness + 0.02} 0.08 0.004" pos="0.03 {-radius - 0.12} 0"
          material="shadow"/>
        """,
        {"object": COLORS[color], "wall": COLORS[wall]},
        floor,
        h,
        w,
        field=FIELD_OF_VIEW,
    )
    with scene:
        pose = scene.aim((0.0, 0.0, 0.4), distance, azimuth=math.pi / 2, tilt=TILT)
        xs = sign * np.linspace(-reach, reach, t) if t > 1 else np.array([-sign * reach])
        video, visible, whole = [], [], []
        for x in xs:
            scene.move("object", (x, 0, radius), roll=x / radius if shape == "ball" else 0.0)
            scene.move("shadow", (x, 0, 0))
            video.append(scene.render())
            visible.append(scene.count_pixels("object"))
            whole.append(scene.count_pixels("object", without="wall"))

    attributes = {
        "color": color,
        "wall": wall,
        "shape": shape,
        "size": size,
        "floor": floor,
        "direction": ("right" if sign > 0 else "left") if t > 1 else "none",
        "side": "right" if xs[0] > 0 else "left",
    }
    truth = {
        "position": np.stack([xs, 0 * xs, 0 * xs + radius], 1).astype(np.float32),
        "visible": np.array(visible, np.int32),
        "whole": np.array(whole, np.int32),
        "hidden": np.array(visible) == 0,
        "speed": float((xs[-1] - xs[0]) * base.FPS / max(t - 1, 1)),
        "radius": float(radius),
        "pose": pose,
        "intrinsics": scene.camera_matrix(),
    }
    captions = _write_captions(rng, attributes, base.name_view(h, w))
    return base.Clip(np.stack(video), base.FPS, captions, truth, attributes)


def _write_captions(rng, attributes, view) -> dict[str, str]:
    color, wall, shape, size, floor, direction, side = (
        attributes[k] for k in ("color", "wall", "shape", "size", "floor", "direction", "side")
    )
    thing = base.add_article(f"{color} {shape}")
    if direction == "none":
        where = base.pick(rng, (f"on the {side} of", f"{side} of"))
        short = base.pick(
            rng,
            (
                f"a photo-like still: {thing} {where} a {wall} wall",
                f"an image of {thing} {where} a {wall} wall",
            ),
        )
        detailed = (
            f"a photo-like still, {view}: {base.add_article(size)} {color} {shape} on the {side} "
            f"of a {wall} wall, on a {floor} floor under a bright sky."
        )
        return {"short": short, "detailed": detailed}
    moves = "rolls" if shape == "ball" else "slides"
    short = base.pick(
        rng,
        (
            f"{thing} {moves} behind a {wall} wall",
            f"{thing} {moves} {direction} behind a {wall} wall",
            f"{thing} {moves} to the {direction} behind a {wall} wall and comes out again",
        ),
    )
    detailed = (
        f"a video, {view}, still camera: {base.add_article(size)} {color} {shape} {moves} to the "
        f"{direction}, disappears behind a {wall} wall and comes out on the {direction}, "
        f"on a {floor} floor under a bright sky."
    )
    return {"short": short, "detailed": detailed}
