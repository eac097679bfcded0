"""Motion of tracked objects: free flight, and jumps.

Step velocities are u_i = (p_(i+1) - p_i) / dt. Frame i is a bend if u_i - u_(i-1) is not that of
free flight: more than BEND along x, or upwards; downwards, gravity is allowed up to three times
the law's, so that a flight with another gravity is a flight, whose gravity is then measured. Free
flight is a run of frames without a bend inside.
"""

import dataclasses

import numpy as np

from sora_jax.laws import ballistics as laws

BEND = 0.08  # units/s, change of velocity from step to step that free flight never has
MIN_FLIGHT = 5  # frames of a flight of which acceleration is measured
OFF_PARABOLA = 0.002  # units, largest deviation of a flight; a hit inside of it makes more
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


def fit_acceleration(path: Path, first: int, last: int) -> tuple[np.ndarray, float]:
    """Fits a parabola to a flight; returns acceleration [2] and the residuals' deviation in units.

    A hit just before the first frame, or after the last one, may have moved the object there: the
    flight is taken with or without these frames, whichever fits better, but of MIN_FLIGHT at least.
    """
    fits = []
    for ends in ((first, last), (first + 1, last), (first, last - 1), (first + 1, last - 1)):
        if ends[1] - ends[0] + 1 >= min(MIN_FLIGHT, last - first + 1):
            times = np.arange(ends[1] - ends[0] + 1) / path.fps
            points = path.center[ends[0] : ends[1] + 1]
            design = np.stack([np.ones_like(times), times, times**2 / 2], 1)
            fitted = np.linalg.lstsq(design, points, rcond=None)[0]
            residual = float(np.sqrt(np.mean((points - design @ fitted) ** 2)))
            fits.append((residual, fitted[2]))
    residual, acceleration = min(fits, key=lambda fit: fit[0])
    return acceleration, residual


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
