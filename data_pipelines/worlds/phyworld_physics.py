"""Runs of phyworld: their distributions and their motion; units are those of `laws.phyworld`.

Radii and speeds are uniform in their ranges, as in the paper's parabolas; its other motions take
them from grids over the same ranges. Where a ball starts follows the paper's rules. Collisions
differ from the paper's in two points:

- A collision is elastic at any speed and at its exact time. Box2D, the paper's simulator, lets
  contacts slower than 1 unit/s lose their energy, which concerns the slowest collisions outside of
  training's range.
- It comes between the paper's frames 8 and 24 where the room allows it, else after frame 4; a draw
  without that room is drawn again. The paper's generator has cases for unlike radii instead.
"""

import dataclasses

import numpy as np

from sora_jax.laws import phyworld as laws

EARLIEST, LEAST, LATEST = 0.8, 0.4, 2.4  # seconds from the start to the collision
IN_VIEW = 2.4  # seconds for which a single ball stays in view, where its radius and speed allow it
PAD = 0.5  # units between a ball and the upper and lower edge, at least


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run starts.

    Attributes:
      motion: of `laws.MOTIONS`.
      level: `laws.INSIDE` or a key of `laws.LEVELS[motion]`.
      radius: [n], units; n is 2 in collisions, else 1.
      speed: [n], horizontal velocities at the start, units/s; that of the second ball is negative.
      start: [n, 2], units.
    """

    motion: str
    level: str
    radius: np.ndarray
    speed: np.ndarray
    start: np.ndarray


def draw_run(rng: np.random.Generator, held_out: bool | None, outside: bool) -> Run:
    """Draws a run; motions are equally likely, and so are the levels of a motion.

    Args:
      held_out, outside: of the request. Neither is drawn from when both are unset: one in four runs
        is then outside of training's range.
    """
    motion = laws.MOTIONS[rng.integers(len(laws.MOTIONS))]
    is_outside = rng.random() < 0.25
    if held_out is not None or outside:
        is_outside = bool(held_out) or outside
    levels = tuple(laws.LEVELS[motion])
    level = levels[rng.integers(len(levels))]
    level = level if is_outside else laws.INSIDE
    drawn_outside = laws.LEVELS[motion].get(level, frozenset())
    balls = 2 if motion == "collision" else 1

    def draw(name: str, inside: tuple[float, float], ranges: tuple) -> float:
        if name in drawn_outside:
            return rng.uniform(*ranges[rng.integers(len(ranges))])
        return rng.uniform(*inside)

    while True:
        radius = np.array(
            [
                draw(f"radius {i}", laws.RADIUS[motion], laws.OUTSIDE_RADIUS[motion])
                for i in range(balls)
            ]
        )
        speed = np.array([draw(f"speed {i}", laws.SPEED, laws.OUTSIDE_SPEED) for i in range(balls)])
        if motion == "collision":
            start = _place_two(rng, radius, speed)
        else:
            start = _place_one(rng, motion, radius[0], speed[0])
        if start is not None:
            return Run(motion, level, radius, speed * (1, -1)[:balls], start)


def simulate(
    run: Run, time: np.ndarray, restitution: float = 1.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns positions and velocities [t, n, 2], and when the balls touch (s), -1 for never.

    Uniform motion is x = x0 + v t. In a parabola, n = t / STEP steps of v += g dt, x += v dt give

      v = v0 + g n dt,  y = y0 + g dt^2 n (n + 1) / 2.

    In a collision both balls move uniformly, before and after they touch (`laws.collide`).

    Args:
      time: [t], seconds after the start.
      restitution: of the collision; lawful is 1.
    """
    velocity = np.zeros((len(time), len(run.speed), 2))
    velocity[..., 0] = run.speed
    position = run.start + velocity * time[:, None, None]
    if run.motion == "parabola":
        steps = time[:, None] / laws.STEP
        velocity[..., 1] += laws.GRAVITY * time[:, None]
        position[..., 1] += laws.GRAVITY * laws.STEP**2 * steps * (steps + 1) / 2
    if run.motion != "collision":
        return position, velocity, -1.0
    (r1, r2), (v1, v2) = run.radius, run.speed
    touch = (run.start[1, 0] - run.start[0, 0] - r1 - r2) / (v1 - v2)
    after = np.array(laws.collide((r1, r2), (v1, v2), restitution))
    late = np.maximum(time - touch, 0)[:, None]
    velocity[..., 0] = np.where(late > 0, after, run.speed)
    position[..., 0] += late * (after - run.speed)
    return position, velocity, float(touch)


def _place_one(rng, motion: str, radius: float, speed: float) -> np.ndarray:
    """Draws where a single ball starts, [1, 2]."""
    highest = laws.SIDE - radius - (IN_VIEW * speed)
    x = rng.uniform(radius, highest) if highest >= radius else radius + rng.uniform(0, 0.5)
    top = laws.SIDE - PAD - radius
    y = rng.uniform(top - 1, top) if motion == "parabola" else rng.uniform(radius + PAD, top)
    return np.array([[x, y]])


def _place_two(rng, radius: np.ndarray, speed: np.ndarray) -> np.ndarray | None:
    """Draws where two balls start, [2, 2]; None where they would meet too soon."""
    closing, reach = speed.sum(), radius.sum()
    room = laws.SIDE - reach
    nearest = next((s for s in (EARLIEST, LEAST) if s * closing + reach <= room), None)
    if nearest is None:
        return None
    gap = rng.uniform(nearest * closing + reach, min(LATEST * closing + reach, room))
    x = rng.uniform(radius[0], laws.SIDE - radius[1] - gap)
    y = rng.uniform(radius.max() + PAD, laws.SIDE - PAD - radius.max())
    return np.array([(x, y), (x + gap, y)])
