"""The camera orbits one to three coloured solids on a plane; drawn by MuJoCo."""

import math

import numpy as np

from data_pipelines.worlds import base, gl
from data_pipelines.worlds.base import COLORS

NAME = "orbit"
NEEDS_GL = True
LICENCE = "Apache-2.0"

SOLIDS = {  # MuJoCo type and half sizes, the last one upwards; of the radius
    "cube": ("box", (0.85, 0.85, 0.85)),
    "ball": ("sphere", (1.0,)),
    "cylinder": ("cylinder", (0.8, 1.15)),
    "pole": ("cylinder", (0.42, 1.45)),
}
FIELD_OF_VIEW = math.radians(34)  # vertical, radians
DEPTH_STRIDE = 4


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 8 of the 32 pairs of colour and solid out of training; one such pair is enough."""
    pairs = [pair.split() for pair in attributes["solids"].split(", ")]
    return any(_is_held_out_pair(color, solid) for color, solid in pairs)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`.

    Truth: pose[t, 4, 4] camera to world (x right, y up, looking along -z), intrinsics[3, 3] in
    pixels, depth[t, h // 4, w // 4] float16 along the optical axis, positions[n, 3] and radius of
    the solids, in the world's units; degrees the camera turned about the vertical, left positive.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request)
    count = int(rng.choice([1, 2, 3], p=[0.2, 0.5, 0.3]))
    pairs = _draw_pairs(rng, count, request.held_out)
    floor = base.pick(rng, tuple(gl.FLOORS))
    sign = base.pick(rng, (-1, 1))
    radius = {1: 0.62, 2: 0.46, 3: 0.40}[count] * rng.uniform(0.92, 1.08)
    circle = {1: 0.0, 2: 0.72, 3: 0.82}[count]
    first = rng.uniform(0, 2 * math.pi)
    angles = first + 2 * math.pi * np.arange(count) / count

    bodies, positions = [], []
    for i, ((_, solid), angle) in enumerate(zip(pairs, angles, strict=True)):
        geom, half = SOLIDS[solid]
        half = radius * np.array(half)
        position = (circle * math.cos(angle), circle * math.sin(angle), float(half[-1]))
        bodies.append(
            f'<geom type="{geom}" size="{_format(half)}" pos="{_format(position)}" '
            f'euler="0 0 {math.degrees(rng.uniform(0, math.pi)):.2f}" material="solid{i}"/>'
            + gl.draw_shadow(
                1.15 * math.hypot(*half[:2]) if geom == "box" else 1.2 * half[0], 0, position[:2]
            )
        )
        positions.append(position)

    top = max(2 * position[2] for position in positions)
    reach = max(
        0.52 * top + 0.33 * (circle + radius), (circle + 1.1 * radius) * h / w
    )  # half of the height that must be seen
    distance = circle + reach / math.tan(FIELD_OF_VIEW / 2) * rng.uniform(1.0, 1.1)
    tilt = math.radians(rng.uniform(18, 30))
    start = rng.uniform(0, 2 * math.pi)
    turn = sign * math.radians(min(rng.uniform(70, 130), 14 * (t - 1)))
    azimuths = start - np.linspace(0, turn, t)
    colors = {f"solid{i}": COLORS[color] for i, (color, _) in enumerate(pairs)}
    with gl.Scene("\n".join(bodies), colors, floor, h, w, field=FIELD_OF_VIEW) as scene:
        video, poses, depths = [], [], []
        for azimuth in azimuths:
            poses.append(scene.aim((0, 0, 0.42 * top), distance, azimuth, tilt))
            video.append(scene.render())
            depths.append(scene.render_depth(DEPTH_STRIDE))
        intrinsics = scene.camera_matrix()

    attributes = {
        "solids": ", ".join(f"{color} {solid}" for color, solid in pairs),
        "direction": ("left" if sign > 0 else "right") if t > 1 else "none",
        "floor": floor,
    }
    truth = {
        "pose": np.array(poses, np.float32),
        "intrinsics": intrinsics,
        "depth": np.stack(depths),
        "positions": np.array(positions, np.float32).round(5).tolist(),
        "radius": float(radius),
        "degrees": float(math.degrees(turn)),
    }
    captions = _write_captions(rng, attributes, base.name_view(h, w))
    return base.Clip(np.stack(video), base.FPS, captions, truth, attributes)


def _is_held_out_pair(color: str, solid: str) -> bool:
    return (list(COLORS).index(color) + 1) % len(SOLIDS) == list(SOLIDS).index(solid)


def _draw_pairs(rng, count: int, held_out: bool | None) -> list[tuple[str, str]]:
    """Draws (colour, solid) pairs of different colours, all of them held out or none.

    A single solid is a cube: an orbit around another one would not be seen.
    """
    solids = SOLIDS if count > 1 else ("cube",)
    pairs = base.allowed_pairs(COLORS, solids, _is_held_out_pair, held_out)
    drawn: list[tuple[str, str]] = []
    while len(drawn) < count:
        pair = base.pick(rng, pairs)
        if pair[0] not in {color for color, _ in drawn}:
            drawn.append(pair)
    return drawn


def _format(values) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _write_captions(rng, attributes, view) -> dict[str, str]:
    things = [base.add_article(thing) for thing in attributes["solids"].split(", ")]
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
    floor, direction = attributes["floor"], attributes["direction"]
    if direction == "none":
        how = base.pick(rng, ("a photo-like still", "a still image", "an image"))
        return {
            "short": f"{how}: {listed} on a {floor} floor",
            "detailed": f"a photo-like still, {view}: {listed} on a {floor} floor "
            "under a bright sky, seen from slightly above.",
        }
    verb = base.pick(
        rng,
        (f"orbits {direction} around", f"moves {direction} around", f"circles {direction} around"),
    )
    stand = "stands" if len(things) == 1 else "stand"
    return {
        "short": f"the camera {verb} {listed}",
        "detailed": f"a video, {view}: the camera orbits to the {direction} around {listed}, "
        f"which {stand} still on a {floor} floor under a bright sky.",
    }
