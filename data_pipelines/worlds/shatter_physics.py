"""Runs of the shattering world: what is thrown at what, how it breaks, and how all of it moves.

Times are in seconds after the impact, or after the ball passes over a target that it misses. Until
then the ball's path is a parabola in closed form; then Pymunk simulates it, with the pieces.
"""

import dataclasses
from typing import Any

import numpy as np

from data_pipelines.worlds.shatter_pieces import break_parts, find_centroid
from sora_jax.laws import shatter as laws
from sora_jax.laws.palette import FPS

STEPS = 8  # of the simulation, in a frame
EARLY = 0.5  # seconds before the impact, for a target that breaks too early
SCALE = 100.0  # of lengths in the simulation, whose tolerances suit larger numbers

_ROOM = (0.30, 0.36)  # between the frame's edge, where the ball comes from, and the target
_WIDER = 0.15  # more room, at most, where the frame is wider
_REST = 0.0006  # units or radians in a frame: what moves less has come to rest
_CLEARANCE = (0.02, 0.06)  # between a ball and the target that it misses


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run goes on from its impact; a run is drawn as if the ball came from the left.

    Attributes:
      size: (width, height) of the frame, units.
      mirrored: whether the ball comes from the right.
      outcome: of `laws.OUTCOMES`.
      radius: of the ball.
      ball: its position (x, y) at time 0.
      velocity: the same.
      parts: the target's convex parts, corners [n, 2].
      pieces: corners [k, 2] of each of n pieces before the impact.
      centers: [n, 2], their centroids.
      shove: [n, 3], velocity (x, y) and spin (radians/s) of each piece as it breaks off.
    """

    size: tuple[float, float]
    mirrored: bool
    outcome: str
    radius: float
    ball: np.ndarray
    velocity: np.ndarray
    parts: list[np.ndarray]
    pieces: list[np.ndarray]
    centers: np.ndarray
    shove: np.ndarray


def draw_run(
    rng: np.random.Generator,
    kind: str,
    outcome: str,
    speeds: tuple[float, float],
    counts: tuple[int, int],
    size: tuple[float, float],
) -> Run:
    """Draws a run.

    Args:
      kind: of the target, 'pane' or 'vase'.
      outcome: of `laws.OUTCOMES`.
      speeds: range of the ball's horizontal speed.
      counts: first and last number of pieces.
      size: (width, height) of the frame in units.
    """
    height = rng.uniform(*laws.TARGET_HEIGHTS[kind])
    parts = [part * height for part in laws.outline(kind)]
    half = max(part[:, 0].max() for part in parts)
    room = rng.uniform(*_ROOM) + rng.uniform() * np.clip(size[0] - 2 * half - 1, 0, _WIDER)
    foot = np.array([room + half, size[1] - laws.FLOOR - rng.uniform(*laws.STAND_HEIGHTS)])
    parts = [part + foot for part in parts]
    radius, speed = rng.uniform(*laws.RADII), rng.uniform(*speeds)
    share, drop, gap = rng.uniform(0.35, 0.7), rng.uniform(-0.08, 0.08), rng.uniform(*_CLEARANCE)
    if outcome == "is missed":
        ball = np.array([foot[0], foot[1] - height - radius - gap])
        velocity = np.array([speed, 0.0])
    else:
        # The parabola enters the frame about as high as it ends.
        flight = room / speed
        velocity = np.array([speed, laws.GRAVITY * flight / 2 + drop / flight])
        ball = _find_contact(parts, radius, foot[1] - share * height, velocity)
        velocity = velocity + (0, laws.GRAVITY * ball[2])
        ball = ball[:2]
    pieces = break_parts(rng, parts, int(rng.integers(counts[0], counts[1] + 1)))
    centers = np.array([find_centroid(piece) for piece in pieces])
    away = centers - (ball + (radius, 0))
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    push = rng.uniform(0.05, 0.2, (len(pieces), 1)) * np.exp(-distance / 0.4)
    spin = rng.uniform(-2.5, 2.5, (len(pieces), 1))
    shove = np.concatenate([away / np.maximum(distance, 1e-6) * push + (0.05, 0.0), spin], 1)
    mirrored = bool(rng.integers(2))
    return Run(size, mirrored, outcome, radius, ball, velocity, parts, pieces, centers, shove)


def simulate(run: Run, first: int, frames: int, broken: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Returns the ball's positions [t, 2] and the pieces' poses [t, n, 3] = (x, y, angle).

    A pose is the position of the centroid and the turn since the impact.

    Args:
      first: time of the first frame, in steps.
      frames: t.
      broken: a law that is broken, or "".
    """
    steps = first + STEPS * np.arange(frames)
    time = steps / (STEPS * FPS)
    ball = run.ball + run.velocity * time[:, None]
    ball[:, 1] += laws.GRAVITY / 2 * time**2
    poses = np.zeros((frames, len(run.pieces), 3))
    poses[..., :2] = run.centers
    start = -round(EARLY * STEPS * FPS) if broken == "breaks_early" else 0
    if steps[-1] > start:
        _step(run, start, steps, broken, ball, poses)
    if run.mirrored:
        ball[:, 0] = run.size[0] - ball[:, 0]
        poses = poses * (-1, 1, -1) + (run.size[0], 0, 0)
    return ball, poses


def outline_pieces(run: Run) -> np.ndarray:
    """Returns the corners [n, k, 2] of each piece about its centroid, the last one repeated."""
    most = max(map(len, run.pieces))
    corners = [np.concatenate([p, np.repeat(p[-1:], most - len(p), 0)]) for p in run.pieces]
    return (np.stack(corners) - run.centers[:, None]) * ((-1, 1) if run.mirrored else (1, 1))


def place_pieces(corners: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Returns the corners [..., n, k, 2] of pieces [n, k, 2] at poses[..., n, 3]."""
    cos, sin = np.cos(poses[..., 2, None]), np.sin(poses[..., 2, None])
    x, y = corners[..., 0], corners[..., 1]
    turned = np.stack([x * cos - y * sin, x * sin + y * cos], -1)
    return turned + poses[..., None, :2]


def outline_target(run: Run) -> list[np.ndarray]:
    """Returns the corners [n, 2] of the whole target's convex parts."""
    if not run.mirrored:
        return run.parts
    return [part * (-1, 1) + (run.size[0], 0) for part in run.parts]


def _step(run: Run, start: int, steps: np.ndarray, broken: str, ball, poses) -> None:
    """Simulates from step `start` on and writes the frames after it into `ball` and `poses`."""
    import pymunk  # of the extra "worlds"

    seconds = 1 / (STEPS * FPS)
    space = pymunk.Space()
    space.gravity = (0, laws.GRAVITY * SCALE)
    space.collision_slop = 0.05
    width, height = np.array(run.size) * SCALE
    top = height - laws.FLOOR * SCALE
    floor = [(-9 * width, top), (10 * width, top), (10 * width, top + 99), (-9 * width, top + 99)]
    ground = pymunk.Poly(space.static_body, floor)
    ground.elasticity, ground.friction = 1.0, laws.FRICTION
    space.add(ground)

    mass = laws.DENSITY["ball"] * np.pi * (run.radius * SCALE) ** 2
    body = pymunk.Body(mass, pymunk.moment_for_circle(mass, 0, run.radius * SCALE))
    time = start * seconds
    spot = run.ball + run.velocity * time + (0, laws.GRAVITY / 2 * time**2)
    body.position = tuple(spot * SCALE)
    body.velocity = tuple((run.velocity + (0, laws.GRAVITY * time)) * SCALE)
    shape = pymunk.Circle(body, run.radius * SCALE)
    shape.elasticity, shape.friction = laws.RESTITUTION["ball"], laws.FRICTION
    space.add(body, shape)

    pieces: list[Any] = []
    if run.outcome == "breaks" or broken == "breaks_early":
        for piece in zip(run.pieces, run.centers, run.shove, strict=True):
            pieces.append(_add_piece(pymunk, space, *piece))
            if broken == "pieces_float":
                pieces[-1].velocity_func = _float
    elif run.outcome == "holds":
        for part in run.parts:
            whole = pymunk.Poly(space.static_body, [tuple(p) for p in part * SCALE])
            whole.elasticity, whole.friction = 1.0, laws.FRICTION
            space.add(whole)

    done, rests = start, False
    for frame in np.flatnonzero(steps > start):
        while done < steps[frame] and not rests:
            space.step(seconds)
            done += 1
        ball[frame] = np.array(body.position) / SCALE
        for i, piece in enumerate(pieces):
            poses[frame, i] = (*(np.array(piece.position) / SCALE), piece.angle)
        if frame:
            gone = not -2 < ball[frame, 0] / run.size[0] < 3
            moved = np.abs(poses[frame] - poses[frame - 1]).max()
            moved = max(moved, 0 if gone else np.abs(ball[frame] - ball[frame - 1]).max())
            rests = rests or moved < _REST


def _float(body: Any, gravity: Any, damping: float, seconds: float) -> None:
    """Moves a body without gravity, slower and slower."""
    body.velocity *= 0.98
    body.angular_velocity *= 0.98


def _add_piece(
    pymunk: Any, space: Any, polygon: np.ndarray, center: np.ndarray, shove: np.ndarray
) -> Any:
    """Adds a piece to a space and returns its body."""
    corners = [tuple(p) for p in (polygon - center) * SCALE]
    mass = laws.DENSITY["piece"] * laws.area(polygon) * SCALE**2
    body = pymunk.Body(mass, pymunk.moment_for_poly(mass, corners))
    body.position = tuple(center * SCALE)
    body.velocity, body.angular_velocity = tuple(shove[:2] * SCALE), shove[2]
    shape = pymunk.Poly(body, corners)
    shape.elasticity, shape.friction = laws.RESTITUTION["piece"], laws.FRICTION
    space.add(body, shape)
    return body


def _find_contact(
    parts: list[np.ndarray], radius: float, height: float, velocity: np.ndarray
) -> np.ndarray:
    """Returns (x, y, t): where a ball first touches a target from the left, and when.

    Args:
      parts: of the target.
      radius: of the ball.
      height: y of the ball's centre at time 0, near the contact.
      velocity: the same.
    """
    time = np.arange(-80, 1) / 512
    y = height + velocity[1] * time + laws.GRAVITY / 2 * time**2
    across = radius * np.linspace(-1, 1, 41)
    left = np.full((len(time), len(across)), np.inf)
    for part in parts:
        for a, b in zip(part, np.roll(part, -1, 0), strict=True):
            if a[1] != b[1]:
                u = (y[:, None] + across - a[1]) / (b[1] - a[1])
                x = a[0] + u * (b[0] - a[0])
                left = np.where((u >= 0) & (u <= 1), np.minimum(left, x), left)
    limit = (left - np.sqrt(np.maximum(radius**2 - across**2, 0))).min(1)  # of the centre's x
    # The ball is where it would touch the target at time 0 if it flew level.
    x = limit[-1] + velocity[0] * time
    first = int(np.argmax(x >= limit))
    return np.array([x[first], y[first], time[first]])
