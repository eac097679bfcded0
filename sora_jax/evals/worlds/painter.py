"""Scores of the painter: what is on the paper, in which order, and whether ink obeys its laws.

The brush is found by its colours and its shape, which the laws fix. Each pixel is paper, ink of an
expected colour, or hidden by the brush (within 2 pixels); a hidden pixel keeps the state in which
it was last seen. Ink is fresh where it is seen for the first time. Lengths are in pixels; D is the
largest radius of the laws' strokes and 3 pixels.

Of given frames nothing counts. Every value is multiplied by how much of the paper, and of the ink
that should be seen, the other frames show.
"""

import dataclasses

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import both
from sora_jax.evals.worlds.field_scores import fill_reading, make_score
from sora_jax.evals.worlds.painter_ink import are_steady, list_steps
from sora_jax.evals.worlds.painter_measures import (
    is_late,
    list_completed,
    measure,
)
from sora_jax.evals.worlds.painter_prediction import list_predictable, measure_tip_errors
from sora_jax.evals.worlds.painter_scene import find_scene, list_acting, list_items

NAME = "painter"

_MIN_MOVING = 4  # steps in which the brush is in sight and moves
_MIN_STEPS = 5  # frames with the brush down that a speed is measured from
_MIN_STEADY_STEPS = 6  # that tell whether it changes


@dataclasses.dataclass(frozen=True)
class Values:
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
    smooth: float = 0.0
    prediction: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading(Values):
    """What one video shows of what is expected of it.

    Attributes:
      expected: what it should show.
      room: width and height of the frame in units.
      tip: [t, 2], where the brush's tip is, in units; nan where no brush is seen.
    """

    expected: Expected
    room: np.ndarray
    tip: np.ndarray


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads one video; see `base`."""
    scene = find_scene(video, expected)
    values = fill_reading(Values, measure(video, expected, scene), _choose(expected))
    h, w = video.shape[1:3]
    return Reading(
        **dataclasses.asdict(values),
        expected=expected,
        room=np.array([w, h]) / min(h, w),
        tip=scene.tip / min(h, w),
    )


def prediction_errors(reading: Reading) -> dict[str, np.ndarray]:
    """Measures how far the brush's tip is from the simulator's; see `measure_tip_errors`."""
    return measure_tip_errors(reading.tip, reading.room, reading.expected)


def _count_moving(expected: Expected) -> int:
    """Counts the steps between frames that are not given in which the brush's tip moves in sight.

    The frame's size is not known: the tip is surely in it within the unit square.
    """
    tip = np.asarray(expected.truth["tip"])[expected.given :]
    inside = np.asarray(((tip > 0) & (tip < 1)).all(1))
    moves = np.linalg.norm(np.diff(tip, axis=0), axis=1) > 0
    return int((both(inside) & moves).sum())


def _choose(expected: Expected) -> dict[str, bool]:
    """Says which scores apply to a clip; what it does not name applies to all."""
    states = list_items(expected, "states")
    acts = any(list_acting(expected))
    late = sum(is_late(expected))
    steps = np.concatenate([*list_steps(expected), []])
    applies: dict[str, bool] = {}
    applies |= dict.fromkeys(("finished", "brush_at_tip", "grows", "ink_stays"), acts)
    applies["pace"] = len(steps) >= _MIN_STEPS
    # A brush so fast that it cuts corners from frame to frame does not look steady.
    applies["steady_speed"] = len(steps) >= _MIN_STEADY_STEPS and are_steady(steps, 0.15)
    applies |= dict.fromkeys(("colors", "count", "one_component", "sharp_edges"), bool(states))
    moves = acts or 0 < expected.given < len(expected.truth["down"])
    return applies | {
        "figure": any(list_completed(expected)),
        "order": late > 1 or (late == 1 < len(states) and not expected.given),
        "no_flicker": moves,
        "no_spontaneous_ink": moves,
        "smooth": _count_moving(expected) >= _MIN_MOVING,
        "prediction": len(list_predictable(expected)) > 0,
    }


SCORES = (
    make_score(
        "colors",
        "what",
        "share of the strokes' colours that are on the paper at last; 0 with other ones",
        "mismatched grey_disc ink_recolored blot_appears",
    ),
    make_score("paper", "what", "1 if the paper has its colour", "mismatched grey_disc"),
    make_score(
        "count",
        "what",
        "1 if as many colours as said are on the paper at last",
        "mismatched grey_disc blot_appears",
    ),
    make_score(
        "figure",
        "what",
        "1 if all strokes that are completed in the window look like their figures",
        "frozen reversed mismatched grey_disc banded ink_erased ink_recolored "
        "brush_teleports blurred",
    ),
    make_score(
        "order",
        "where",
        "1 if the colours appear in the order that is said",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored blurred",
    ),
    make_score(
        "finished",
        "where",
        "share of strokes that are finished, or not, at the end as said",
        "frozen reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    make_score(
        "pace",
        "laws",
        "1 if the brush paints at a speed of the pace that is said",
        "frozen shuffled reversed mismatched grey_disc upside_down ink_erased ink_recolored "
        "ink_without_brush blurred",
    ),
    make_score(
        "steady_speed",
        "laws",
        "1 if the brush has a constant speed and is not seen to jump, where its way shows speed",
        "frozen shuffled swapped reversed mismatched grey_disc stuttered ink_erased ink_recolored "
        "ink_without_brush speed_drifts blurred",
    ),
    make_score(
        "brush_at_tip",
        "laws",
        "1 if ink appears at the brush's tip only; 0 if a quarter does not, or none appears",
        "frozen reversed mismatched grey_disc upside_down stretched banded ink_without_brush "
        "blurred",
    ),
    make_score(
        "grows",
        "permanence",
        "1 if the area of ink that is painted grows, and only grows",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    make_score(
        "ink_stays",
        "permanence",
        "1 if no ink is lost; 0 if a quarter of the new ink is as much, or none is painted",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    make_score(
        "one_component",
        "looks",
        "1 if each stroke is as many pieces as its figure",
        "mismatched grey_disc banded ink_recolored",
    ),
    make_score(
        "sharp_edges",
        "looks",
        "1 if the ink's edges are at most 2.4 pixels wide, 0 at 3.4",
        "mismatched grey_disc blurred",
    ),
    make_score(
        "no_flicker",
        "looks",
        "1 if the paper changes by at most 5 levels, 0 at 13",
        "mismatched grey_disc flickering",
    ),
    make_score(
        "smooth",
        "looks",
        "1 if the brush stands still in at most 15 % of the steps, 0 from 35 % on, or if frames "
        "are out of order",
        "frozen stopped stuttered mismatched grey_disc",
    ),
    make_score(
        "no_spontaneous_ink",
        "looks",
        "1 if nothing is on the paper that is not said, 0 in two frames",
        "mismatched grey_disc boxed ink_recolored blot_appears",
    ),
    make_score(
        "prediction",
        "prediction",
        "overlap with the simulator's new ink while the tip is where it should be",
        "frozen shuffled reversed mismatched grey_disc ink_recolored ink_without_brush "
        "brush_teleports blurred",
        min_given=5,
    ),
)
