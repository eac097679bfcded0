"""Objects that get out of sight, behind a wall or out of the frame, and stay what they are.

The laws are those of `sora_jax.laws.occlusion`; `occlusion_physics` draws the scenes,
`occlusion_story` tells what a clip shows, and `raycast` draws it.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage

from data_pipelines.worlds import base, occlusion_physics, occlusion_story, raycast
from data_pipelines.worlds.occlusion_scene import (
    CAMERA_Y,
    CAMERA_Z,
    Path,
    Scene,
    Thing,
    find_hidden_span,
)
from sora_jax.laws import occlusion as laws
from sora_jax.laws.palette import COLORS, FPS
from sora_jax.laws.scene import FLOORS

NAME = "occlusion"
LICENCE = "Apache-2.0"
BROKEN = (  # from the middle of the hidden time on, unless said otherwise
    "recolored_behind",  # the first object has another colour
    "reshaped_behind",  # a ball is a box and a box a ball
    "shrunk_behind",  # 0.6 times the size
    "wrong_time",  # it comes out at once
    "wrong_side",  # it comes out on the other side; what rests before a panning camera has moved
    "never_returns",  # it is not there any more
    "escapes",  # what stays comes out on the other side at once
    "exchanged",  # two objects change colour, shape and size with one another
    "in_front",  # it passes before the wall, from the first frame on
    "appears",  # an object that nobody named stands there from the 4th frame on
    "torn",  # it falls into two pieces that fly side by side, from the 2nd frame on
    "blurred",  # the picture is blurred by 3 % of its width, from the 2nd frame on
    "flickers",  # the brightness of every other frame differs by 8 levels
)


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 6 of the 32 pairs of object and wall colour out of training; one object is enough."""
    colors = [attributes["color"], attributes["color2"]]
    return any(c != "none" and laws.is_held_out(c, attributes["wall"]) for c in colors)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`.

    Truth, for n objects: position[n, t, 3] of their middles and radius[n] (half side of a box), in
    units; visible[n, t] and whole[n, t] pixels, as seen and without the wall; hidden[n, t], whether
    nothing of it nor of its shadow is seen beside the wall; clear[n, t], whether all of it is in
    sight, `laws.MARGIN` from the frame's sides; in_frame[n, t]; center[n, t, 2], column and row of
    the middle of its whole picture, -1 where there is none; speed[n] in units / s while
    it moves; pose[t, 4, 4] camera to world (x right, y up, looking along -z) and intrinsics[3, 3]
    in pixels.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request, BROKEN)
    scene = occlusion_physics.draw_scene(rng, request.held_out, request.outside)
    times = scene.start + np.arange(t)
    camera = _place_camera(scene, times, h, w)
    seen = _film(camera, scene, times)
    video, truth = seen.video, _measure(camera, scene, times, seen)
    stories = [occlusion_story.tell(scene, thing, times) for thing in scene.things]
    moves = occlusion_story.name_camera(scene, times)
    captions = occlusion_story.write_captions(rng, scene, stories, moves, t, base.name_view(h, w))
    if request.broken:
        video = _break(request.broken, video, camera, scene, times)
    attributes = {"event": scene.event, "wall": scene.wall.color, "floor": scene.floor}
    attributes |= {"camera": moves, "count": str(sum(s.story != "unseen" for s in stories))}
    for suffix, i in (("", 0), ("2", 1)):
        there = i < len(scene.things)
        values = {"color": "none", "shape": "none", "size": "none"}
        if there:
            values = {key: getattr(scene.things[i], key) for key in values}
        story = stories[i] if there else occlusion_story.Story("none", "none", "none")
        values |= dataclasses.asdict(story)
        attributes |= {key + suffix: value for key, value in values.items()}
    return base.Clip(video, FPS, captions, truth, attributes)


def _place_camera(scene: Scene, times: np.ndarray, h: int, w: int) -> raycast.Camera:
    angle = scene.pan.at(times)
    position = (0.0, CAMERA_Y, CAMERA_Z)
    ahead = math.cos(math.radians(laws.TILT)) * laws.DISTANCE
    target = np.stack(
        [
            ahead * np.sin(angle),
            position[1] + ahead * np.cos(angle),
            np.full(len(times), laws.TARGET),
        ],
        1,
    )
    return raycast.Camera(raycast.look_at(position, target), laws.DISTANCE * w / 2, h, w)


def _build_thing(thing: Thing, times: np.ndarray) -> raycast.Ball | raycast.Box:
    x, r = thing.path.at(times), thing.radius
    center = np.stack([x, np.full(len(x), thing.lane), np.full(len(x), r)], 1)
    if thing.shape == "ball":
        return raycast.Ball(center, r, COLORS[thing.color])
    return raycast.Box(center, (r, r, r), 0.0, COLORS[thing.color])


def _film(camera: raycast.Camera, scene: Scene, times: np.ndarray) -> raycast.Rendering:
    """Renders the things, then the wall, of a scene."""
    wall = scene.wall
    solids: list[Any] = [_build_thing(thing, times) for thing in scene.things]
    half = wall.half, laws.WALL_DEPTH / 2, wall.height / 2
    center = np.array([wall.x, wall.y, wall.height / 2])
    solids.append(raycast.Box(center, half, 0.0, COLORS[wall.color]))
    return raycast.render(camera, solids, FLOORS[scene.floor], laws.LIGHT)


def _measure(camera, scene: Scene, times: np.ndarray, seen: raycast.Rendering) -> dict[str, Any]:
    """Measures the truth; see `make_clip`."""
    y, x = np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5
    visible = seen.coverage[: len(scene.things)].sum((2, 3))
    solids = [_build_thing(thing, times) for thing in scene.things]
    alone = seen.alone[: len(solids)]
    columns, rows = alone.sum(2), alone.sum(3)
    whole = columns.sum(2)
    sights = [occlusion_story.watch(scene, thing, times) for thing in scene.things]
    share, gone = (np.stack(values) for values in zip(*sights, strict=True))
    behind = scene.event in laws.BEHIND
    middle = np.stack([columns @ x, rows @ y], -1) / np.maximum(whole, 1e-9)[..., None]
    return {
        "position": np.stack([solid.center for solid in solids]).astype(np.float32),
        "radius": [float(thing.radius) for thing in scene.things],
        "speed": [float(abs(thing.path.speed) * FPS) for thing in scene.things],
        "visible": np.ceil(visible).astype(np.int32),
        "whole": np.ceil(whole).astype(np.int32),
        "hidden": gone & behind,
        "clear": share == 1,
        "in_frame": (whole > 0) & ~(gone & (not behind)),
        "center": np.where(whole[..., None] > 0, middle, -1).astype(np.float32),
        "pose": camera.pose.astype(np.float32),
        "intrinsics": camera.intrinsics().tolist(),
    }


def _break(law: str, video: np.ndarray, camera, scene: Scene, times: np.ndarray) -> np.ndarray:
    """Returns a video that breaks a law of `BROKEN`."""
    index = np.arange(len(times))
    if law == "blurred":
        sigma = max(0.03 * video.shape[2], 1.5)
        soft = ndimage.gaussian_filter(video.astype(np.float32), (0, sigma, sigma, 0))
        return np.where((index >= 1)[:, None, None, None], soft + 0.5, video).astype(np.uint8)
    if law == "flickers":
        shift = np.where(index % 2 == 1, -8, 0)[:, None, None, None]
        return np.clip(video.astype(np.int16) + shift, 0, 255).astype(np.uint8)
    if law == "in_front":
        return _bring_forward(video, camera, scene, times)
    middle = min(scene.until / 2, 2.0 if law == "escapes" else 4.0)
    from_frame = {"appears": index >= 3, "torn": index >= 1}.get(law, times >= middle)
    if not from_frame.any():
        return video
    first = int(from_frame.argmax())
    late = raycast.Camera(camera.pose[first:], camera.focal, camera.height, camera.width)
    altered = dataclasses.replace(scene, things=_alter(law, scene, middle))
    return np.concatenate([video[:first], _film(late, altered, times[first:]).video])


def _alter(law: str, scene: Scene, middle: float) -> tuple[Thing, ...]:
    """Returns the things of a scene after a law was broken at a time."""
    first, *rest = scene.things
    path = first.path
    if law == "recolored_behind":
        used = [scene.wall.color, *(thing.color for thing in scene.things)]
        free = [c for c in COLORS if not any(laws.are_alike(c, other) for other in used)]
        first = dataclasses.replace(first, color=free[-1])
    elif law == "reshaped_behind":
        first = dataclasses.replace(first, shape={"ball": "box", "box": "ball"}[first.shape])
    elif law == "shrunk_behind":
        first = dataclasses.replace(first, radius=0.6 * first.radius)
    elif law == "wrong_time":
        skip = scene.until - middle if math.isfinite(scene.until) else 0.0
        first = dataclasses.replace(first, path=dataclasses.replace(path, time=path.time - skip))
    elif law == "wrong_side":
        first = dataclasses.replace(first, path=_turn_over(scene, first))
    elif law == "never_returns":
        return tuple(rest)
    elif law == "escapes" and path.kind == "stop":
        ends = find_hidden_span(scene.wall, first.shape, first.radius, first.lane)
        pivot = ends[int(path.speed > 0)]
        first = dataclasses.replace(first, path=Path("steady", pivot, path.speed, middle - 1))
    elif law == "exchanged" and rest:
        other = rest[0]
        look = {key: getattr(other, key) for key in ("color", "shape", "size", "radius")}
        own = {key: getattr(first, key) for key in look}
        return dataclasses.replace(first, **look), dataclasses.replace(other, **own)
    elif law == "appears":
        used = [scene.wall.color, *(thing.color for thing in scene.things)]
        free = [c for c in COLORS if not any(laws.are_alike(c, other) for other in used)]
        rest.append(Thing(free[0], "ball", "small", 0.1, -0.4, _find_open_place(scene)))
    elif law == "torn":
        things = []
        for thing in scene.things:
            for side in (-0.8, 0.8):
                path = dataclasses.replace(thing.path, pivot=thing.path.pivot + side * thing.radius)
                things.append(dataclasses.replace(thing, path=path, radius=0.55 * thing.radius))
        return tuple(things)
    return first, *rest


def _find_open_place(scene: Scene) -> Path:
    """Returns a place half way between the wall and the side of the frame with more room."""
    rests = [thing.path.pivot for thing in scene.things if thing.path.speed == 0]
    side = -math.copysign(1, rests[0] if rests else scene.wall.x)
    return Path("steady", (scene.wall.x + side * (scene.wall.half + 1)) / 2, 0.0, 0.0)


def _turn_over(scene: Scene, thing: Thing) -> Path:
    """Returns the path of a thing that comes into sight on the wrong side."""
    path = thing.path
    if scene.event == "pan":
        return dataclasses.replace(path, pivot=0.3 * path.pivot)
    if scene.event == "leaves":
        return path.mirror()
    low, high = find_hidden_span(scene.wall, thing.shape, thing.radius, thing.lane)
    return dataclasses.replace(path, pivot=low + high - path.pivot, speed=-path.speed)


def _bring_forward(video, camera, scene: Scene, times: np.ndarray) -> np.ndarray:
    """Paints the things over the wall."""
    things = [_build_thing(thing, times) for thing in scene.things]
    open_air = raycast.render(camera, things, FLOORS[scene.floor], laws.LIGHT)
    share = open_air.coverage.sum(0)[..., None]
    return (video + share * (open_air.video.astype(np.float32) - video) + 0.5).astype(np.uint8)
