"""Draws scenes of the ballistics world: what is there, how it starts, where a clip's window begins.

Starts are drawn many at a time, and the first one is taken that meets the conditions: all objects
are in the frame in the window's first 4 intervals, nothing is hit in them, and objects that are
not meant to collide keep apart for the whole run. A run lasts `RUN` frames, whatever the clip.
"""

import dataclasses
import itertools
import math

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.ballistics_physics import Event, Laws, collide, fly, list_hits
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

KINDS = {  # name: share of the draws, gravity, walls; None for one or the other
    "rest": (0.06, False, False),
    "slide": (0.19, False, False),
    "rebound": (0.19, False, True),
    "fall": (0.17, True, False),
    "drop": (0.17, True, True),
    "collide": (0.22, False, None),
}
LATEST = 16  # last frame of the run at which a window may begin
RUN = LATEST + max(base.DURATIONS)  # frames
LEAD = 4  # frame intervals at a window's beginning in which nothing is hit
AFTER = 4  # frame intervals after a run's first collision in which nothing else is hit
MIN_APPROACH = 0.3  # units/s along the line between the centres, of the first collision
GAP = 0.06  # units between objects that do not collide
BATCH = 48  # starts drawn at a time
TRIES = 8  # times that looks and starts are drawn before another kind and count are


@dataclasses.dataclass(frozen=True)
class Scene:
    """Objects, their state at the run's start, and what happens to them.

    Attributes:
      kind: one of `KINDS`.
      obeys: the laws of the motion.
      colors, shapes, sizes: names, one an object.
      radii: [n], units. angles: [n], radians by which shapes are turned.
      low, high: [n, 2], range of centres for which an object is within the frame.
      start, velocity: [n, 2], in units and units/s.
      events: of the whole run, in order of time.
      first: frame of the run at which the window begins.
      outside: which law is outside of training's range: 'speed', 'size', 'count' or 'none'.
      background: name of a background.
    """

    kind: str
    obeys: Laws
    colors: list[str]
    shapes: list[str]
    sizes: list[str]
    radii: np.ndarray
    angles: np.ndarray
    low: np.ndarray
    high: np.ndarray
    start: np.ndarray
    velocity: np.ndarray
    events: list[Event]
    first: int
    outside: str
    background: str


def is_held_out_pair(color: str, shape: str) -> bool:
    """Keeps 8 of the 32 pairs of colour and shape out of training, two colours for each shape."""
    return list(COLORS).index(color) % len(laws.SHAPES) == laws.SHAPES.index(shape)


def outline(shape: str, angle: float) -> np.ndarray:
    """Returns the corners [n, 2] of a shape of radius 1, turned by `angle`; a ball's never turn."""
    corners = laws.outline(shape)
    if shape == "ball":
        return corners
    c, s = math.cos(angle), math.sin(angle)
    return corners @ np.array([[c, s], [-s, c]])


def draw_scene(rng: np.random.Generator, request: base.ClipRequest, room: np.ndarray) -> Scene:
    """Draws a scene in a frame of room = (width, height) units."""
    background = base.pick(rng, tuple(BACKGROUNDS))
    outside = base.pick(rng, ("speed", "size", "count")) if request.outside else "none"
    while True:
        kind = str(rng.choice(list(KINDS), p=[share for share, *_ in KINDS.values()]))
        count = int(rng.choice(list(laws.COUNTS), p=list(laws.COUNTS.values())))
        count = laws.COUNT_OUTSIDE if outside == "count" else count
        for _ in range(TRIES):
            scene = _try_scene(rng, kind, count, request.held_out, outside, background, room)
            if scene is not None:
                return scene


def simulate(
    scene: Scene, start: np.ndarray, velocity: np.ndarray, times: np.ndarray, obeys: Laws
) -> tuple[np.ndarray, np.ndarray, list[Event]]:
    """Simulates the objects of a scene from a state; see `fly` and `collide`."""
    if scene.kind == "collide":
        width, height = (scene.high[0] + scene.radii[0]).tolist()
        return collide(start, velocity, scene.radii, (width, height), times, obeys)
    position, speed, hits = fly(start, velocity, scene.low, scene.high, times, obeys)
    return position, speed, list_hits(hits, velocity, float(times[-1]), obeys)


def _try_scene(rng, kind, count, held_out, outside, background, room) -> Scene | None:
    """Draws the looks and the start of objects; None if the start fails."""
    _, gravity, walls = KINDS[kind]
    if walls is None:
        walls = bool(rng.uniform() < 0.6)
    obeys = Laws(
        gravity=laws.GRAVITY if gravity else 0.0,
        walls=walls,
        restitution=laws.RESTITUTION["gravity" if gravity else "none"],
        contacts=kind == "collide",
    )
    if kind == "collide":
        count = max(count, 2)
    if outside == "speed" and kind == "rest":
        return None
    objects = _draw_looks(rng, count, kind == "collide", held_out)
    if objects is None:
        return None
    colors, shapes = objects
    sizes = [base.pick(rng, tuple(laws.DIAMETERS)) for _ in range(count)]
    if count > max(laws.COUNTS):
        sizes = ["small"] * count
    diameters = laws.DIAMETERS_OUTSIDE if outside == "size" else laws.DIAMETERS
    radii = np.array([rng.uniform(*diameters[size]) / 2 for size in sizes])
    angles = np.zeros(count) if gravity else rng.uniform(0, 2 * math.pi, count)
    corners = [
        radius * outline(shape, angle)
        for radius, shape, angle in zip(radii, shapes, angles, strict=True)
    ]
    low = np.array([-c.min(0) for c in corners])
    high = np.array([room - c.max(0) for c in corners])
    scene = Scene(
        kind, obeys, colors, shapes, sizes, radii, angles, low, high, low, low, [], 0, outside,
        background,
    )  # fmt: skip
    speeds = laws.SPEEDS_OUTSIDE if outside == "speed" else laws.SPEEDS
    return (_start_collision if kind == "collide" else _start_apart)(rng, scene, speeds)


def _draw_looks(rng, count, balls, held_out) -> tuple[list[str], list[str]] | None:
    """Draws colours, all different, and shapes; the first pair is held out if that is asked for."""
    colors, shapes = [], []
    kinds = laws.SHAPES[:1] if balls else laws.SHAPES
    for i in range(count):
        wanted = held_out if i == 0 or held_out is False else None
        pairs = base.allowed_pairs(COLORS, kinds, is_held_out_pair, wanted)
        pairs = [pair for pair in pairs if pair[0] not in colors]
        if not pairs:
            return None
        color, shape = base.pick(rng, pairs)
        colors.append(color)
        shapes.append(shape)
    return colors, shapes


def _start_apart(rng, scene, speeds) -> Scene | None:
    """Draws starts from which objects never touch each other; None if the draws fail."""
    n = len(scene.colors)
    low, high = scene.low, scene.high
    velocity = _draw_velocities(rng, scene, speeds, n)
    lead = LEAD / FPS
    # Where the centre may start, so that it stays in the frame for the lead.
    fallen = scene.obeys.gravity / 2 * lead**2
    near, far = low - np.minimum(velocity * lead, 0), high - np.maximum(velocity * lead, 0)
    if scene.obeys.gravity:
        rise = velocity[..., 1] ** 2 / (2 * scene.obeys.gravity)
        near[..., 1] = low[:, 1] + rise
        far[..., 1] = high[:, 1] - np.maximum(velocity[..., 1] * lead + fallen, 0)
        dropped = velocity[..., 1] == 0
        middle = (near[..., 1] + far[..., 1]) / 2
        far[..., 1] = np.where(dropped, middle, far[..., 1])
    start = near + (far - near) * rng.uniform(size=near.shape)
    good = (far >= near).all((1, 2))
    kept = np.flatnonzero(good)
    if n > 1 and len(kept):
        times = np.arange(0, RUN, 0.5) / FPS if scene.kind != "rest" else np.zeros(1)
        position = fly(start[kept], velocity[kept], low, high, times, scene.obeys)[0]
        reach = scene.radii * [laws.REACH[shape] for shape in scene.shapes]
        for i, j in itertools.combinations(range(n), 2):
            between = np.square(position[:, i] - position[:, j]).sum(-1).min(-1)
            good[kept] &= between > (reach[i] + reach[j] + GAP) ** 2
    kept = np.flatnonzero(good)
    if not len(kept):
        return None
    scene = dataclasses.replace(scene, start=start[kept[0]], velocity=velocity[kept[0]])
    return _open_window(rng, scene)


def _draw_velocities(rng, scene, speeds, n) -> np.ndarray:
    """Draws velocities [BATCH, n, 2] in units/s."""
    shape = (BATCH, n)
    if scene.kind == "rest":
        return np.zeros((*shape, 2))
    sign = rng.choice((-1, 1), shape)
    if scene.obeys.gravity:
        velocity = rng.uniform(*speeds, (*shape, 2)) * np.stack([sign, -np.ones(shape)], -1)
        # Several objects are mostly dropped, in columns of their own.
        dropped = rng.uniform(size=shape) < (0.35 if n == 1 else 0.6)
        if speeds == laws.SPEEDS_OUTSIDE:
            dropped[:, 0] = False
        return np.where(dropped[..., None], 0.0, velocity)
    heading = rng.uniform(0, 2 * math.pi, shape)
    if n > 1:  # in lanes that seldom cross
        lanes = rng.uniform(size=shape) < (0.85 if scene.obeys.walls else 0.4)
        heading = np.where(lanes, math.pi / 2 * rng.integers(4, size=shape), heading)
    direction = np.stack([np.cos(heading), np.sin(heading)], -1)
    return np.round(direction, 9) * rng.uniform(*speeds, shape)[..., None]


def _start_collision(rng, scene, speeds) -> Scene | None:
    """Draws balls of which the first two collide 5.5 to 12 frames after the run's start."""
    n, r = len(scene.colors), scene.radii
    low, high = scene.low, scene.high
    wait = rng.uniform(5.5, 12, (BATCH, 1, 1)) / FPS
    normal = rng.uniform(0, 2 * math.pi, BATCH)
    heading = rng.uniform(0, 2 * math.pi, (BATCH, n))
    aside = rng.uniform(-0.9, 0.9, (BATCH, 2))  # radians from the line between the centres
    heading[:, :2] = normal[:, None] + aside + [0, math.pi]
    pace = rng.uniform(*speeds, (BATCH, n)) * (rng.uniform(size=(BATCH, n)) > 0.35)
    pace[:, 0] = rng.uniform(*speeds, BATCH)
    velocity = pace[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    along = np.stack([np.cos(normal), np.sin(normal)], -1)
    near, far = low[:2].max(0), high[:2].min(0)
    touch = near + (far - near) * rng.uniform(size=(BATCH, 2))
    at = touch[:, None] + along[:, None] * np.array([-r[0], r[1]])[:, None]
    start = low + (high - low) * rng.uniform(size=(BATCH, n, 2))
    start[:, :2] = at - velocity[:, :2] * wait
    good = ((velocity[:, 0] - velocity[:, 1]) * along).sum(-1) > MIN_APPROACH
    good &= ((start >= low) & (start <= high)).all((1, 2))
    good &= ((at >= low[:2]) & (at <= high[:2])).all((1, 2))
    for i, j in itertools.combinations(range(n), 2):
        good &= np.hypot(*(start[:, i] - start[:, j]).T) > r[i] + r[j] + GAP
    for k in np.flatnonzero(good):
        opened = _open_window(rng, dataclasses.replace(scene, start=start[k], velocity=velocity[k]))
        if opened is not None:
            return opened
    return None


def _open_window(rng, scene) -> Scene | None:
    """Simulates the run and draws the window's first frame; None if no frame can be first."""
    frames = np.arange(LATEST + LEAD + 1)
    # Only the last time counts for the events of the whole run.
    position, _, events = simulate(
        scene, scene.start, scene.velocity, np.r_[frames, RUN] / FPS, scene.obeys
    )
    position = position[:, :-1]
    margin = 1e-6
    low, high = scene.low[:, None] - margin, scene.high[:, None] + margin
    whole = ((position >= low) & (position <= high)).all((0, 2))
    hits = np.array([event.time for event in events]) * FPS
    pairs = [event for event in events if event.other >= 0]
    latest = LATEST if scene.kind != "rest" else 0
    if scene.kind == "collide":
        if not pairs or {pairs[0].object, pairs[0].other} != {0, 1}:
            return None
        hit = pairs[0].time * FPS
        others = hits[hits != hit]
        if ((others > hit - 2) & (others < hit + AFTER)).any():
            return None
        latest = min(latest, int(hit) - LEAD - 1)
    elif scene.obeys.gravity and len(hits):
        latest = min(latest, int(hits[0]))
    possible = [
        first
        for first in range(latest + 1)
        if whole[first : first + LEAD + 1].all()
        and not ((hits >= first - 0.1) & (hits <= first + LEAD)).any()
    ]
    if not possible:
        return None
    return dataclasses.replace(scene, events=events, first=base.pick(rng, possible))
