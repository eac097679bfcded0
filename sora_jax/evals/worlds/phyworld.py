"""Scores of phyworld: which balls are shown, whether they move by the paper's laws, velocity error.

Balls are read by `phyworld_parser`, in units of `sora_jax.laws.phyworld`: centre (x, y), radius r,
pieces. The meeting of two balls is the frame in which their surfaces are first as near as they ever
are. Of a ball that leaves the frame, only the frames until then count.

- steady: RMS distance (units) of x(t) from a line, before and after the meeting apart, and of y(t)
  from its mean where no gravity acts.
- gravity: y = a + b t + g t^2 / 2 by least squares; |g / GRAVITY - 1|.
- collision: with m = r^2 and velocities v before and v' after the meeting, by lines,

    restitution e = (v2' - v1') / (v1 - v2), which is 1, and
    the momentum's error |sum m v' - sum m v| / sum m |v|, which is 0.

  Both together fix the energy.
- contact: the least distance of the balls' surfaces (units); below 0 they overlap.
- prediction: mean distance of the centre from the simulator's, over that of a ball which stays
  where it is in the last given frame.
- velocity: the calibrated velocity error of `phyworld_parser`. Its bound is ten times the error of
  such a reading on the paper's videos at 64 pixels: 0.0052, 0.0080 and 0.0195 units/s.

Scores fall from 1 to 0 between two errors: one that is several times that of the simulator's own
videos at 64 pixels, and one far from it. From text alone no position is compared. Balls slower than
0.2 units/s are not judged by their motion.
"""

import numpy as np

from sora_jax.evals.worlds import phyworld_measures as measures
from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.phyworld_reading import Reading, read_video

NAME = "phyworld"


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video; see `base`."""
    return read_video(video, expected)


def _score(name, kind, meaning, measure, broken_by, min_given=0) -> Score:
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


SCORES = (
    _score(
        "balls",
        "what",
        "1 if the balls of the caption, and no others, are seen on white until they leave",
        measures.measure_balls,
        "mismatched grey_disc recolored",
    ),
    _score(
        "size",
        "what",
        "1 if each ball's radius is within the range of the caption's word",
        measures.measure_size,
        "mismatched grey_disc",
    ),
    _score(
        "direction",
        "where",
        "1 if each ball moves to the caption's side, level or falling as said",
        measures.measure_direction,
        "frozen reversed mismatched grey_disc",
    ),
    _score(
        "speed",
        "where",
        "1 if each ball's speed to its side is within the range of the caption's word",
        measures.measure_speed,
        "frozen shuffled reversed mismatched grey_disc",
    ),
    _score(
        "steady",
        "laws",
        "1 if horizontal velocities are constant but for collisions, and nothing else moves",
        measures.measure_steady,
        "frozen shuffled grey_disc speed_changed",
    ),
    _score(
        "gravity",
        "laws",
        "1 if a thrown ball falls at the paper's gravity within 15 %, 0 from 50 % on",
        measures.measure_gravity,
        "frozen shuffled mismatched grey_disc gravity_doubled speed_changed",
    ),
    _score(
        "collision",
        "laws",
        "1 if restitution and momentum of a collision are right within 15 %, 0 from 50 % on",
        measures.measure_collision,
        "frozen shuffled mismatched grey_disc inelastic recolored",
    ),
    _score(
        "contact",
        "laws",
        "1 if balls that collide touch each other and never overlap",
        measures.measure_contact,
        "frozen mismatched grey_disc recolored resized",
    ),
    _score(
        "radius_kept",
        "permanence",
        "1 if a ball's radius varies by less than 10 %, 0 from 30 % on",
        measures.measure_radius,
        "resized",
    ),
    _score(
        "one_component",
        "looks",
        "1 if each ball is one piece until it leaves",
        measures.measure_one_component,
        "recolored doubled",
    ),
    _score(
        "no_spontaneous_objects",
        "permanence",
        "1 if nothing appears away from what was painted a frame before",
        measures.measure_no_spontaneous,
        "doubled",
    ),
    _score(
        "prediction",
        "prediction",
        "1 if balls are where the simulator's are, 0 at 0.6 times the error of standing still",
        measures.measure_prediction,
        "frozen shuffled reversed mismatched grey_disc speed_changed recolored",
        min_given=3,
    ),
    _score(
        "velocity",
        "prediction",
        "1 up to the bound of the calibrated velocity error (`VELOCITY`), 0 from 3 times it on",
        measures.measure_velocity,
        "frozen shuffled reversed mismatched grey_disc speed_changed recolored",
        min_given=3,
    ),
)
