"""Scores of `occlusion`: things that cannot be seen for a while, and stay what they are.

`occlusion_tracking` finds the colours in the pixels, `occlusion_reading` each object through time;
`occlusion_permanence`, `occlusion_looks` and `occlusion_prediction` have the scores of those kinds,
and this file has the others and the table. All but those of the wall, the floor and the prediction
are multiplied by what is seen of what should be (`Reading.measure_shown`).

- shape: a ball fills pi / 4 = 0.785 of its bounding rectangle, a box with its top 0.95 or more;
  either is 0.86 to 1.02 as wide as high.
- size: half a ball's width, and a box's height over `BOX_HEIGHT`, in units of the scene.
- direction: (steps that way - steps against it) / steps of the object's middle while it is seen;
  of a camera that pans, the wall's picture moves the other way.

What a score applies to is decided by the story that the caption tells and by how much of it the
simulator's clip shows, never by the video.
"""

import math
from collections.abc import Callable

import numpy as np

from sora_jax.evals.worlds import occlusion_looks as looks
from sora_jax.evals.worlds import occlusion_permanence as permanence
from sora_jax.evals.worlds import occlusion_tracking as tracking
from sora_jax.evals.worlds.base import Score
from sora_jax.evals.worlds.occlusion_object import Object
from sora_jax.evals.worlds.occlusion_prediction import measure_prediction, prediction_errors
from sora_jax.evals.worlds.occlusion_reading import Reading, find_worst, read
from sora_jax.laws import occlusion as laws

__all__ = ["NAME", "SCORES", "prediction_errors", "read"]

NAME = "occlusion"

BOX_HEIGHT = 2.37  # of half its side: its front is 2, its top 0.37, seen from 10 degrees above


def _measure_color(reading: Reading) -> float:
    if all(thing.story == "edge" for thing in reading.objects):
        return math.nan
    there = all(reading.is_present(thing) for thing in reading.objects)
    there = there and reading.blots[reading.first :].sum() <= 1
    return float(reading.find_calm()[reading.first :].mean()) * there * reading.measure_shown()


def _measure_wall(reading: Reading) -> float:
    return reading.measure_share(reading.find_wall())


def _measure_floor(reading: Reading) -> float:
    floor = reading.expected.attributes["floor"]
    return reading.measure_share(np.array([name == floor for name in reading.floor]))


def _measure_count(reading: Reading) -> float:
    """Counts the hues, and things of a hue at a time, that two frames at least show."""
    frames, total = reading.solids[reading.first :], 0
    for hue in range(len(tracking.NAMES)):
        counts = sorted(sum(h == hue for h, _, _ in frame) for frame in frames)
        total += counts[-2] if len(counts) > 1 else counts[-1]
    sure = sum(
        thing.story != "edge" and thing.clear[reading.first :].sum() >= 2
        for thing in reading.objects
    )
    return (sure <= total <= len(reading.objects)) * reading.measure_shown()


def _measure_shape(reading: Reading, thing: Object) -> float:
    if not thing.clear[reading.first :].any():
        return math.nan
    free = thing.find_whole(slice(reading.first, None)) & reading.is_present(thing)
    if not free.any():
        return 0.0
    aspect = float(np.median((thing.track.width / thing.track.height)[free]))
    return float(thing.is_shape(float(np.median(thing.fill[free]))) and 0.75 < aspect < 1.25)


def _measure_size(reading: Reading, thing: Object) -> float:
    if not thing.clear[reading.first :].any():
        return math.nan
    free = thing.find_whole(slice(reading.first, None))
    extent = thing.track.height / BOX_HEIGHT if thing.shape == "box" else thing.track.width / 2
    if not free.any():  # a side of the wall cuts off no height of what is half in sight
        free = thing.seen & (np.arange(len(thing.seen)) >= reading.first)
        extent = thing.track.height / (BOX_HEIGHT if thing.shape == "box" else 2)
    if not free.any():
        return 0.0
    radius = float(np.median(extent[free])) / (reading.size[2] / 2)
    low, high = laws.RADII[thing.size]
    return float(
        0.8 * low <= radius <= 1.2 * high and (radius < laws.SIZE_LIMIT) == (high < laws.SIZE_LIMIT)
    )


def _measure_direction(reading: Reading, thing: Object) -> float:
    camera = reading.expected.attributes["camera"]
    if camera != "still":
        return _measure_pan(reading, camera)
    if thing.direction == "none" or thing.steps < 2 or thing.story == "edge":
        return math.nan
    stop = thing.leaves if thing.story in permanence.HIDES else len(thing.seen)
    known = np.flatnonzero(thing.track.area[:stop] >= max(0.15 * thing.usual, 1))
    if thing.story == "appears":
        known = known[known >= (int((~thing.gone).argmax()))]
    steps = np.diff(thing.track.center[known, 0])[np.diff(known) == 1]
    steps = steps * (1 if thing.direction == "right" else -1)
    if not len(steps):
        return 0.0
    seen = min(len(steps) / reading.limit_due(thing, thing.steps), 1.0)
    return seen * float(max(((steps > 0.1).sum() - (steps < -0.1).sum()) / len(steps), 0))


def _measure_pan(reading: Reading, camera: str) -> float:
    """Measures whether the wall's picture moves against the stated turn of the camera."""
    path = reading.wall.center[:, 0]
    known = np.flatnonzero(reading.find_wall())
    if len(known) < 2:
        return 0.0
    _, *sides = camera.replace(" and ", " ").split()
    steps = np.diff(path[known]) * (-1 if sides[0] == "right" else 1)
    turn = int(np.cumsum(steps).argmax()) + 1 if len(sides) > 1 else len(steps)
    signs = np.where(np.arange(len(steps)) < turn, 1, -1)
    moving = np.abs(steps) > 0.15
    parts = [(signs * np.sign(steps))[moving & (signs == sign)] for sign in (1, -1)[: len(sides)]]
    return float(np.mean([max(part.mean(), 0) if len(part) >= 1 else 0 for part in parts]))


def _each(measure: Callable[[Reading, Object], float]) -> Callable[[Reading], float]:
    """A score of the worst of the objects, times what is seen of what should be."""
    return lambda reading: find_worst(reading, measure) * reading.measure_shown()


def _keep(measure: Callable[[Reading, Object], float]) -> Callable[[Reading], float]:
    """As `_each`, where all objects must keep their direction, too."""
    return lambda reading: _each(measure)(reading) * _is_coherent(reading)


def _is_coherent(reading: Reading) -> bool:
    return all(thing.is_coherent() for thing in reading.objects)


def _measure_identity(reading: Reading) -> float:
    coherent = _is_coherent(reading)
    return permanence.measure_identity(reading) * reading.measure_shown() * coherent


def _score(name, kind, meaning, measure, broken_by, min_given=0) -> Score:
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


SCORES = (
    _score("color", "what", "the named objects' colours are seen, and no other beside the wall's; "
           "0: another colour, or nothing", _measure_color, "mismatched grey_disc boxed appears"),
    _score("wall", "what", "share of frames with an upright rectangle of the wall's colour",
           _measure_wall, "mismatched grey_disc tilted"),
    _score("floor", "what", "share of frames with a floor of the named colour", _measure_floor,
           "mismatched grey_disc"),
    _score("count", "what", "as many objects are seen as are named", _measure_count,
           "mismatched grey_disc banded appears torn"),
    _score("shape", "what", "the object's outline is that of a ball or box, as named",
           _each(_measure_shape), "mismatched grey_disc banded stretched"),
    _score("size", "what", "the object is as small or large as named, in units of the scene",
           _each(_measure_size), "mismatched grey_disc torn"),
    _score("direction", "where", "share of steps in the stated direction, less those against it",
           _each(_measure_direction), "frozen shuffled reversed mismatched grey_disc"),
    _score("hides", "permanence", "the object disappears at the wall, all of it, for 5 frames at "
           "least or until the end; 0: it stays in sight", _keep(permanence.measure_hides),
           "frozen shuffled mismatched grey_disc in_front"),
    _score("comes_back", "permanence", "it comes out at the stated side of the wall",
           _keep(permanence.measure_comes_back),
           "frozen shuffled reversed mismatched grey_disc never_returns recolored_behind "
           "wrong_side in_front"),
    _score("comes_back_in_time", "laws", "it comes out when its steady speed says",
           _keep(permanence.measure_in_time),
           "frozen shuffled mismatched grey_disc never_returns recolored_behind wrong_time "
           "wrong_side in_front reversed"),
    _score("kept", "permanence", "colour, shape and size are after it was out of sight what they "
           "were before", _keep(permanence.measure_kept),
           "frozen shuffled mismatched grey_disc banded recolored_behind reshaped_behind "
           "shrunk_behind never_returns torn"),
    _score("stays", "permanence", "what stays behind the wall is not seen again",
           _keep(permanence.measure_stays),
           "frozen shuffled reversed mismatched grey_disc escapes in_front"),
    _score("turns_back", "permanence", "what turns behind the wall comes out where it went in",
           _keep(permanence.measure_turns_back),
           "frozen shuffled mismatched grey_disc wrong_side never_returns recolored_behind "
           "in_front"),
    _score("out_of_frame", "permanence", "all of it gets out of the frame, at the right side",
           _keep(permanence.measure_out_of_frame), "frozen shuffled mismatched grey_disc"),
    _score("returns", "permanence", "it comes into the frame at the stated side, to the same place",
           _keep(permanence.measure_returns),
           "frozen shuffled mismatched grey_disc recolored_behind wrong_side never_returns"),
    _score("identity", "permanence", "of two objects each is where only it can be, as it was",
           _measure_identity,
           "frozen shuffled reversed mismatched grey_disc exchanged in_front"),
    _score("no_spontaneous_objects", "permanence", "nothing appears or vanishes in the open",
           looks.measure_spontaneous, "appears shuffled swapped boxed mismatched grey_disc"),
    _score("one_component", "looks", "each named thing, the wall too, is one piece when it is seen",
           looks.measure_one_component, "mismatched grey_disc banded torn"),
    _score("sharp_edges", "looks", "share of frames in which the wall's edges are as sharp as "
           "real ones", looks.measure_sharpness, "mismatched grey_disc blurred"),
    _score("no_flicker", "looks", "share of steps in which the floor keeps its brightness",
           looks.measure_flicker, "flickers mismatched grey_disc"),
    _score("lit_from_above", "3d", "objects are brighter at the top than at the bottom",
           looks.measure_light, "upside_down mismatched grey_disc"),
    _score("smooth", "looks", "what moves stands still in at most 15 % of the steps; 0: 35 %, or "
           "frames out of order",
           looks.measure_smooth, "frozen stopped stuttered swapped mismatched grey_disc"),
    _score("prediction", "prediction", "positions and what is in sight are the simulator's; 0: "
           "half a radius off, or seen while it is out of sight", measure_prediction,
           "frozen shuffled reversed mismatched grey_disc", 5),
)  # fmt: skip
