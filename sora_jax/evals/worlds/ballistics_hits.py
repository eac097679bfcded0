"""Hits of walls and collisions, measured from the flights before and after them.

A hit lies between two free flights of MIN_SIDE frames at least, which are fitted by straight lines
of p - g t^2 / 2; both lines meet where and when the hit was.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from sora_jax.evals.worlds.ballistics_motion import BEND, Path, find_flights
from sora_jax.laws import ballistics as laws

MIN_SIDE, MAX_SIDE = 3, 5  # frames of flight before and after a hit, from which velocity is fitted
AT_WALL = 0.05  # units, farthest of an object's edge from the wall that reflects it
AT_CONTACT = 0.06  # units, farthest of the edges of two objects that collide


@dataclasses.dataclass(frozen=True)
class Line:
    """Free flight, fitted: p - g t^2 / 2 = place + velocity t; times in seconds of the video."""

    place: np.ndarray
    velocity: np.ndarray
    gravity: float

    def at(self, time: float) -> np.ndarray:
        """Returns the position at a time."""
        return self.place + self.velocity * time + [0, self.gravity / 2 * time**2]

    def speed(self, time: float) -> np.ndarray:
        """Returns the velocity at a time."""
        return self.velocity + [0, self.gravity * time]


@dataclasses.dataclass(frozen=True)
class Turn:
    """A sudden change of velocity between two flights, frames `start` to `stop`."""

    start: int
    stop: int
    before: Line
    after: Line


@dataclasses.dataclass(frozen=True)
class Rebound:
    """A reflection from a wall.

    Attributes:
      frame: the last one before it.
      restitution: speed across the wall after it, of that before it.
      slip: change of the velocity along the wall, units/s.
      speed: before it, units/s.
    """

    frame: int
    restitution: float
    slip: float
    speed: float


@dataclasses.dataclass(frozen=True)
class Collision:
    """A collision of two objects whose masses are their areas.

    Attributes:
      frame: the last one before it.
      momentum: length of the sum of m v after it less that before, of the sum of m |v| before it.
      energy: of the motion relative to the other object, after it, of that before it.
      changes: changes of velocity of both, units/s.
    """

    frame: int
    momentum: float
    energy: float
    changes: tuple[float, float]


def fit_line(path: Path, first: int, last: int) -> tuple[Line, float]:
    """Fits the law's free flight to frames; returns the variance of its residuals, too."""
    gravity = laws.GRAVITY if path.falls else 0.0
    times = np.arange(first, last + 1) / path.fps
    points = path.center[first : last + 1] - np.stack([0 * times, gravity / 2 * times**2], 1)
    middle = times.mean()
    velocity = (times - middle) @ points / ((times - middle) ** 2).sum()
    line = Line(points.mean(0) - velocity * middle, velocity, gravity)
    off = points - line.place - times[:, None] * velocity
    return line, float(np.sum(off**2)) / max(len(times) - 2, 1)


def fit_best(path: Path, spans: Sequence[tuple[int, int]]) -> Line:
    """The line of the spans of MIN_SIDE frames that fits best.

    The frame next to a hit may be bent too little to be told from free flight.
    """
    long = [span for span in spans if span[1] - span[0] + 1 >= MIN_SIDE]
    return min((fit_line(path, *span) for span in long), key=lambda fit: fit[1])[0]


def find_turns(path: Path) -> list[Turn]:
    """Lists sudden changes of velocity that have flights of MIN_SIDE frames on both sides."""
    flights = [f for f in find_flights(path) if f[1] - f[0] + 1 >= MIN_SIDE]
    turns = []
    for (a, b), (c, d) in itertools.pairwise(flights):
        if c - b <= 1:  # more than one event lies between flights that are farther apart
            before = [(max(a, last - MAX_SIDE + 1), last) for last in (b, b - 1)]
            after = [(first, min(d, first + MAX_SIDE - 1)) for first in (c, c + 1)]
            turns.append(Turn(b, c, fit_best(path, before), fit_best(path, after)))
    return turns


def find_rebounds(path: Path) -> list[Rebound]:
    """Lists reflections from walls whose two sides are seen."""
    rebounds = []
    for turn in find_turns(path):
        for axis in (0, 1):
            change = turn.after.velocity[axis] - turn.before.velocity[axis]
            if abs(change) < BEND:
                continue
            time = (turn.before.place[axis] - turn.after.place[axis]) / change
            soon = (turn.start - 0.6) / path.fps <= time <= (turn.stop + 0.6) / path.fps
            if not soon:
                continue
            before, after = turn.before.speed(time), turn.after.speed(time)
            side = int(before[axis] > 0)
            edge = turn.before.at(time)[axis] + (-1, 1)[side] * path.extent[axis, side]
            wall = (0.0, path.room[axis])[side]
            if before[axis] * after[axis] < 0 and abs(edge - wall) <= AT_WALL:
                other = 1 - axis
                flipped = before[other] * after[other] < 0  # in a corner
                slip = 0.0 if flipped else abs(after[other] - before[other])
                restitution = -after[axis] / before[axis]
                speed = float(np.linalg.norm(before))
                rebounds.append(Rebound(turn.start, float(restitution), float(slip), speed))
    return rebounds


def find_collisions(one: Path, two: Path) -> list[Collision]:
    """Lists collisions of two objects whose both sides are seen, of all motion but falls."""
    collisions = []
    for a, b in itertools.product(find_turns(one), find_turns(two)):
        if a.start > b.stop or b.start > a.stop:
            continue
        reach = one.radius + two.radius
        place = b.before.place - a.before.place
        velocity = b.before.velocity - a.before.velocity
        square = max(float(velocity @ velocity), 1e-9)
        closest = -float(place @ velocity) / square
        deep = reach**2 - float(((place + velocity * closest) ** 2).sum())
        time = closest - math.sqrt(max(deep, 0.0) / square)
        soon = min(a.start, b.start) - 0.6 <= time * one.fps <= max(a.stop, b.stop) + 0.6
        gap = float(np.linalg.norm(place + velocity * time)) - reach
        if not soon or gap > AT_CONTACT:
            continue
        masses = one.radius**2, two.radius**2
        pushes = a.after.velocity - a.before.velocity, b.after.velocity - b.before.velocity
        before = [a.before.velocity, b.before.velocity]
        after = [a.after.velocity, b.after.velocity]
        flow = [sum(m * v for m, v in zip(masses, vs, strict=True)) for vs in (before, after)]
        total = sum(m * float(np.linalg.norm(v)) for m, v in zip(masses, before, strict=True))
        energies = [float(np.sum((vs[1] - vs[0]) ** 2)) for vs in (before, after)]
        collisions.append(
            Collision(
                min(a.start, b.start),
                float(np.linalg.norm(flow[1] - flow[0])) / max(total, 1e-9),
                energies[1] / max(energies[0], 1e-9),
                (float(np.linalg.norm(pushes[0])), float(np.linalg.norm(pushes[1]))),
            )
        )
    return collisions
