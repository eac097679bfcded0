"""Exact motion of the ballistics world: closed-form flight between walls, and colliding discs.

Along each axis an object that meets walls only moves by itself, so its path is a closed form:

- between two walls at a distance d, with the speed v at the first hit and restitution e, hit n + 1
  comes d/v (e^-1 + ... + e^-n) after the first one;
- above a floor, with the impact speed u, flight k between impacts lasts 2 e^k u / g, and all of
  them together 2 u e / (g (1 - e)), after which the object lies on the floor.

Balls that collide are simulated from event to event. Lengths are in units, times in seconds, y
points down.
"""

import dataclasses
import math

import numpy as np

HITS = 40  # hits of walls and floor that are listed, of one object along one axis


@dataclasses.dataclass(frozen=True)
class Laws:
    """What a simulation obeys.

    Attributes:
      gravity: units/s^2, downwards.
      walls: whether the frame's edges reflect.
      restitution: speed after a wall, or of approach after a collision, of that before it.
      contacts: whether balls collide; they pass through each other otherwise.
    """

    gravity: float
    walls: bool
    restitution: float
    contacts: bool = False


@dataclasses.dataclass(frozen=True)
class Event:
    """A hit of a wall or of another object.

    Attributes:
      time: seconds since the start.
      object: index of the object.
      wall: 'left', 'right', 'top' or 'bottom'; "" for a collision.
      other: index of the other object of a collision; -1 for a wall.
    """

    time: float
    object: int
    wall: str = ""
    other: int = -1


def fly(
    start: np.ndarray,
    velocity: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    times: np.ndarray,
    laws: Laws,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moves objects that meet nothing but walls.

    Args:
      start, velocity: [..., n, 2], at time 0.
      low, high: [n, 2], the range of centres for which an object is within the frame.
      times: [t], ascending.
      laws: what they obey.

    Returns:
      position and velocity [..., n, t, 2], and the times of hits [..., n, 2, HITS] along both
      axes, inf where there is none.
    """
    axes = []
    for axis in (0, 1):
        p, v = start[..., axis, None], velocity[..., axis, None]
        near, far = low[..., axis, None], high[..., axis, None]
        if axis == 1 and laws.gravity and laws.walls:
            axes.append(_bounce(p, v, far, times, laws.gravity, laws.restitution))
        elif laws.walls:
            axes.append(_reflect(p, v, near, far, times, laws.restitution))
        else:
            pull = laws.gravity if axis == 1 else 0.0
            never = np.full((*v.shape[:-1], HITS), np.inf)
            axes.append((p + v * times + pull / 2 * times**2, v + pull * times, never))
    position, speed, hits = (np.stack(parts, -1) for parts in zip(*axes, strict=True))
    return position, speed, np.moveaxis(hits, -1, -2)


def _reflect(start, speed, low, high, times, restitution):
    """Moves points between two walls; arguments [..., 1], `times` [t]."""
    pace = np.maximum(np.abs(speed), 1e-9)
    first = np.where(speed > 0, high - start, start - low) / pace
    between = (high - low) / pace

    def total(hits):  # e^-1 + ... + e^-hits
        if restitution == 1:
            return hits
        return (restitution ** -np.maximum(hits, 0.0) - 1) / (1 - restitution)

    later = np.maximum(times - first, 0) / between
    if restitution == 1:
        after = np.floor(later)
    else:
        # Where hits gain speed, times of hits converge: the motion has at most HITS of them.
        grown = np.maximum(1 + later * (1 - restitution), min(1.0, restitution**-HITS))
        after = np.floor(np.log(grown) / -math.log(restitution))
    hits = np.where(times < first, 0, after + 1)
    upper = (speed > 0) ^ (hits % 2 == 0)  # the wall of the last hit
    current = speed * (-1.0) ** hits * restitution**hits
    since = times - first - between * total(hits - 1)
    moved = np.where(upper, high, low) + current * since
    position = np.where(hits == 0, start + speed * times, np.clip(moved, low, high))
    return position, current, first + between * total(np.arange(HITS))


def _bounce(start, speed, floor, times, gravity, restitution):
    """Moves points above a floor that lies at a greater y; arguments [..., 1], `times` [t].

    `restitution` is not 1.
    """
    e = restitution
    impact = np.sqrt(speed**2 + 2 * gravity * np.maximum(floor - start, 0))
    first = (impact - speed) / gravity

    def total(flights):  # seconds that flights 1 to `flights` last
        return 2 * impact / gravity * e * (1 - e**flights) / (1 - e)

    since = np.maximum(times - first, 0) * gravity / (2 * np.maximum(impact, 1e-9))
    left = 1 - since * (1 - e) / e
    flights = np.floor(np.log(np.maximum(left, 1e-9)) / math.log(e))
    tau = times - first - total(flights)
    up = e ** (flights + 1) * impact
    position = floor - up * tau + gravity / 2 * tau**2
    current = -up + gravity * tau
    rests = left <= 1e-9
    before = times < first
    position = np.where(before, start + speed * times + gravity / 2 * times**2, position)
    current = np.where(before, speed + gravity * times, current)
    hits = first + total(np.arange(HITS))
    return np.where(rests, floor, position), np.where(rests, 0.0, current), hits


def list_hits(hits: np.ndarray, velocity: np.ndarray, until: float, laws: Laws) -> list[Event]:
    """Lists the hits of walls before `until`, in order of time.

    Args:
      hits: [n, 2, HITS], from `fly`.
      velocity: [n, 2], at the start: it says which wall is first.
      until: seconds.
      laws: what the objects obeyed.
    """
    events = []
    for thing, axis, k in np.argwhere(hits < until):
        upper = bool(velocity[thing, axis] > 0) ^ bool(k % 2)
        wall = (("left", "right"), ("top", "bottom"))[axis][upper]
        if axis == 1 and laws.gravity:
            wall = "bottom"
        events.append(Event(float(hits[thing, axis, k]), int(thing), wall))
    return sorted(events, key=lambda event: event.time)


def collide(
    start: np.ndarray,
    velocity: np.ndarray,
    radii: np.ndarray,
    room: tuple[float, float],
    times: np.ndarray,
    laws: Laws,
) -> tuple[np.ndarray, np.ndarray, list[Event]]:
    """Moves discs without gravity that collide with each other, from event to event.

    Args:
      start, velocity: [n, 2], at time 0.
      radii: [n]; masses are their squares.
      room: width and height within the walls.
      times: [t], ascending.
      laws: what they obey.

    Returns:
      position and velocity [n, t, 2], and the events up to the last time.
    """
    p, v = start.tolist(), velocity.tolist()
    radii = radii.tolist()
    now, until = 0.0, float(times[-1])
    knots, events = [(now, [list(q) for q in p], [list(q) for q in v])], []
    while True:
        event = _find_next(p, v, radii, room, laws)
        if now + event.time > until or len(events) > 500:
            break
        now += event.time
        for q, u in zip(p, v, strict=True):
            q[0] += u[0] * event.time
            q[1] += u[1] * event.time
        if event.wall:
            axis = 0 if event.wall in ("left", "right") else 1
            v[event.object][axis] *= -laws.restitution
        else:
            _exchange(p, v, radii, event.object, event.other, laws.restitution)
        events.append(dataclasses.replace(event, time=now))
        knots.append((now, [list(q) for q in p], [list(q) for q in v]))
    at = np.array([knot[0] for knot in knots])
    index = np.searchsorted(at, times, side="right") - 1
    positions, velocities = (np.array([knot[i] for knot in knots])[index] for i in (1, 2))
    positions = positions + velocities * (times - at[index])[:, None, None]
    return positions.swapaxes(0, 1), velocities.swapaxes(0, 1), events


def _find_next(p, v, radii, room, laws) -> Event:
    """Finds the next event; its time is counted from the present state."""
    best = Event(math.inf, 0)
    for i, ((x, y), (vx, vy), r) in enumerate(zip(p, v, radii, strict=True)):
        if laws.walls:
            for q, u, size, names in (
                (x, vx, room[0], ("left", "right")),
                (y, vy, room[1], ("top", "bottom")),
            ):
                if u:
                    wait = ((size - r - q) if u > 0 else (q - r)) / abs(u)
                    if wait < best.time:
                        best = Event(max(wait, 0.0), i, names[u > 0])
        for j in range(i + 1, len(p)) if laws.contacts else ():
            dx, dy = p[j][0] - x, p[j][1] - y
            ux, uy = v[j][0] - vx, v[j][1] - vy
            closing, speed = dx * ux + dy * uy, ux * ux + uy * uy
            gap = dx * dx + dy * dy - (r + radii[j]) ** 2
            root = closing * closing - speed * gap
            if closing < 0 and root > 0:
                wait = max((-closing - math.sqrt(root)) / speed, 0.0)
                if wait < best.time:
                    best = Event(wait, i, other=j)
    return best


def _exchange(p, v, radii, i, j, restitution) -> None:
    """Exchanges momentum along the line between the centres of two touching discs."""
    nx, ny = p[j][0] - p[i][0], p[j][1] - p[i][1]
    length = math.hypot(nx, ny)
    nx, ny = nx / length, ny / length
    a, b = radii[i] ** 2, radii[j] ** 2
    approach = (v[i][0] - v[j][0]) * nx + (v[i][1] - v[j][1]) * ny
    impulse = (1 + restitution) * approach * a * b / (a + b)
    for k, mass, sign in ((i, a, -1), (j, b, 1)):
        v[k][0] += sign * impulse / mass * nx
        v[k][1] += sign * impulse / mass * ny
