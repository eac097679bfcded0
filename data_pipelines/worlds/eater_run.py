"""Runs of the eater: where and when bites are taken, how the face moves, what is left of the food.

Lengths are in units of the frame's short side unless pixels are said.
"""

import dataclasses
import math

import numpy as np

from data_pipelines.worlds import base
from sora_jax.laws import eater as laws

BREAK = 5  # frame of the window

_LEADS = (0.25, 0.45)  # seconds from the window's first frame to its first bite
_MARGIN = 0.02  # between the food, or its plate, and the frame's edges
_FACE_ROOM = 0.25  # at least, between the food and the frame's edge on the face's side


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of bites; times are in seconds after the window's first frame.

    Attributes:
      center, radius: of the food.
      towards: unit vector from the food to the face's side.
      bites: [n, 2], the centres of all bites of the run.
      times: [n], when they are taken.
      turn: angle by which the food's picture is turned, in radians.
    """

    center: np.ndarray
    radius: float
    towards: np.ndarray
    bites: np.ndarray
    times: np.ndarray
    turn: float


def draw_run(rng, side: str, pace: str, surface: str, outside: bool, width, height) -> Run:
    """Draws a run and where its window starts; width and height are the frame's, in units."""
    count = base.pick(rng, laws.OUTSIDE_COUNTS if outside else laws.COUNTS)
    radius = rng.uniform(*(laws.OUTSIDE_RADII if outside else laws.RADII))
    period = rng.uniform(*laws.PERIODS[pace])
    towards = np.array(laws.SIDES[side], float)
    extent = radius * (laws.PLATE_RADIUS if surface == "plate" else 1.0) + _MARGIN
    frame = np.array([width, height])
    low, high = np.full(2, extent), frame - extent
    axis = int(abs(towards[1]))
    if towards[axis] < 0:
        low[axis] = min(max(extent, radius + _FACE_ROOM), high[axis])
    else:
        high[axis] = max(min(high[axis], frame[axis] - radius - _FACE_ROOM), low[axis])
    center = rng.uniform(low, high)

    tilt = math.radians(rng.uniform(-laws.TILT, laws.TILT))
    toward = (
        np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]]) @ towards
    )
    normal = np.array([-toward[1], toward[0]]) * base.pick(rng, (-1, 1))
    depth, offset = np.array(laws.BITES[:count]).T * laws.BITE_RADIUS
    bites = center + np.outer(radius - depth, toward) + np.outer(offset, normal)

    first = int(rng.integers(count))
    lead = rng.uniform(_LEADS[0], max(_LEADS[0], min(_LEADS[1], period - _LEADS[0])))
    times = lead + (np.arange(count) - first) * period
    return Run(center, radius, towards, bites, times, rng.uniform(0, 2 * math.pi))


def move_face(run: Run, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the face's centre [t, 2] and how far its mouth is open [t], 0 to 1.

    The face withdraws from each bite along the food's side, shifts, and comes back; it stays
    `HOLD` before and after each bite.
    """
    inward = (run.bites - run.center) @ run.towards  # along `towards`, from the food's centre
    normal = np.array([-run.towards[1], run.towards[0]])
    offset = (run.bites - run.center) @ normal
    rest = run.radius + laws.BITE_RADIUS + laws.REST_GAP
    away = run.radius + laws.BITE_RADIUS + laws.AWAY_GAP
    # Turning points: away, bite, rest, bite, ..., bite, away.
    between = (run.times[1:] + run.times[:-1]) / 2
    ends = run.times[0] - laws.APPROACH, run.times[-1] + laws.APPROACH
    outer_times = np.r_[ends[0], between, ends[1]]
    outer = np.r_[away, np.full(len(between), rest), away]
    index = np.searchsorted(outer_times, seconds) - 1  # the bite that is nearest in time
    index = np.clip(index, 0, len(run.times) - 1)
    lag = seconds - run.times[index]
    coming = lag < 0
    reach = np.where(
        coming, run.times[index] - outer_times[index], outer_times[index + 1] - run.times[index]
    )
    share = np.clip((np.abs(lag) - laws.HOLD) / (reach - laws.HOLD), 0, 1)
    far = (1 - np.cos(math.pi * share)) / 2
    along = inward[index] + far * (np.where(coming, outer[index], outer[index + 1]) - inward[index])

    # The offset changes in the middle third of the way between two bites.
    if len(run.times) > 1:
        step = np.clip(np.searchsorted(run.times, seconds) - 1, 0, len(run.times) - 2)
        u = (seconds - run.times[step]) / (run.times[1] - run.times[0])
        u = np.clip(3 * u - 1, 0, 1)
        aside = offset[step] + (offset[step + 1] - offset[step]) * u * u * (3 - 2 * u)
    else:
        aside = np.full(len(seconds), offset[0])
    opening = np.where(coming, np.clip(-lag / laws.HOLD, 0, 1) * np.clip(3 * (1 - share), 0, 1), 0)
    return run.center + np.outer(along, run.towards) + np.outer(aside, normal), opening


def cover_disc(center, radius: float, h: int, w: int) -> np.ndarray:
    """Returns the share [h, w] of each pixel within a disc; lengths are in pixels."""
    x, y = np.arange(w) + 0.5 - center[0], np.arange(h)[:, None] + 0.5 - center[1]
    return np.clip(0.5 + radius - np.hypot(x, y), 0, 1).astype(np.float32)


def remove_bites(
    present: np.ndarray, discs: list[np.ndarray], eaten: np.ndarray
) -> list[np.ndarray]:
    """Returns what remains [h, w] of the food in each frame, of the bites in eaten[t, n]."""
    states: dict[bytes, np.ndarray] = {}
    for row in eaten:
        if row.tobytes() not in states:
            left = present
            for i in np.flatnonzero(row):
                left = np.minimum(left, 1 - discs[i])
            states[row.tobytes()] = left
    return [states[row.tobytes()] for row in eaten]


def remove_unlawfully(run: Run, seconds, h: int, w: int, broken: str) -> list[np.ndarray]:
    """Returns what is left [h, w] of the food in each frame where a law of bites is broken."""
    scale, in_window = min(h, w), run.times > 0
    eaten = run.times <= seconds[:, None]
    bites, radii = run.bites, np.full(len(run.bites), laws.BITE_RADIUS)
    if broken == "bite_heals":
        old = run.times <= seconds[:, None] - 0.25
        eaten &= ~(old & (np.arange(len(seconds))[:, None] >= BREAK))
    elif broken == "bite_elsewhere":
        bites = np.where(in_window[:, None], 2 * run.center - bites, bites)
    elif broken == "bite_doubles":
        radii = np.where(in_window, math.sqrt(2) * radii, radii)
    present = cover_disc(run.center * scale, run.radius * scale, h, w)
    discs = [cover_disc(b * scale, r * scale, h, w) for b, r in zip(bites, radii, strict=True)]
    return remove_bites(present, discs, eaten)


def measure_in_sight(mouth: np.ndarray, h: int, w: int) -> np.ndarray:
    """Measures the share of the face's bounding square within the frame."""
    frame = np.array([w, h]) / min(h, w)
    r = laws.BITE_RADIUS
    inside = np.clip(np.minimum(mouth + r, frame) - np.maximum(mouth - r, 0), 0, 2 * r)
    return inside.prod(1) / (2 * r) ** 2
