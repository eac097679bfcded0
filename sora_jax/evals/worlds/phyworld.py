"""Scores of phyworld: which balls are shown, whether they move by the paper's laws, velocity error.

Balls are read by `phyworld_parser`, in units of `sora_jax.laws.phyworld`: centre (x, y), radius r,
pieces. The meeting of two balls is the frame in which their surfaces are first as near as they ever
are. Of a ball that leaves the frame, only the frames until then count.

Given first frames are used as a reference only. Every value is multiplied by the share of what
should be seen that is seen (`Reading.shown`): the balls of the simulator, on white, in all frames
that were not given. From text alone a ball may leave after 60 % of the simulator's frames, and from
given frames on it has to be followed without a leap.

- steady: RMS distance (units) of x(t) from a line, before and after the meeting apart, and of y(t)
  from its mean where no gravity acts.
- gravity: y = a + b t + g t^2 / 2 by least squares; |g / GRAVITY - 1|.
- collision: with m = r^2 and velocities v before and v' after the meeting, by lines,

    restitution e = (v2' - v1') / (v1 - v2), which is 1, and
    the momentum's error |sum m v' - sum m v| / sum m |v|, which is 0.

  Both together fix the energy.
- contact: lines of the centres' distance before and after the meeting cross at the sum of the
  radii, and no distance between the surfaces is below 0 (units).
- prediction: mean distance of the centre from the simulator's, over that of a ball which stays
  where it is in the last given frame.
- velocity: the calibrated velocity error of `phyworld_parser`, where standing still would score 0.
  Its bound is ten times the error of such a reading on the paper's videos at 64 pixels: 0.0052,
  0.0080 and 0.0195 units/s.

Scores fall from 1 to 0 between two errors: one that is several times that of the simulator's own
videos at 64 pixels, and one far from it. From text alone no position is compared. Balls slower than
0.2 units/s are not judged by their motion.
"""

import math

from sora_jax.evals.worlds import phyworld_measures as measures
from sora_jax.evals.worlds import phyworld_motion as motion
from sora_jax.evals.worlds import phyworld_prediction as prediction
from sora_jax.evals.worlds.base import Score
from sora_jax.evals.worlds.phyworld_prediction import prediction_errors
from sora_jax.evals.worlds.phyworld_reading import Reading, read

__all__ = ["NAME", "SCORES", "prediction_errors", "read"]

NAME = "phyworld"


def _score(name, kind, meaning, measure, broken_by, min_given=0) -> Score:
    def measure_shown(reading: Reading) -> float:
        shown = reading.shown
        return shown if math.isnan(shown) else shown * measure(reading)

    return Score(name, kind, meaning, measure_shown, frozenset(broken_by.split()), min_given)


SCORES = (
    _score(
        "balls",
        "what",
        "1 if the balls of the caption, in their sizes, are seen on white until they leave, and no "
        "others; 0 if one of them is missed, or another one seen, in 40 % of the frames",
        measures.measure_balls,
        "mismatched grey_disc banded boxed recolored doubled",
    ),
    _score(
        "size",
        "what",
        "1 if each ball's radius is within the range of the caption's word, 0 from 15 % beyond it",
        measures.measure_size,
        "mismatched grey_disc stretched",
    ),
    _score(
        "shape",
        "looks",
        "1 if balls are round: one axis is at most 1.15 times as long as another, 0 from 1.4 on",
        measures.measure_shape,
        "grey_disc stretched banded",
    ),
    _score(
        "direction",
        "where",
        "1 if each ball moves to the caption's side, level or falling as said, 0 if one does not",
        measures.measure_direction,
        "frozen reversed mismatched grey_disc",
    ),
    _score(
        "speed",
        "where",
        "1 if each ball's speed to its side is within the range of the caption's word, 0 from 20 % "
        "beyond it",
        measures.measure_speed,
        "frozen shuffled reversed mismatched grey_disc",
    ),
    _score(
        "steady",
        "laws",
        "1 if horizontal velocities are constant but for collisions and nothing else moves, 0 if a "
        "ball is 0.08 units off such a path or stands still",
        motion.measure_steady,
        "frozen stopped shuffled swapped grey_disc stuttered speed_changed",
    ),
    _score(
        "gravity",
        "laws",
        "1 if a thrown ball falls at the paper's gravity within 15 %, 0 from 50 % on",
        motion.measure_gravity,
        "frozen shuffled mismatched grey_disc upside_down stretched gravity_doubled speed_changed",
    ),
    _score(
        "collision",
        "laws",
        "1 if restitution and momentum of a collision are right within 15 %, 0 from 50 % on",
        motion.measure_collision,
        "frozen shuffled mismatched grey_disc inelastic recolored",
    ),
    _score(
        "contact",
        "laws",
        "1 if balls that collide turn where they touch and never overlap, 0 if that is 0.4 units "
        "apart, or if they overlap by as much",
        motion.measure_contact,
        "frozen shuffled mismatched grey_disc stretched recolored resized",
    ),
    _score(
        "radius_kept",
        "permanence",
        "1 if each ball's radius stays as it is, or as it was given, within 10 %, 0 from 30 % on",
        measures.measure_radius,
        "grey_disc resized recolored",
    ),
    _score(
        "one_component",
        "looks",
        "1 if each ball is seen in one piece until it leaves, 0 if it is not in 30 % of the frames",
        measures.measure_one_component,
        "grey_disc banded recolored doubled",
    ),
    _score(
        "no_spontaneous_objects",
        "permanence",
        "1 if the balls are seen and nothing appears away from what was painted a frame before, 0 "
        "if anything does",
        measures.measure_no_spontaneous,
        "grey_disc doubled",
    ),
    _score(
        "smooth",
        "looks",
        "1 if balls stand still in at most 15 % of the steps until they touch, 0 from 35 % on, or "
        "if frames are out of order",
        lambda reading: reading.smooth,
        "frozen stopped stuttered swapped grey_disc",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the balls' edges are at most 2 pixels wide, 0 from 2.8 on",
        measures.measure_sharpness,
        "grey_disc blurred",
    ),
    _score(
        "no_flicker",
        "looks",
        "1 if the white around the balls changes by at most 5 levels, 0 from 13 on",
        measures.measure_no_flicker,
        "grey_disc flickering",
    ),
    _score(
        "prediction",
        "prediction",
        "1 if balls are where the simulator's are, 0 at 0.6 times the error of standing still",
        prediction.measure_prediction,
        "frozen shuffled reversed mismatched grey_disc speed_changed recolored",
        min_given=3,
    ),
    _score(
        "velocity",
        "prediction",
        "1 up to the bound of the calibrated velocity error, 0 from 3 times it on",
        prediction.measure_velocity,
        "frozen shuffled reversed mismatched grey_disc speed_changed recolored",
        min_given=3,
    ),
)
