"""What the simulator's window of the ballistics world shows once the given frames are over.

Everything is decided by the simulator's state and the times of its events. An object flies freely
from one frame to the next if its velocity changes as the law says. A hit can be measured if it is
`MARGIN` frames or more from the first frame, from the last one and from all other hits of its
objects, and these are whole in all frames that are nearer than that.
"""

import dataclasses
import itertools

import numpy as np

from sora_jax.evals.worlds.base import Expected

MARGIN = 3.5  # frames between a hit and what would disturb its measurement
MIN_FLIGHT = 6  # frames of free flight that can be measured
MIN_PUSH = 0.2  # units/s, least change of velocity of either ball in a collision that is measured
MIN_TURN = 0.5  # units/s, least change of velocity in a hit of a wall that is measured
SLOWEST = 0.05  # units/s of an object that moves
MIN_WHOLE = 4  # first frames in which all objects must be whole for the class of motion to be told
MIN_WAY = 0.06  # units that an object which slides moves at least


@dataclasses.dataclass(frozen=True)
class Window:
    """The n objects in the simulator's frames from the last given one on.

    Attributes:
      whole: [k, n], whether all of an object is in the frame, of the k frames that are not given.
      in_sight: [k, n], whether its centre is in the frame.
      flights: numbers of frames of the free flights of each object that can be measured.
      moves: [n], whether an object moves at all times.
      bounces: [n], number of hits of walls; 0 unless all between the margins can be measured.
      collides: whether the first collision of two objects can be measured.
      touches: whether a collision comes a frame or more after the first frame.
      motion: rest, slide, fall, bounce or collide; "" if the class cannot be told.
    """

    whole: np.ndarray
    in_sight: np.ndarray
    flights: list[list[int]]
    moves: np.ndarray
    bounces: np.ndarray
    collides: bool
    touches: bool
    motion: str


@dataclasses.dataclass(frozen=True)
class _Hit:
    frame: float
    objects: tuple[int, ...]


def look_at_truth(expected: Expected) -> Window:
    """Finds what the simulator's window shows."""
    start = max(expected.given - 1, 0)
    truth = expected.truth
    position, velocity = (
        np.asarray(truth[name], float)[start:] for name in ("position", "velocity")
    )
    whole = np.asarray(truth["whole"], bool)[start:]
    in_sight = np.all((position > 0) & (position < np.asarray(truth["room"])), axis=-1)
    hits = [
        _Hit(event["time"] * expected.fps - start, _list_objects(event))
        for event in truth["events"]
        if event["time"] * expected.fps > start
    ]
    clear = [_is_clear(hit, hits, whole) for hit in hits]
    pairs = [i for i, hit in enumerate(hits) if len(hit.objects) == 2]
    collides = bool(pairs) and clear[pairs[0]] and _push(hits[pairs[0]], velocity) >= MIN_PUSH
    flights = _find_flights(velocity, whole, truth["gravity"] / expected.fps)
    speed = np.linalg.norm(velocity, axis=-1)
    bounces = np.array([_count_bounces(i, hits, clear, velocity) for i in range(whole.shape[1])])
    if not whole[:MIN_WHOLE].all() or len(whole) < MIN_WHOLE:
        motion = ""
    elif pairs:
        motion = "collide" if collides else ""
    elif hits:
        motion = "bounce" if bounces.any() else ""
    elif truth["gravity"]:
        motion = "fall" if any(flights) else ""
    else:
        motion = "rest"
        if speed.any():
            way = speed.max() * (MIN_WHOLE - 1) / expected.fps
            motion = "slide" if way >= MIN_WAY else ""
    new = slice(expected.given - start, None)
    return Window(
        whole=whole[new],
        in_sight=in_sight[new],
        flights=flights,
        moves=(speed >= SLOWEST).all(0),
        bounces=bounces,
        collides=collides,
        touches=any(hits[i].frame >= 1 for i in pairs),
        motion=motion,
    )


def _list_objects(event) -> tuple[int, ...]:
    return (event["object"], event["other"]) if "other" in event else (event["object"],)


def _is_clear(hit: _Hit, hits: list[_Hit], whole: np.ndarray) -> bool:
    """Whether a hit can be measured."""
    if not MARGIN <= hit.frame <= len(whole) - 1 - MARGIN:
        return False
    for other in hits:
        near = other is not hit and abs(other.frame - hit.frame) < MARGIN
        if near and set(other.objects) & set(hit.objects):
            return False
    first, last = int(np.ceil(hit.frame - MARGIN)), int(hit.frame + MARGIN)
    return bool(whole[first : last + 1, list(hit.objects)].all())


def _push(hit: _Hit, velocity: np.ndarray) -> float:
    """Returns the smallest change of velocity of a hit's objects, between the frames beside it."""
    before, after = velocity[int(hit.frame)], velocity[int(hit.frame) + 1]
    change = np.linalg.norm(after - before, axis=-1)
    return float(change[list(hit.objects)].min())


def _count_bounces(i: int, hits: list[_Hit], clear: list[bool], velocity: np.ndarray) -> int:
    """Counts an object's hits of walls; 0 unless all that lie between the margins are measured."""
    last = len(velocity) - 1 - MARGIN
    own = [(hit, ok) for hit, ok in zip(hits, clear, strict=True) if i in hit.objects]
    within = [(hit, ok) for hit, ok in own if MARGIN <= hit.frame <= last]
    right = all(ok and _push(hit, velocity) >= MIN_TURN for hit, ok in within)
    return len(within) if right else 0


def _find_flights(velocity: np.ndarray, whole: np.ndarray, pull: float) -> list[list[int]]:
    """Lists the numbers of frames of each object's free flights of `MIN_FLIGHT` frames or more.

    Args:
      velocity: [t, n, 2], units/s. whole: [t, n].
      pull: change of the velocity along y from frame to frame in free flight.
    """
    free = (np.abs(np.diff(velocity, axis=0) - [0, pull]) < 1e-3).all(-1)
    free &= whole[1:] & whole[:-1]
    flights = []
    for column in free.T:
        runs = [1 + len(list(run)) for known, run in itertools.groupby(column) if known]
        flights.append([frames for frames in runs if frames >= MIN_FLIGHT])
    return flights
