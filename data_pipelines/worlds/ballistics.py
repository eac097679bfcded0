"""One to three objects that rest, slide, fall, are thrown, bounce off the frame's edges or collide.

The background is plain and unsaturated, so that the only saturated colours of a clip are those of
its objects, all different. The run begins before the window; `sora_jax.laws.ballistics` has the
laws. Lengths are in units, the frame's short side, and y points down.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage

from data_pipelines.worlds import base
from data_pipelines.worlds.ballistics_captions import write_captions
from data_pipelines.worlds.ballistics_scenes import (
    Scene,
    draw_scene,
    is_held_out_pair,
    outline,
    simulate,
)
from data_pipelines.worlds.drawing import Picture
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

NAME = "ballistics"
LICENCE = "Apache-2.0"
BROKEN = {
    "gravity_doubled": "objects fall twice as fast",
    "energy_gained": "every bounce and collision adds speed",
    "ghost_pass": "balls pass through each other",
    "slowed": "objects without gravity lose speed and stop",
    "teleport": "an object jumps by half the frame",
    "recolored": "an object takes on another colour",
    "reshaped": "an object takes on another shape",
    "split": "every object falls into two pieces",
    "popped_in": "an object appears from nothing",
    "smeared": "edges are soft",
    "flicker": "the picture's brightness jumps from frame to frame",
}
GAIN = 1.25  # restitution where energy is gained
BREAKS = (3, 5)  # frame of the window, at the earliest and latest, where an object changes or jumps
SECTORS = (
    "right", "down and right", "down", "down and left",
    "left", "up and left", "up", "up and right",
)  # fmt: skip


def is_held_out(attributes: dict[str, str]) -> bool:
    """Says whether colour and shape of any object are a pair that is kept out of training."""
    colors, shapes = attributes["colors"].split(", "), attributes["shapes"].split(", ")
    return any(is_held_out_pair(*pair) for pair in zip(colors, shapes, strict=True))


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, for t frames and n objects:

    - position[t, n, 2] and velocity[t, n, 2] in units and units/s;
    - radius[n] in units and angle[n] in radians, of shapes as in `laws.outline`;
    - whole[t, n]: within the frame with its whole outline; gone[t, n]: no part of it is;
    - events: of the window, in order: `time` in seconds since its first frame, `object`, and
      `wall` (left, right, top, bottom) or the `other` object;
    - room: width and height of the frame in units;
    - gravity (units/s^2), walls, restitution, and what is `outside` of training's range.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request, BROKEN)
    room = np.array([w, h]) / min(h, w)
    scene = draw_scene(rng, request, room)
    caption_rng, break_rng = rng.spawn(2)
    times, begin = np.arange(t) / FPS, scene.first / FPS
    position, velocity, _ = simulate(scene, scene.start, scene.velocity, times + begin, scene.obeys)
    at, low, high = position.swapaxes(0, 1), scene.low, scene.high
    truth = {
        "position": at.astype(np.float32),
        "velocity": velocity.swapaxes(0, 1).astype(np.float32),
        "radius": scene.radii.astype(np.float32),
        "angle": scene.angles.astype(np.float32),
        "whole": ((at >= low - 1e-6) & (at <= high + 1e-6)).all(-1),
        "gone": ((at >= room + low) | (at <= high - room)).any(-1),
        "events": [
            {"time": round(event.time - begin, 4), "object": event.object}
            | ({"wall": event.wall} if event.wall else {"other": event.other})
            for event in scene.events
            if begin < event.time <= begin + times[-1]
        ],
        "room": room.astype(np.float32),
        "gravity": scene.obeys.gravity,
        "walls": scene.obeys.walls,
        "restitution": scene.obeys.restitution,
        "outside": scene.outside,
    }
    attributes = _name_attributes(scene, truth)
    shown = _break_motion(scene, request.broken, position, velocity[:, 0], times)
    video = _draw(break_rng, scene, shown, (t, h, w), request.broken)
    seen = _find_seen(truth["events"], t)
    captions = write_captions(caption_rng, attributes, base.name_view(h, w), seen)
    return base.Clip(video, FPS, captions, truth, attributes)


def _break_motion(scene: Scene, broken: str, position, velocity, times) -> np.ndarray:
    """Returns the positions [n, t, 2] that the video shows, from the window's first state on."""
    obeys = scene.obeys
    if broken == "gravity_doubled" and obeys.gravity:
        obeys = dataclasses.replace(obeys, gravity=2 * obeys.gravity)
    elif broken == "energy_gained":
        obeys = dataclasses.replace(obeys, restitution=GAIN)
    elif broken == "ghost_pass" and obeys.contacts:
        obeys = dataclasses.replace(obeys, contacts=False)
    elif broken == "slowed" and not obeys.gravity:
        times = 1 - np.exp(-times)  # speed falls to 1/e in a second
    else:
        return position
    with np.errstate(over="ignore", invalid="ignore"):  # speeds that grow without end
        shown = simulate(scene, position[:, 0], velocity, times, obeys)[0]
    return np.clip(np.nan_to_num(shown), -10, 10)


def _find_seen(events: list[dict[str, Any]], frames: int) -> list[dict[str, Any]]:
    """Finds the events that a clip shows: a whole interval between frames follows them."""
    return [event for event in events if event["time"] <= (frames - 2) / FPS]


def _name_attributes(scene: Scene, truth) -> dict[str, str]:
    """Names what the window shows, of each object in turn; `color` is that of the first one."""
    frames, n = truth["whole"].shape
    gravity = scene.obeys.gravity > 0
    seen = _find_seen(truth["events"], frames)
    bounces = {event["object"] for event in seen if "wall" in event}
    pairs = [(event["object"], event["other"]) for event in seen if "other" in event]
    leaves = truth["gone"][-1]
    directions, actions = [], []
    for vx, vy in truth["velocity"][0]:
        if gravity:
            actions.append("throw" if vx else "fall")
            directions.append("right" if vx > 0 else "left" if vx < 0 else "down")
        else:
            moves = bool(vx or vy)
            actions.append("slide" if moves else "rest")
            sector = round(math.atan2(vy, vx) / (math.pi / 4)) % 8
            directions.append(SECTORS[sector] if moves else "none")
    motion = "fall" if gravity else "rest" if set(actions) == {"rest"} else "slide"
    motion = "collide" if pairs else "bounce" if bounces else motion
    if frames == 1:
        motion, actions, directions = "still", ["none"] * n, ["none"] * n
    first = list(pairs[0]) if pairs else []
    if first and actions[first[0]] == "rest":
        first.reverse()  # who moves hits who rests

    def names(which):
        return ", ".join(scene.colors[i] for i in which) or "none"

    return {
        "count": str(n),
        "color": scene.colors[0],
        "colors": ", ".join(scene.colors),
        "shapes": ", ".join(scene.shapes),
        "sizes": ", ".join(scene.sizes),
        "background": scene.background,
        "motion": motion,
        "gravity": "unseen" if frames == 1 else "yes" if gravity else "none",
        "walls": "yes" if bounces else "none" if leaves.any() else "unseen",
        "directions": ", ".join(directions),
        "actions": ", ".join(actions),
        "bounces": names(sorted(bounces)),
        "collides": names(first),
        "leaves": names(np.flatnonzero(leaves)),
    }


def _draw(rng, scene: Scene, position, size: tuple[int, int, int], broken: str) -> np.ndarray:
    """Draws the objects at position[n, t, 2], with what is broken in the picture."""
    t, h, w = size
    scale = min(h, w)
    room = np.array([w, h]) / scale
    start = int(rng.integers(BREAKS[0], BREAKS[1] + 1))
    late = np.arange(t) >= start
    away = np.full(2, -10.0)  # units, far outside of the frame
    things = []  # color, shape, radius, angle, position[t, 2]
    for i, color in enumerate(scene.colors):
        look, at = (color, scene.shapes[i], scene.radii[i], scene.angles[i]), position[i]
        before, after = np.where(late[:, None], away, at), np.where(late[:, None], at, away)
        if broken == "split":
            shift = np.array([0.75 * scene.radii[i], 0])
            pieces = [(*look[:2], 0.6 * look[2], look[3], after + s) for s in (shift, -shift)]
            things += [(*look, before), *pieces]
        elif broken == "recolored" and i == 0:
            other = base.pick(rng, [name for name in COLORS if name not in scene.colors])
            things += [(*look, before), (other, *look[1:], after)]
        elif broken == "reshaped" and i == 0:
            other = base.pick(rng, [name for name in laws.SHAPES if name != look[1]])
            things += [(*look, before), (color, other, *look[2:], after)]
        elif broken == "teleport" and i == 0:
            axis = int(room[1] > room[0])
            jump = np.eye(2)[axis] * room[axis] / 2
            place = at[min(start, t - 1), axis]
            jumped = at + np.where(late[:, None], jump if place < room[axis] / 2 else -jump, 0)
            things.append((*look, jumped))
        else:
            things.append((*look, at))
    if broken == "popped_in":
        other = base.pick(rng, [name for name in COLORS if name not in scene.colors])
        place = _find_room(position[:, min(start, t - 1)], room)
        things.append((other, "ball", 0.1, 0.0, np.where(late[:, None], place, away)))

    picture = Picture(t, h, w, BACKGROUNDS[scene.background])
    for color, shape, radius, angle, at in things:
        if shape == "ball":
            picture.disc(at * scale, radius * scale, COLORS[color])
        else:
            corners = radius * outline(shape, angle)
            picture.polygon((at[:, None] + corners) * scale, COLORS[color])
    video = picture.video()
    if broken == "smeared":
        soft = ndimage.gaussian_filter(
            video[1:].astype(np.float32), (0, 0.04 * scale, 0.04 * scale, 0)
        )
        video[1:] = soft
    if broken == "flicker":
        jumps = rng.choice((-14, 14), t - 1)
        video[1:] = np.clip(video[1:].astype(int) + jumps[:, None, None, None], 0, 255)
    return video


def _find_room(position: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Finds the place (x, y), well within the frame, that is farthest from position[n, 2]."""
    x, y = np.meshgrid(np.linspace(0.15, room[0] - 0.15, 8), np.linspace(0.15, room[1] - 0.15, 8))
    places = np.stack([x.ravel(), y.ravel()], 1)
    nearest = np.linalg.norm(places[:, None] - position, axis=-1).min(1)
    return places[nearest.argmax()]
