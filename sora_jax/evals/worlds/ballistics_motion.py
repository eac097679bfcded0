"""Motion of tracked objects: free flight, reflections from walls, collisions, and jumps.

Step velocities are u_i = (p_(i+1) - p_i) / dt. Frame i is a bend if u_i - u_(i-1) is not that of
free flight: more than BEND along x, or upwards; downwards, gravity is allowed up to three times
the law's, so that a flight with another gravity is a flight, whose gravity is then measured. Free
flight is a run of frames without a bend inside. A hit of a wall or a collision lies between two
free flights of MIN_SIDE frames at least, which are fitted by straight lines of p - g t^2 / 2; both
lines meet where and when the hit was.

The same functions read the simulator's positions, to decide whether a window shows enough of a
flight or hit to be measured.
"""

import dataclasses
import itertools
import math

import numpy as np

from sora_jax.laws import ballistics as laws

BEND = 0.08  # units/s, change of velocity from step to step that free flight never has
MIN_SIDE, MAX_SIDE = 3, 5  # frames of flight before and after a hit, from which velocity is fitted
MIN_FLIGHT = 5  # frames of a flight of which acceleration is measured
OFF_PARABOLA = 0.003  # units, largest deviation of a flight; a hit at its end makes more
AT_WALL = 0.05  # units, farthest of an object's edge from the wall that reflects it
AT_CONTACT = 0.06  # units, farthest of the edges of two objects that collide
MAX_STEP = 0.33  # units a frame; the fastest falls of all frames make 0.27
NEAR = 0.05  # units; an object this near to a wall, or a step away from it, may have hit it


@dataclasses.dataclass(frozen=True)
class Path:
    """One object's way through a video.

    Attributes:
      center: [t, 2], units; nan where it is not seen.
      whole: [t], whether all of it is in sight.
      extent: [2, 2], how far it reaches from its centre to low and high x, and y, in units.
      radius: of its area as a disc, units.
      falls: whether the scene has gravity.
      room: width and height of the frame in units.
      fps: frames per second.
    """

    center: np.ndarray
    whole: np.ndarray
    extent: np.ndarray
    radius: float
    falls: bool
    room: np.ndarray
    fps: float


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


def find_flights(path: Path) -> list[tuple[int, int]]:
    """Lists free flights as (first, last) frame, of two frames at least."""
    bends = find_bends(path)
    flights, first = [], None
    for i, seen in enumerate(path.whole):
        if seen and first is None:
            first = i
        if first is not None and (not seen or i == len(path.whole) - 1 or bends[i]):
            last = i if seen else i - 1
            if last > first:
                flights.append((first, last))
            first = i if seen and bends[i] else None
    return flights


def find_bends(path: Path) -> np.ndarray:
    """Returns whether free flight is impossible through each frame [t] and its neighbours."""
    bends = np.zeros(len(path.center), bool)
    if len(bends) < 3:
        return bends
    turn = np.diff(path.center, 2, axis=0) * path.fps
    most = np.array([BEND, BEND])
    if path.falls:
        most[1] += 3 * laws.GRAVITY / path.fps
    known = path.whole[:-2] & path.whole[1:-1] & path.whole[2:]
    with np.errstate(invalid="ignore"):
        sharp = known & ((turn < -BEND) | (turn > most)).any(1)
        # A hit between two frames may bend both a little, in the same direction.
        shared = np.sign(turn[1:]) * np.minimum(np.abs(turn[:-1]), np.abs(turn[1:]))
        shared = np.where(turn[1:] * turn[:-1] > 0, shared, 0)
        mild = known[1:] & known[:-1] & ((shared < -BEND / 2) | (shared > most - BEND / 2)).any(1)
    bends[1:-1] = sharp
    bends[1:-2] |= mild & ~sharp[1:] & ~sharp[:-1]
    bends[2:-1] |= mild & ~sharp[1:] & ~sharp[:-1]
    return bends


def fit_line(path: Path, first: int, last: int) -> Line:
    """Fits the law's free flight to frames `first` to `last`."""
    gravity = laws.GRAVITY if path.falls else 0.0
    times = np.arange(first, last + 1) / path.fps
    points = path.center[first : last + 1] - np.stack([0 * times, gravity / 2 * times**2], 1)
    middle = times.mean()
    velocity = (times - middle) @ points / ((times - middle) ** 2).sum()
    return Line(points.mean(0) - velocity * middle, velocity, gravity)


def fit_acceleration(path: Path, first: int, last: int) -> tuple[np.ndarray, float]:
    """Fits a parabola to frames; returns acceleration [2] and the residuals' deviation in units."""
    times = np.arange(last - first + 1) / path.fps
    points = path.center[first : last + 1]
    design = np.stack([np.ones_like(times), times, times**2 / 2], 1)
    fitted = np.linalg.lstsq(design, points, rcond=None)[0]
    return fitted[2], float(np.sqrt(np.mean((points - design @ fitted) ** 2)))


def measure_gravity(path: Path, frames: int = MIN_FLIGHT) -> np.ndarray | None:
    """Returns the acceleration [2] in the highest flight that is a parabola; None without one."""
    flights = [f for f in find_flights(path) if f[1] - f[0] + 1 >= frames]
    flights.sort(key=lambda f: -np.ptp(path.center[f[0] : f[1] + 1, 1]))
    for flight in flights:
        acceleration, residual = fit_acceleration(path, *flight)
        if residual < OFF_PARABOLA:
            return acceleration
    return None


def measure_drifts(path: Path) -> list[tuple[int, float, float]]:
    """Lists frames, speed, and change of velocity from end to end of flights of MIN_FLIGHT."""
    drifts = []
    for first, last in find_flights(path):
        if last - first + 1 >= MIN_FLIGHT:
            acceleration, _ = fit_acceleration(path, first, last)
            duration = (last - first) / path.fps
            speed = float(np.linalg.norm(path.center[last] - path.center[first])) / duration
            change = float(np.linalg.norm(acceleration)) * duration
            drifts.append((last - first + 1, speed, change))
    return drifts


def find_turns(path: Path) -> list[Turn]:
    """Lists sudden changes of velocity that have flights of MIN_SIDE frames on both sides."""
    flights = [f for f in find_flights(path) if f[1] - f[0] + 1 >= MIN_SIDE]
    turns = []
    for (a, b), (c, d) in itertools.pairwise(flights):
        if c - b <= 1:  # more than one event lies between flights that are farther apart
            before = fit_line(path, max(a, b - MAX_SIDE + 1), b)
            after = fit_line(path, c, min(d, c + MAX_SIDE - 1))
            turns.append(Turn(b, c, before, after))
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


def count_jumps(path: Path, others: list[Path]) -> int:
    """Counts steps that are too long, and bends that are near no wall and no other object."""
    steps = np.diff(path.center, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    with np.errstate(invalid="ignore"):
        jumps = int((lengths > MAX_STEP).sum())
    for i in np.flatnonzero(find_bends(path)):
        near = False
        for frame in (i - 1, i, i + 1):
            reach = NEAR + min(max(lengths[i - 1], lengths[i]), 0.25)
            low = path.center[frame] - path.extent[:, 0]
            high = path.room - path.center[frame] - path.extent[:, 1]
            near |= bool((np.minimum(low, high) < reach).any())
            for other in others:
                gap = np.linalg.norm(other.center[frame] - path.center[frame])
                near |= bool(gap - other.radius - path.radius < reach + 0.1)
        jumps += not near
    return jumps
