"""A camera orbits, pans or dollies around one to four solids on a tiled floor; a ball may roll.

Geometry, speeds and their distributions are in `sora_jax.laws.orbit`, the drawing of scenes in
`orbit_scene`, the pictures come from `raycast`.
"""

import dataclasses

import numpy as np

from data_pipelines.worlds import base, drawing, orbit_scene, raycast
from sora_jax.laws import orbit as laws
from sora_jax.laws.palette import COLORS, FPS

NAME = "orbit"
LICENCE = "Apache-2.0"
BROKEN = (
    "camera_jumps",
    "speed_doubled",
    "solid_recolored",
    "solid_drifts",
    "solid_spawned",
    "ball_stops",
    "blurred",
    "flickering",
)
DEPTH_STRIDE = 4

_WORDS = {  # wordings of detailed captions
    ("orbit", "left"): ("orbits {how} to the left around", "circles {how} left around"),
    ("orbit", "right"): ("orbits {how} to the right around", "circles {how} right around"),
    ("pan", "left"): ("pans {how} to the left across", "turns {how} left past"),
    ("pan", "right"): (
        "pans {how} to the right across",
        "turns {how} to the right past",
    ),
    ("dolly", "in"): ("dollies {how} in on", "moves {how} in, closer to"),
    ("dolly", "out"): ("dollies {how} out from", "moves {how} out, away from"),
}
_SHORT_WORDS = {
    ("orbit", "left"): ("orbits left around", "moves left around", "circles {how} around"),
    ("orbit", "right"): (
        "orbits right around",
        "moves right around",
        "circles {how} around",
    ),
    ("pan", "left"): ("pans left across", "pans {how} left over", "turns left past"),
    ("pan", "right"): ("pans right across", "pans {how} right over", "turns right past"),
    ("dolly", "in"): ("dollies in on", "moves {how} in, closer to", "comes closer to"),
    ("dolly", "out"): ("dollies out from", "moves {how} out, away from", "backs away from"),
}
_HOW = {"slow": "slowly", "quick": "quickly", "very quick": "very quickly"}
_PATHS = {  # what is said of a ball that rolls
    "line": ("rolling straight on", "rolling in a straight line"),
    "circle": ("rolling in a circle", "circling the others"),
}
_MAX_WORDS = 40


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 8 of the 32 pairs of colour and solid out of training; one such pair is enough."""
    pairs = [pair.split() for pair in attributes["solids"].split(", ")]
    return any(orbit_scene.is_held_out_pair(color, solid) for color, solid in pairs)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`.

    Truth, with t frames and n solids: pose[t, 4, 4] camera to world (x right, y up, looking along
    -z), intrinsics[3, 3] in pixels, depth[t, h // 4, w // 4] float16 along the optical axis at the
    centres of every fourth pixel, positions[t, n, 3] of the solids' centres, half[n, 2] their half
    widths and heights, yaw[n] in radians, visible[t, n] the share of what the frame could show of
    a solid that no other one hides; u[t], camera_speed (degrees or units a second, signed) and
    tilt in degrees, as `sora_jax.laws.orbit` defines them; ball_speed in units a second.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request, BROKEN)
    count = int(rng.choice(list(laws.COUNTS), p=list(laws.COUNTS.values())))
    speeds = laws.TRAINED_SPEEDS
    if request.outside:
        which = base.pick(rng, ("speed", "count", "both"))
        count = count if which == "speed" else laws.OUTSIDE_COUNT
        speeds = speeds if which == "count" else ("very quick",)
    scene, course = orbit_scene.draw_run(rng, count, request.held_out, speeds)
    u = orbit_scene.follow_course(course, np.arange(t) / FPS)
    camera = raycast.Camera(orbit_scene.place_camera(course, u), laws.FOCAL * min(h, w), h, w)
    lawful = _render(scene, camera)
    video = lawful.video
    if request.broken == "blurred":
        video = drawing.blur_video(video)
    elif request.broken == "flickering":
        video = drawing.flicker_video(video)
    elif request.broken:
        video = _break_law(request.broken, scene, course, camera)

    attributes = {
        "solids": ", ".join(f"{color} {solid}" for color, solid in scene.pairs),
        "count": str(count),
        "motion": course.motion if t > 1 else "still",
        "direction": laws.name_directions(course.motion, u),
        "speed": course.speed if t > 1 else "none",
        "path": scene.path if t > 1 else "none",
        "floor": scene.floor,
    }
    half = np.array([laws.SOLIDS[solid] for _, solid in scene.pairs]) * scene.radius
    step = slice(DEPTH_STRIDE // 2, None, DEPTH_STRIDE)
    depth = lawful.depth[:, step, step][:, : h // DEPTH_STRIDE, : w // DEPTH_STRIDE]
    depth = np.where(depth < np.finfo(np.float16).max, depth, np.inf)  # the floor's far edge
    truth = {
        "pose": camera.pose.astype(np.float32),
        "intrinsics": camera.intrinsics().astype(np.float32),
        "depth": depth.astype(np.float16),
        "positions": scene.centers[:t].astype(np.float32),
        "half": half.astype(np.float32),
        "yaw": scene.yaws.astype(np.float32),
        "visible": _measure_visible(lawful),
        "u": u.astype(np.float32),
        "camera_speed": float(course.rate),
        "tilt": float(course.tilt),
        "ball_speed": float(scene.ball_speed),
    }
    captions = _write_captions(rng, attributes, base.name_view(h, w))
    return base.Clip(video, FPS, captions, truth, attributes)


def _render(scene: orbit_scene.Scene, camera: raycast.Camera, extra=()) -> raycast.Rendering:
    solids = orbit_scene.build_solids(scene, len(camera.pose))
    first, second = laws.FLOORS[scene.floor]
    return raycast.render(camera, [*solids, *extra], first, floor_color2=second, tile=laws.TILE)


def _measure_visible(rendering: raycast.Rendering) -> np.ndarray:
    """Returns, float32[t, n], the share of each solid's pixels that no other solid hides."""
    seen, alone = rendering.coverage.sum((2, 3)), rendering.alone.sum((2, 3))
    return (seen / np.maximum(alone, 0.25)).T.astype(np.float32).round(3)


def _break_law(law: str, scene, course: orbit_scene.Course, camera: raycast.Camera) -> np.ndarray:
    """Renders the clip with a law broken: from frame `BREAK` on, or everywhere if it is a speed."""
    t = len(camera.pose)
    times, first = np.arange(t) / FPS, orbit_scene.BREAK
    if law == "speed_doubled":
        course = dataclasses.replace(course, rate=2 * course.rate)
    u = orbit_scene.follow_course(course, times)
    if law == "camera_jumps":
        u[first:] -= np.sign(course.rate) * orbit_scene.JUMPS[course.motion]
    camera = dataclasses.replace(camera, pose=orbit_scene.place_camera(course, u))
    if law == "ball_stops":
        return _render(orbit_scene.stop_ball(scene), camera).video
    if law == "solid_drifts":
        return _render(orbit_scene.drift(scene), camera).video
    video = _render(scene, camera).video
    if law == "solid_recolored":
        video[first:] = _render(_recolor(scene), camera).video[first:]
    if law == "solid_spawned":
        video[first:] = _render(scene, camera, [_spawn(scene)]).video[first:]
    return video


def _find_free_color(scene) -> str:
    """Returns the colour, of those no solid has, that follows the last solid's."""
    names = list(COLORS)
    start = names.index(scene.pairs[-1][0])
    used = {color for color, _ in scene.pairs}
    return next(c for c in names[start:] + names[:start] if c not in used)


def _recolor(scene):
    """Gives the last solid another colour."""
    pairs = [*scene.pairs[:-1], (_find_free_color(scene), scene.pairs[-1][1])]
    return dataclasses.replace(scene, pairs=pairs)


def _spawn(scene) -> raycast.Ball:
    """Returns a ball of a colour that no solid has, in the air over the middle of the scene."""
    return raycast.Ball(
        np.array([0, 0, 0.8 + scene.radius]), 0.7 * scene.radius, COLORS[_find_free_color(scene)]
    )


def _write_captions(rng, attributes: dict[str, str], view: str) -> dict[str, str]:
    things = [base.add_article(thing) for thing in attributes["solids"].split(", ")]
    rolling = list(things)
    if attributes["path"] != "none":
        rolling[0] += " " + base.pick(rng, _PATHS[attributes["path"]])
    floor, motion = f"{attributes['floor']} tiled floor", attributes["motion"]
    if motion == "still":
        how = base.pick(rng, ("a photo-like still", "a still image", "an image"))
        start = base.pick(rng, (f"a photo-like still, {view}:", f"a still image, {view}:"))
        where = base.pick(rng, ("seen from above at a slant", "seen from slightly above"))
        return {
            "short": f"{how}: {_list(things)} on a {floor}",
            "detailed": f"{start} {_list(things)} on a {floor}, {where}.",
        }
    first, *rest = attributes["direction"].split(", ")
    turns = f", then back {rest[0]}" if rest else ""
    turns = base.pick(rng, (", then to and fro", ", then back and forth")) if rest[1:] else turns
    how = _HOW[attributes["speed"]]
    verb = base.pick(rng, _SHORT_WORDS[motion, first]).format(how=how)
    short = f"the camera {verb} {_list(rolling if rng.random() < 0.5 else things)}{turns}"
    verb = base.pick(rng, _WORDS[motion, first]).format(how=how)
    start = base.pick(rng, (f"a video, {view}: ", f"{view}: ", "a clip: "))
    detailed = f"the camera {verb} {_list(rolling)} on a {floor}{turns}."
    fits = len((start + detailed).split()) <= _MAX_WORDS
    return {"short": short, "detailed": start + detailed if fits else detailed}


def _list(things: list[str]) -> str:
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
