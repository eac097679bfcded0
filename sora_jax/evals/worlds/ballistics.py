"""Scores of the ballistics world: objects, their motion, and the laws that it obeys.

Objects are found by their colours (`ballistics_tracks`); their motion is cut into free flights and
hits (`ballistics_motion`, `ballistics_hits`); what each score compares stands in
`ballistics_looks`, `ballistics_laws` and `ballistics_prediction`. Laws are measured wherever the
simulator's window shows them (`ballistics_window`).
"""

from sora_jax.evals.worlds import ballistics_laws as laws
from sora_jax.evals.worlds import ballistics_looks as looks
from sora_jax.evals.worlds.ballistics_prediction import prediction_errors, score_prediction
from sora_jax.evals.worlds.ballistics_reading import Reading, read
from sora_jax.evals.worlds.base import Score

__all__ = ["NAME", "SCORES", "Reading", "prediction_errors", "read"]

NAME = "ballistics"
# Controls without the expected objects, and those whose motion is not theirs.
ABSENT = frozenset({"mismatched", "grey_disc"})
STILL = ABSENT | {"frozen"}
MOVED = STILL | {"shuffled"}

SCORES = (
    Score(
        "count",
        "what",
        "share of frames with the expected number of objects; those that left count",
        looks.score_count,
        ABSENT | {"boxed", "split", "popped_in"},
    ),
    Score(
        "color",
        "what",
        "colours seen and expected, of those seen or expected, a mean over frames",
        looks.score_color,
        ABSENT | {"recolored"},
    ),
    Score(
        "shape",
        "what",
        "share of frames in which an object has its outline, a mean over objects",
        looks.score_shape,
        ABSENT | {"stretched", "banded"},
    ),
    Score(
        "background",
        "what",
        "1 if the named background is the nearest one and within 40 levels",
        looks.score_background,
        ABSENT,
    ),
    Score(
        "size",
        "what",
        "share of objects whose diameter is on the right side of 0.27 units",
        looks.score_size,
        ABSENT,
    ),
    Score(
        "framing",
        "where",
        "share of the frames with an object whole in which it is; about 0.2 for a middle crop",
        looks.score_framing,
        ABSENT | {"cropped"},
    ),
    Score(
        "direction",
        "where",
        "share of moving objects whose first 4 steps all go in the named direction",
        laws.score_direction,
        MOVED | {"reversed"},
    ),
    Score(
        "motion_class",
        "where",
        "1 if the motion is the expected one of rest, slide, fall, bounce and collide",
        laws.score_motion,
        MOVED | {"teleport", "split"},
    ),
    Score(
        "gravity",
        "laws",
        "share of objects whose acceleration in flight is g downwards, within 15 %",
        laws.score_gravity,
        MOVED | {"upside_down", "stuttered", "gravity_doubled"},
    ),
    Score(
        "steady_velocity",
        "laws",
        "share of free flight without gravity in which velocity changes by less than 15 %",
        laws.score_steady_velocity,
        MOVED | {"stuttered", "slowed"},
    ),
    Score(
        "bounce",
        "laws",
        "share of reflections with the law's restitution, within 0.12, and no change along walls",
        laws.score_bounce,
        MOVED | {"stuttered", "banded", "energy_gained"},
    ),
    Score(
        "collision",
        "laws",
        "1 if the first collision keeps momentum and energy and turns both balls",
        laws.score_collision,
        MOVED
        | {
            "stuttered",
            "banded",
            "ghost_pass",
            "energy_gained",
            "slowed",
            "teleport",
            "recolored",
            "split",
        },
    ),
    Score(
        "no_interpenetration",
        "laws",
        "1 if the balls that collide come to touch and never overlap",
        laws.score_no_interpenetration,
        STILL | {"ghost_pass", "recolored"},
    ),
    Score(
        "identity",
        "permanence",
        "1 if all objects keep colour, outline and area, move without jumps and stay seen",
        looks.score_identity,
        ABSENT | {"shuffled", "teleport", "recolored", "reshaped", "split"},
    ),
    Score(
        "no_spontaneous_objects",
        "permanence",
        "1 if every object was near in the frame before, or comes in over the frame's edge",
        looks.score_no_spontaneous_objects,
        ABSENT | {"shuffled", "popped_in", "recolored", "teleport"},
    ),
    Score(
        "one_component",
        "looks",
        "share of objects that are one piece in 9 of 10 frames",
        looks.score_one_component,
        ABSENT | {"banded", "split"},
    ),
    Score(
        "sharp_edges",
        "looks",
        "1 for edges 2.2 pixels wide or less, 0 from 3 on; the sharpest are 0.67 wide",
        looks.score_sharp_edges,
        ABSENT | {"smeared"},
    ),
    Score(
        "no_flicker",
        "looks",
        "1 for a background that changes by 1.5 levels a frame or less, 0 from 5 on",
        looks.score_no_flicker,
        ABSENT | {"flicker"},
    ),
    Score(
        "smooth",
        "looks",
        "1 if what moves stands still in at most 15 % of the steps, 0 from 35 % on, or if frames "
        "are out of order",
        looks.score_smooth,
        STILL | {"stopped", "stuttered", "swapped"},
    ),
    Score(
        "prediction",
        "prediction",
        "1 if all objects are where the simulator has them, 0 from errors of 0.15 units on",
        score_prediction,
        MOVED | {"reversed"},
        min_given=5,
    ),
)
