"""Scores of the eater: what is bitten, from where, by whom, and whether it stays bitten.

The face is a disc of known radius r in its own colour; the food is the circle, centre c and radius
R, on which most of the outline lies of what is ever coloured as food. A pixel of the food's disc is
hidden (beneath the face, or within 2.5 pixels of it), food, or missing (it shows the ground). A
hidden pixel keeps the state in which it was last seen.

The laws fix what n bites take off: a union of n discs of radius r (`sora_jax.laws.eater`). The
number of bites of a frame is the n whose discs differ in the fewest pixels from what is missing,
with the tilt and the side that fit best over the whole video. Shares of an area are of A, the mean
area in pixels that a bite takes off.
"""

import dataclasses
import math
import operator

import numpy as np

from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.eater_measures import list_predictable, measure
from sora_jax.evals.worlds.eater_scene import find_scene

NAME = "eater"


@dataclasses.dataclass(frozen=True)
class Reading:
    """Values of the scores, 0 to 1, nan where one does not apply; `SCORES` has their meanings."""

    color: float = 0.0
    food: float = 0.0
    background: float = 0.0
    surface: float = 0.0
    bites: float = 0.0
    whole_first: float = 0.0
    direction: float = 0.0
    rhythm: float = 0.0
    bite_shape: float = 0.0
    only_by_mouth: float = 0.0
    bites_stay: float = 0.0
    keeps_color: float = 0.0
    one_component: float = 0.0
    sharp_edges: float = 0.0
    no_flicker: float = 0.0
    no_spontaneous_objects: float = 0.0
    prediction: float = 0.0


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads one video; see `base`."""
    scene = find_scene(video, expected)
    applies = _choose(expected, len(video))
    values = {} if scene is None else measure(video, expected, scene)
    return Reading(**{k: values.get(k, 0.0) if applies.get(k, True) else math.nan for k in _FIELDS})


def _choose(expected: Expected, frames: int) -> dict[str, bool]:
    """Says which scores do not apply to a clip."""
    before, bites = (int(expected.attributes[k]) for k in ("before", "bites"))
    moves = bites > 0
    known = dict.fromkeys(("only_by_mouth", "bites_stay", "rhythm", "keeps_color"), moves)
    return known | {
        "no_flicker": moves,
        "no_spontaneous_objects": moves,
        "rhythm": bites > 1,
        "whole_first": before == 0,
        "direction": before + bites > 0,
        "bite_shape": before + bites > 0,
        "prediction": len(list_predictable(expected)) > 0,
    }


def _score(name: str, kind: str, meaning: str, broken_by: str, min_given: int = 0) -> Score:
    measure = operator.attrgetter(name)
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


_FIELDS = tuple(field.name for field in dataclasses.fields(Reading))
SCORES = (
    _score(
        "color",
        "what",
        "share of the food's saturated pixels that have its colour",
        "mismatched grey_disc food_recolored",
    ),
    _score(
        "food",
        "what",
        "1 if the picture on the food is that of its kind",
        "mismatched grey_disc blurred",
    ),
    _score("background", "what", "1 if the table has its colour", "mismatched grey_disc"),
    _score("surface", "what", "1 if a plate is there, or not, as said", "mismatched grey_disc"),
    _score(
        "bites",
        "what",
        "1 if the first and the last frame show as many bites as said, taken one by one",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere",
    ),
    _score(
        "whole_first",
        "what",
        "1 if the food is whole in the first frame where it is said to be",
        "reversed mismatched grey_disc",
    ),
    _score(
        "direction",
        "where",
        "1 if the missing part and the face are on the side that is said",
        "mismatched grey_disc bite_heals bite_elsewhere",
    ),
    _score(
        "rhythm",
        "laws",
        "1 if bites follow each other at a constant period of the pace that is said",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere slowed",
    ),
    _score(
        "bite_shape",
        "laws",
        "1 if what is missing at last is a union of discs of a bite's size; 0 if a third is wrong",
        "frozen reversed mismatched grey_disc bite_heals bite_elsewhere bite_doubles",
    ),
    _score(
        "only_by_mouth",
        "laws",
        "1 if food vanishes only beneath the face; 0 if a third of a bite does not, or none does",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere",
    ),
    _score(
        "bites_stay",
        "permanence",
        "1 if what was missing is never food again; 0 if a third of a bite is, or none is taken",
        "frozen shuffled reversed mismatched grey_disc bite_heals",
    ),
    _score(
        "keeps_color",
        "permanence",
        "smallest share over the frames of the food's saturated pixels that have its colour",
        "mismatched grey_disc food_recolored",
    ),
    _score(
        "one_component",
        "looks",
        "1 if the food is one piece in all frames",
        "mismatched grey_disc appears",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the food's edge is at most 2.6 pixels wide, 0 at 3.5",
        "mismatched grey_disc blurred",
    ),
    _score(
        "no_flicker",
        "looks",
        "1 if the table changes by at most 5 levels, 0 at 13",
        "mismatched grey_disc flickering",
    ),
    _score(
        "no_spontaneous_objects",
        "looks",
        "1 if nothing of another kind is beside the food, 0 in two frames",
        "mismatched grey_disc appears",
    ),
    _score(
        "prediction",
        "prediction",
        "overlap with the simulator's new bites while the face is where it should be",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere slowed",
        min_given=5,
    ),
)
