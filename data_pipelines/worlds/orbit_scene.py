"""Draws the scene of the world `orbit` and moves its camera; the laws are in `sora_jax.laws.orbit`.

A run has `RUN` frames. Everything here depends on the random generator alone, never on the canvas
or on the frames of the clip.
"""

import dataclasses
import math

import numpy as np

from data_pipelines.worlds import base, raycast
from sora_jax.laws import orbit as laws
from sora_jax.laws.palette import COLORS, FPS

RUN = 65  # frames, as many as the longest clip has
BREAK = 5  # frame from which a broken law shows
JUMPS = {"orbit": 25.0, "pan": 9.0, "dolly": 1.0}  # how far the camera jumps, as u is measured
DRIFT = (0.9, 0.9)  # a solid that should stand drifts: units a second, and the farthest
CLEAR = 1.2  # sideways distance of solids in the first frame, of that at which they touch
_SCENES, _HEADINGS = 8, 24  # trials until the first frame shows all solids apart


@dataclasses.dataclass(frozen=True)
class Course:
    """How the camera moves.

    Attributes:
      motion: one of `laws.MOTIONS`.
      speed: its name in `laws.SPEEDS`.
      rate: u per second, signed; degrees or units.
      start: u at the first frame.
      heading: degrees, the direction on the floor in which the camera looks when u is 0.
      tilt: degrees by which it looks down.
      distance: to the target when u is 0, in units.
    """

    motion: str
    speed: str
    rate: float
    start: float
    heading: float
    tilt: float
    distance: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """Solids and their places.

    Attributes:
      pairs: (colour, solid) of each; the first one moves if `path` is not "none".
      radius: in units.
      yaws: [n], radians.
      centers: [RUN, n, 3].
      floor: a name of `laws.FLOORS`.
      path: one of `laws.PATHS` or "none".
      ball_speed: units a second along the path, or 0.
    """

    pairs: list[tuple[str, str]]
    radius: float
    yaws: np.ndarray
    centers: np.ndarray
    floor: str
    path: str
    ball_speed: float


def draw_run(
    rng: np.random.Generator, count: int, held_out: bool | None, speeds: tuple[str, ...]
) -> tuple[Scene, Course]:
    """Draws a scene and the camera's motion, so that the first frame shows the solids apart."""
    moving = count >= laws.MIN_COUNT_MOVING and rng.random() < laws.MOVING_SHARE
    path = base.pick(rng, laws.PATHS) if moving else "none"
    pairs = _draw_pairs(rng, count, held_out, moving)
    floor = base.pick(rng, tuple(laws.FLOORS))
    course = _draw_course(rng, laws.middle_distance(count, moving), speeds)
    runs = []
    for _ in range(_SCENES):
        scene, headings = _place_solids(rng, pairs, floor, path), rng.uniform(0, 360, _HEADINGS)
        views = np.minimum(_measure_views(course, headings, scene), CLEAR)
        i = int(views.argmax())
        runs.append((views[i], scene, dataclasses.replace(course, heading=float(headings[i]))))
        if views[i] == CLEAR:
            break
    _, scene, course = max(runs, key=lambda run: run[0])
    return scene, course


def _place_solids(rng, pairs: list[tuple[str, str]], floor: str, path: str) -> Scene:
    """Places solids on a circle, and a ball that rolls around or past them."""
    count, moving = len(pairs), path != "none"
    radius = laws.middle_radius(count, moving) * rng.uniform(*laws.RADIUS_SPREAD)
    standing = count - moving
    circle = laws.standing_circle(count, moving)
    turns = np.arange(standing) + rng.uniform(-0.1, 0.1, standing)
    angles = 2 * math.pi * (turns / standing + rng.random())
    centers = np.zeros((RUN, count, 3))
    centers[:, moving:, 0] = circle * np.cos(angles)
    centers[:, moving:, 1] = circle * np.sin(angles)
    centers[:, :, 2] = [laws.SOLIDS[solid][1] * radius for _, solid in pairs]
    speed = float(rng.uniform(*laws.BALL_SPEED)) * moving
    if moving:
        centers[:, 0, :2] = _roll(rng, path, laws.ball_lane(count), speed)
    return Scene(pairs, radius, rng.uniform(0, math.pi / 2, count), centers, floor, path, speed)


def _draw_course(rng, distance: float, speeds: tuple[str, ...]) -> Course:
    """Draws the camera's motion but for its heading, which is 0."""
    motion, speed = base.pick(rng, laws.MOTIONS), base.pick(rng, speeds)
    rate = float(base.pick(rng, (-1, 1)) * rng.uniform(*laws.SPEEDS[motion][speed]))
    start = {
        "orbit": 0.0,
        "pan": rng.uniform(-4, 4),
        "dolly": rng.uniform(-0.15, 0.1) * distance,
    }[motion]
    return Course(motion, speed, rate, start, 0.0, float(rng.uniform(*laws.TILT)), distance)


def follow_course(course: Course, times: np.ndarray) -> np.ndarray:
    """Returns u at times in seconds."""
    ends = laws.path_ends(course.motion, course.distance)
    return laws.follow_path(course.start + course.rate * times, *ends)


def place_camera(course: Course, u: np.ndarray) -> np.ndarray:
    """Returns the camera's poses [t, 4, 4] for each u."""
    turn = {"orbit": -1, "pan": 1, "dolly": 0}[course.motion] * np.radians(u)
    heading, tilt = math.radians(course.heading) + turn, math.radians(course.tilt)
    level = np.stack([np.cos(heading), np.sin(heading), 0 * u], -1)
    ahead = math.cos(tilt) * level - np.array([0, 0, math.sin(tilt)])
    target = np.array([0, 0, laws.TARGET_HEIGHT])
    if course.motion == "pan":
        c, s = math.cos(math.radians(course.heading)), math.sin(math.radians(course.heading))
        at = math.cos(tilt) * np.array([c, s, 0]) - np.array([0, 0, math.sin(tilt)])
        position = np.broadcast_to(target - course.distance * at, ahead.shape)
    else:
        closer = u if course.motion == "dolly" else 0 * u
        position = target - (course.distance - closer)[:, None] * ahead
    return raycast.look_at(position, position + ahead)


def build_solids(scene: Scene, frames: int) -> list:
    """Returns the solids of the ray caster in the first frames of the run."""
    solids = []
    for i, (color, solid) in enumerate(scene.pairs):
        center = scene.centers[:frames, i]
        half, height = (scene.radius * size for size in laws.SOLIDS[solid])
        if solid == "cube":
            made = raycast.Box(center, (half, half, height), float(scene.yaws[i]), COLORS[color])
        elif solid == "ball":
            made = raycast.Ball(center, half, COLORS[color])
        else:
            made = raycast.Cylinder(center, half, height, COLORS[color])
        solids.append(made)
    return solids


def drift(scene: Scene) -> Scene:
    """Lets the last solid, which stands, slide to and fro from frame `BREAK` on."""
    speed, farthest = DRIFT
    after = np.maximum(np.arange(RUN) - BREAK + 1, 0) * speed / FPS
    shift = farthest - np.abs(after % (2 * farthest) - farthest)
    centers = scene.centers.copy()
    place = centers[0, -1, :2]
    outward = place / np.linalg.norm(place)
    centers[:, -1, :2] += shift[:, None] * np.array([-outward[1], outward[0]])
    return dataclasses.replace(scene, centers=centers)


def stop_ball(scene: Scene) -> Scene:
    """Lets the ball that rolls, if any does, stand from frame `BREAK` on."""
    centers = scene.centers.copy()
    if scene.path != "none":
        centers[BREAK:, 0] = centers[BREAK - 1, 0]
    return dataclasses.replace(scene, centers=centers)


def _draw_pairs(rng, count: int, held_out: bool | None, moving: bool) -> list[tuple[str, str]]:
    """Draws (colour, solid) pairs of different colours, all of them held out or none.

    The first one is a ball if it moves. A single solid is a cube: one can see that a camera
    circles around it.
    """
    solids = tuple(laws.SOLIDS) if count > 1 else ("cube",)
    pairs = base.allowed_pairs(COLORS, solids, is_held_out_pair, held_out)
    drawn: list[tuple[str, str]] = []
    if moving:
        drawn.append(base.pick(rng, [pair for pair in pairs if pair[1] == "ball"]))
    while len(drawn) < count:
        used = {color for color, _ in drawn}
        drawn.append(base.pick(rng, [pair for pair in pairs if pair[0] not in used]))
    return drawn


def is_held_out_pair(color: str, solid: str) -> bool:
    """Whether a colour and a solid are kept out of training together: 8 pairs of 32."""
    return (list(COLORS).index(color) + 1) % len(laws.SOLIDS) == list(laws.SOLIDS).index(solid)


def _roll(rng, path: str, lane: float, speed: float) -> np.ndarray:
    """Returns a rolling ball's places [RUN, 2] on the floor."""
    way = speed * np.arange(RUN) / FPS
    heading, sign = rng.uniform(0, 2 * math.pi), base.pick(rng, (-1, 1))
    if path == "circle":
        angle = heading + sign * way / lane
        return lane * np.stack([np.cos(angle), np.sin(angle)], -1)
    along = sign * (way - rng.uniform(0.3, 1.0))
    c, s = math.cos(heading), math.sin(heading)
    return along[:, None] * np.array([c, s]) + lane * np.array([-s, c])


def _measure_views(course: Course, headings: np.ndarray, scene: Scene) -> np.ndarray:
    """Returns how well the solids are seen apart in the first picture, sideways, by heading.

    1 or more is where they do not touch one another nor the edges of the middle square, 0 where
    one stands behind the middle of another one or is out of the picture.
    """
    pose = place_camera(course, np.array([course.start]))[0]
    c, s = np.cos(np.radians(headings)), np.sin(np.radians(headings))
    # Turning the camera by a heading is turning the solids back by it.
    x, y, z = scene.centers[0].T
    centers = np.stack(
        [np.outer(c, x) + np.outer(s, y), np.outer(c, y) - np.outer(s, x), np.tile(z, (len(c), 1))],
        -1,
    )
    offset = (centers - pose[:3, 3]) @ pose[:3, :3]
    depth = -offset[..., 2]
    x = offset[..., 0] / depth
    wide = np.array([laws.SOLIDS[solid][0] for _, solid in scene.pairs]) * scene.radius / depth
    views = ((math.tan(laws.VIEW) - np.abs(x) + wide) / (2 * wide)).min(-1)
    for i in range(len(scene.pairs)):
        for j in range(i):
            gap = np.abs(x[:, i] - x[:, j]) / (wide[:, i] + wide[:, j])
            views = np.minimum(views, gap)
    return views
