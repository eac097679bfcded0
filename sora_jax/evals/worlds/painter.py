"""Scores of the painter: what is on the paper, in which order, and whether ink obeys its laws.

The brush is found by its colours and its shape, which the laws fix. Each pixel is paper, ink of an
expected colour, or hidden by the brush (within 2 pixels); a hidden pixel keeps the state in which
it was last seen. Ink is fresh where it is seen for the first time. Lengths are in pixels; D is the
largest radius of the laws' strokes and 3 pixels.
"""

import dataclasses
import math
import operator

import numpy as np

from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.painter_ink import ACTS
from sora_jax.evals.worlds.painter_measures import FINISHED, list_predictable, measure
from sora_jax.evals.worlds.painter_scene import find_scene, list_items

NAME = "painter"

_MIN_STEPS = 5  # frames with the brush down that a speed is measured from


@dataclasses.dataclass(frozen=True)
class Reading:
    """Values of the scores, 0 to 1, nan where one does not apply; `SCORES` has their meanings."""

    colors: float = 0.0
    paper: float = 0.0
    count: float = 0.0
    figure: float = 0.0
    order: float = 0.0
    finished: float = 0.0
    pace: float = 0.0
    steady_speed: float = 0.0
    brush_at_tip: float = 0.0
    grows: float = 0.0
    ink_stays: float = 0.0
    one_component: float = 0.0
    sharp_edges: float = 0.0
    no_flicker: float = 0.0
    no_spontaneous_ink: float = 0.0
    prediction: float = 0.0


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads one video; see `base`."""
    applies = _choose(expected, len(video))
    scene = find_scene(video, expected)
    values = measure(video, expected, scene)
    return Reading(**{k: values.get(k, 0.0) if applies.get(k, True) else math.nan for k in _FIELDS})


def _choose(expected: Expected, frames: int) -> dict[str, bool]:
    """Says which scores do not apply to a clip."""
    states = list_items(expected, "states")
    acts = any(state in ACTS for state in states)
    down = np.asarray(expected.truth["down"])
    steps = int((down[1:] * down[:-1]).sum())
    any_ink = bool(states)
    applies = dict.fromkeys(("finished", "brush_at_tip", "grows", "ink_stays", "no_flicker"), acts)
    applies |= dict.fromkeys(("pace", "steady_speed"), acts and steps >= _MIN_STEPS)
    applies |= dict.fromkeys(("colors", "count", "one_component", "sharp_edges"), any_ink)
    return applies | {
        "figure": any(state in FINISHED for state in states),
        "order": acts and len(states) > 1,
        "no_spontaneous_ink": acts,
        "prediction": len(list_predictable(expected)) > 0,
    }


def _score(name: str, kind: str, meaning: str, broken_by: str, min_given: int = 0) -> Score:
    measure = operator.attrgetter(name)
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


_FIELDS = tuple(field.name for field in dataclasses.fields(Reading))
SCORES = (
    _score(
        "colors",
        "what",
        "share of the strokes' colours that are on the paper at last; 0 with other ones",
        "mismatched ink_recolored blot_appears",
    ),
    _score("paper", "what", "1 if the paper has its colour", "mismatched grey_disc"),
    _score(
        "count",
        "what",
        "1 if as many colours as said are on the paper at last",
        "mismatched blot_appears",
    ),
    _score(
        "figure",
        "what",
        "share of the finished strokes that look like their figure",
        "frozen reversed mismatched grey_disc ink_erased ink_recolored brush_teleports blurred",
    ),
    _score(
        "order",
        "where",
        "1 if the colours appear in the order that is said",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored blurred",
    ),
    _score(
        "finished",
        "where",
        "share of strokes that are finished, or not, at the end as said",
        "frozen reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    _score(
        "pace",
        "laws",
        "1 if the brush paints at a speed of the pace that is said",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored ink_without_brush "
        "blurred",
    ),
    _score(
        "steady_speed",
        "laws",
        "1 if the brush paints at a constant speed and never jumps",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored ink_without_brush "
        "brush_teleports speed_drifts blurred",
    ),
    _score(
        "brush_at_tip",
        "laws",
        "1 if ink appears at the brush's tip only; 0 if a quarter does not, or none appears",
        "frozen reversed grey_disc ink_without_brush blurred",
    ),
    _score(
        "grows",
        "permanence",
        "1 if the area of ink that is painted grows, and only grows",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    _score(
        "ink_stays",
        "permanence",
        "1 if no ink is lost; 0 if a quarter is, or none is painted",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    _score(
        "one_component",
        "looks",
        "1 if each stroke is as many pieces as its figure",
        "mismatched ink_recolored brush_teleports",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the ink's edges are at most 2.4 pixels wide, 0 at 3.4",
        "mismatched blurred",
    ),
    _score(
        "no_flicker", "looks", "1 if the paper changes by at most 5 levels, 0 at 13", "flickering"
    ),
    _score(
        "no_spontaneous_ink",
        "looks",
        "1 if no colour appears that is not said, 0 in two frames",
        "mismatched ink_recolored blot_appears",
    ),
    _score(
        "prediction",
        "prediction",
        "overlap with the simulator's new ink while the tip is where it should be",
        "frozen shuffled reversed mismatched grey_disc ink_recolored ink_without_brush "
        "brush_teleports blurred",
        min_given=5,
    ),
)
