"""Scores of the eater: what is bitten, from where, by whom, and whether it stays bitten.

The face is a disc of known radius r in its own colour; the food is the circle, centre c and radius
R, on which most of the outline lies of what is ever coloured as food. A pixel of the food's disc is
hidden (beneath the face, or within 2.5 pixels of it), food, or missing (it shows the ground). A
hidden pixel keeps the state in which it was last seen.

The laws fix what n bites take off: a union of n discs of radius r (`sora_jax.laws.eater`). The
number of bites of a frame is the n whose discs differ in the fewest pixels from what is missing,
with the tilt and the side that fit best over the whole video. Shares of an area are of A, the mean
area in pixels that a bite takes off.

Of given frames nothing counts. Every value is multiplied by the share of the other frames that show
the table and what must be left of the food.
"""

import dataclasses

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.eater_measures import find_leaving, list_moved, list_predictable, measure
from sora_jax.evals.worlds.eater_scene import count_expected, find_scene
from sora_jax.evals.worlds.field_scores import fill_reading, make_score

NAME = "eater"
_MIN_MOVED = 3  # frames in which the face is elsewhere


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
    smooth: float = 0.0
    no_spontaneous_objects: float = 0.0
    face: float = 0.0
    prediction: float = 0.0


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads one video; see `base`."""
    scene = find_scene(video, expected)
    values = {} if scene is None else measure(video, expected, scene)
    return fill_reading(Reading, values, _choose(expected))


def _choose(expected: Expected) -> dict[str, bool]:
    """Says which scores apply to a clip; what it does not name applies to all."""
    count, frames = count_expected(expected), len(expected.truth["bites"])
    bites = count.later > 0
    shown = count.final > 0 if not count.given else bites
    moves = int(expected.attributes["bites"]) > 0 if not count.given else frames > count.given
    return {
        "bites": bites or not count.given,
        "whole_first": count.before == 0 and not count.given,
        "direction": shown,
        "rhythm": count.later > 1,
        "bite_shape": shown,
        "only_by_mouth": bites,
        "bites_stay": bites,
        "keeps_color": moves,
        "no_flicker": moves,
        "no_spontaneous_objects": moves,
        "smooth": bites or bool(count.given) and find_leaving(expected).sum() >= _MIN_MOVED,
        "face": len(list_moved(expected)) >= _MIN_MOVED,
        "prediction": len(list_predictable(expected)) > 0,
    }


SCORES = (
    make_score(
        "color",
        "what",
        "share of the food's saturated pixels that have its colour",
        "mismatched grey_disc food_recolored",
    ),
    make_score(
        "food",
        "what",
        "1 if the picture on the food is that of its kind",
        "mismatched grey_disc stretched blurred",
    ),
    make_score("background", "what", "1 if the table has its colour", "mismatched grey_disc"),
    make_score("surface", "what", "1 if a plate is there, or not, as said", "mismatched grey_disc"),
    make_score(
        "bites",
        "what",
        "1 if the first and the last frame show as many bites as said, taken one by one",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere",
    ),
    make_score(
        "whole_first",
        "what",
        "1 if the food is whole in the first frame where it is said to be",
        "reversed mismatched grey_disc",
    ),
    make_score(
        "direction",
        "where",
        "1 if the missing part and the face are on the side that is said",
        "mismatched grey_disc bite_heals bite_elsewhere",
    ),
    make_score(
        "rhythm",
        "laws",
        "1 if bites follow each other at a constant period of the pace that is said",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere slowed",
    ),
    make_score(
        "bite_shape",
        "laws",
        "1 if what is missing at last is a union of discs of a bite's size; 0 if a third is wrong",
        "frozen reversed mismatched grey_disc stretched banded bite_heals bite_elsewhere "
        "bite_doubles",
    ),
    make_score(
        "only_by_mouth",
        "laws",
        "1 if the bites vanish beneath the face alone; 0 if a third of one does not, or none does",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere",
    ),
    make_score(
        "bites_stay",
        "permanence",
        "1 if what was missing is never food again; 0 if a third of a bite is, or none is taken",
        "frozen shuffled reversed mismatched grey_disc bite_heals",
    ),
    make_score(
        "keeps_color",
        "permanence",
        "smallest share over the frames of the food's saturated pixels that have its colour",
        "mismatched grey_disc food_recolored",
    ),
    make_score(
        "one_component",
        "looks",
        "1 if the food is one piece in all frames",
        "mismatched grey_disc stretched banded appears",
    ),
    make_score(
        "sharp_edges",
        "looks",
        "1 if the food's edge is at most 2.4 pixels wide, 0 at 3",
        "mismatched grey_disc blurred",
    ),
    make_score(
        "no_flicker",
        "looks",
        "1 if the table changes by at most 5 levels, 0 at 13",
        "mismatched grey_disc flickering",
    ),
    make_score(
        "smooth",
        "looks",
        "1 if the face stands still in at most 15 % of the steps until it has bitten, 0 from 35 % "
        "on, or if frames are out of order",
        "frozen stopped stuttered swapped mismatched grey_disc",
    ),
    make_score(
        "no_spontaneous_objects",
        "looks",
        "1 if nothing else is beside the food, 0 in two frames",
        "mismatched grey_disc banded boxed appears",
    ),
    make_score(
        "face",
        "prediction",
        "share of the frames in which the face has gone to where the simulator's is, or out of "
        "sight",
        "frozen shuffled mismatched grey_disc",
        min_given=5,
    ),
    make_score(
        "prediction",
        "prediction",
        "overlap with the simulator's new bites while the face is where it should be",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere slowed",
        min_given=5,
    ),
)
