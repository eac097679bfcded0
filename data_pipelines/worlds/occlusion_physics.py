"""Draws the runs of `occlusion` by its laws: what moves how, where the wall stands, when it starts.

Every scene is drawn with the first object moving to the right, and half of them are mirrored.
"""

import dataclasses
import math

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.occlusion_scene import (
    CAMERA_Y,
    CAMERA_Z,
    Pan,
    Path,
    Scene,
    Thing,
    Wall,
    find_edge,
    find_hidden_span,
)
from sora_jax.laws import occlusion as laws
from sora_jax.laws.palette import COLORS, FPS
from sora_jax.laws.scene import FLOORS

EARLY = 0.7  # share of the clips that begin before anything is hidden


def draw_scene(rng: np.random.Generator, held_out: bool | None, outside: bool) -> Scene:
    """Draws a run by the laws; `held_out` and `outside` are those of a `ClipRequest`."""
    event = str(rng.choice(list(laws.EVENTS), p=list(laws.EVENTS.values())))
    colors = _draw_colors(rng, held_out)
    floor = base.pick(rng, tuple(FLOORS))
    size = base.pick(rng, tuple(laws.RADII))
    speeds = laws.SPEEDS
    if outside:
        fast = bool(rng.integers(2)) and event != "pan"
        speeds = laws.OUTSIDE_SPEEDS[int(fast)]
        size = "small" if fast else size
    speed = _draw_log(rng, *speeds) / FPS
    sizes = size, size if event == "cross" else base.pick(rng, tuple(laws.RADII))
    things = [
        Thing(color, base.pick(rng, laws.SHAPES), s, rng.uniform(*laws.RADII[s]), 0.0, _NOWHERE)
        for color, s in zip(colors[:2], sizes, strict=True)
    ]
    if event in laws.BEHIND:
        scene = _hide(rng, event, floor, things, colors[2], speed)
    else:
        scene = _lose(rng, event, floor, things[0], colors[2], speed)
    return _mirror(scene) if rng.integers(2) else scene


_NOWHERE = Path("steady", 0.0, 0.0, 0.0)


def _draw_log(rng, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(max(low, high)))))


def _draw_colors(rng, held_out: bool | None) -> tuple[str, str, str]:
    """Draws the colours of the first object, of a second one and of the wall."""
    pairs = base.allowed_pairs(COLORS, laws.WALLS, laws.is_held_out, held_out)
    color, wall = base.pick(rng, [pair for pair in pairs if not laws.are_alike(*pair)])
    seconds = [
        other
        for other in COLORS
        if not (laws.are_alike(other, color) or laws.are_alike(other, wall))
        and not (laws.may_mix(color, other, wall) or laws.may_mix(other, color, wall))
        and (held_out is not False or not laws.is_held_out(other, wall))
    ]
    return color, base.pick(rng, seconds), wall


def _hide(rng, event: str, floor: str, things: list[Thing], color: str, speed: float) -> Scene:
    """Draws a scene with something behind the wall."""
    first, second = things
    how = base.pick(rng, ("back", "stays")) if event == "beside" else event
    two = event in ("cross", "beside")
    widest = max(first.radius, second.radius if two else 0)
    beside = laws.REST if event == "beside" else laws.GAP
    longest = 2 - 2 * (2 * widest + beside) - 2 * first.radius  # of the hidden span
    if how in ("through", "cross"):
        frames = _draw_log(rng, laws.HIDDEN[0], min(laws.HIDDEN[1], longest / speed))
        length = frames * speed
    elif how == "back":
        frames = _draw_log(rng, laws.HIDDEN[0], min(laws.HIDDEN[1], 2 * longest / speed))
        length = min(max(frames * speed / 2 + rng.uniform(0.02, 0.25), 0.15), longest)
    else:
        frames = math.inf
        length = rng.uniform(0.15, longest)
    wall = _stand_wall(rng, first, second if two else None, color, length, event)
    low, high = find_hidden_span(wall, first.shape, first.radius, first.lane)
    stop = low + rng.uniform(0.35, 0.65) * (high - low)
    path = {
        "through": Path("steady", low, speed, 0.0),
        "cross": Path("steady", low, speed, 0.0),
        "back": Path("turn", low + speed * frames / 2, speed, frames / 2),
        "stays": Path("stop", stop, speed, (stop - low) / speed),
    }[how]
    first = dataclasses.replace(first, path=path)
    room = (low + 1 - laws.GAP / 2 - first.radius) / speed  # frames, whole in the frame
    begin = 0.0
    if event == "cross":
        second, begin = _meet(rng, second, wall, speed, frames)
        room = min(room, (1 - second.radius - second.path.pivot) / -second.path.speed - begin)
    elif event == "beside":
        edge = high + first.radius + second.radius + laws.REST
        place = rng.uniform(edge, max(edge, 1 - laws.GAP / 2 - second.radius))
        second = dataclasses.replace(second, path=Path("steady", place, 0.0, 0.0))
    things = [first, second] if two else [first]
    start = _draw_start(rng, first, speed, room, frames, begin)
    return Scene(event, floor, tuple(things), wall, Pan(), start, frames)


def _stand_wall(rng, first, second, color: str, length: float, event: str) -> Wall:
    """Draws a wall behind which the first object is hidden over a length of its lane."""
    radius = max(first.radius, second.radius if second else 0)
    lanes = (0.0, laws.LANE) if event == "cross" else (0.0,)
    y = -(radius + laws.GAP + laws.WALL_DEPTH / 2)
    top = 0.0
    for lane in lanes:  # the line of sight over the wall passes the farthest edge of a box
        back = lane + radius - CAMERA_Y
        top = max(
            top, CAMERA_Z - (CAMERA_Z - 2 * radius) * (y + laws.WALL_DEPTH / 2 - CAMERA_Y) / back
        )
    half = length / 2 + first.radius
    spare = 1 - half - 2 * radius - (laws.REST if event == "beside" else laws.GAP)
    spare = max(min(spare, half - 0.1, 0.05 if event == "cross" else 1.0), 0.0)
    x = rng.uniform(-spare, spare)
    height = top + rng.uniform(0.03, 0.09)
    for _ in range(3):
        wall = Wall(color, x, y, half, height)
        low, high = find_hidden_span(wall, first.shape, first.radius, 0.0)
        half += (length - (high - low)) / 2
    return Wall(color, x, y, half, height)


def _meet(rng, thing: Thing, wall: Wall, speed: float, frames: float) -> tuple[Thing, float]:
    """Lets a second object pass behind the wall from the right; returns when it is hidden, too."""
    low, high = find_hidden_span(wall, thing.shape, thing.radius, laws.LANE)
    slowest = max(0.8 * speed, (high - low) / laws.HIDDEN[1])
    fastest = min(1.25 * speed, (high - low) / laws.HIDDEN[0])
    own = rng.uniform(slowest, max(slowest, fastest))
    begin = rng.uniform(-0.25, 0.25) * min(frames, (high - low) / own)
    path = Path("steady", high, -own, begin)
    return dataclasses.replace(thing, lane=laws.LANE, path=path), begin


def _lose(rng, event: str, floor: str, thing: Thing, color: str, speed: float) -> Scene:
    """Draws a scene whose object is out of the frame for a while."""
    r = thing.radius
    if event == "leaves":
        frames = _draw_log(rng, *laws.HIDDEN)
        path = Path("turn", find_edge(r) + r + speed * frames / 2, speed, frames / 2)
        half, y, x = rng.uniform(0.2, 0.4), 2 * r + 0.3, rng.uniform(-0.5, 0.4)
        pan = Pan()
    else:
        path = Path("steady", -rng.uniform(0.28, 0.45), 0.0, 0.0)
        half, y, x = rng.uniform(0.15, 0.22), 0.0, rng.uniform(0.38, 0.5)
        gone = math.atan(find_edge(r) / laws.DISTANCE) + math.atan((path.pivot + r) / laws.DISTANCE)
        farthest = math.atan(x / laws.DISTANCE) + math.radians(8.3)
        turn = speed / laws.DISTANCE
        turn = min(turn, 2 * (farthest - gone) / laws.HIDDEN[0])
        frames = _draw_log(rng, laws.HIDDEN[0], min(laws.HIDDEN[1], 2 * (farthest - gone) / turn))
        speed = turn * laws.DISTANCE
        pan = Pan(turn, gone + turn * frames / 2, frames / 2)
    thing = dataclasses.replace(thing, path=path)
    wall = Wall(color, x, y, half, rng.uniform(0.4, 0.55))
    start = _draw_start(rng, thing, speed, math.inf, frames, 0.0)
    return Scene(event, floor, (thing,), wall, pan, start, frames)


def _draw_start(rng, thing, speed: float, room: float, frames: float, begin: float) -> float:
    """Draws when the clip starts: while everything is in sight, or while nothing is.

    Args:
      thing: the first object.
      speed: at which it gets out of sight.
      room: frames before it is hidden in which all objects are in the frame.
      frames: for how long it is hidden; inf for ever.
      begin: when the second object is hidden.
    """
    passing = 2 * thing.radius / speed  # frames from touching the wall's edge to hidden
    latest = min(passing + 1, room)
    early = rng.uniform(latest, min(room, passing + 6))
    late = rng.uniform(0.5, min(frames, 10.0) - 1)
    share = EARLY if math.isfinite(frames) else 0.9
    return max(begin, 0.0) + late if rng.random() >= share else min(begin, 0.0) - early


def _mirror(scene: Scene) -> Scene:
    things = tuple(dataclasses.replace(t, path=t.path.mirror()) for t in scene.things)
    wall = dataclasses.replace(scene.wall, x=-scene.wall.x)
    pan = dataclasses.replace(scene.pan, speed=-scene.pan.speed)
    return dataclasses.replace(scene, things=things, wall=wall, pan=pan)
