"""Scores of the shattering world: what is thrown, whether it breaks what it hits, how pieces fall.

Masks, centres and events are read by `shatter_pixels`, in units of `sora_jax.laws.shatter`. The
target is broken from the first frame on in which 6 % of its pixels have moved away; it is intact
while it is one piece of its shape high above the floor.

Given first frames are used as a reference only. Every value is multiplied by the share of the new
frames that show the background and the target or its pieces (`Reading.shown`), values that concern
the ball also by the share in which it is seen (`Reading.ball_shown`). After given frames a target
that stands still has to be where it was.

- after_impact: the distance from the ball's edge to the target in the frame in which it is broken.
- pieces_conserved: area of all pieces in the last frames over that of the whole target.
- never_heals: by how much the highest point of the pieces rises, and whether the target is whole
  and where it was again.
- pieces_fall: y = a + b t + g t^2 / 2 by least squares for the middle of all pieces, from when they
  break until one of them lands, |g / GRAVITY - 1|; and their height above the floor at the end.
- pieces_drop: of pieces that fall from the start on, the share of their place that they have left,
  the share of their middle's way that leads up, and its height at the end above the simulator's or
  that of pieces that lie.
- prediction: mean error of the ball's path until the impact and of the middle of the pieces for a
  second after it, over the mean distance from where they are in the last given frame.

Scores fall from 1 to 0 between two errors: one above those of the simulator's own videos and their
copies with blur and noise, and one far from them.
"""

import math

from sora_jax.evals.worlds import shatter_looks as looks
from sora_jax.evals.worlds import shatter_measures as measures
from sora_jax.evals.worlds.base import Score
from sora_jax.evals.worlds.shatter_pixels import read
from sora_jax.evals.worlds.shatter_prediction import measure_prediction, prediction_errors
from sora_jax.evals.worlds.shatter_reading import Reading

__all__ = ["NAME", "SCORES", "prediction_errors", "read"]

NAME = "shatter"
OF_BALL = (
    *("ball", "direction", "speed", "after_impact", "ball_after"),
    *("one_component", "no_spontaneous_objects", "smooth"),
)
"""Scores that fall with the share in which the ball is seen."""


def _score(name, kind, meaning, measure, broken_by, min_given=0) -> Score:
    def measure_shown(reading: Reading) -> float:
        shown = reading.shown
        if math.isnan(shown):
            return math.nan
        return shown * (reading.ball_shown if name in OF_BALL else 1.0) * measure(reading)

    return Score(name, kind, meaning, measure_shown, frozenset(broken_by.split()), min_given)


SCORES = (
    _score(
        "scene",
        "what",
        "1 if the caption's background and target are seen, on a level floor, 0 if 15 % of the "
        "pixels are of no colour of them",
        measures.measure_scene,
        "mismatched grey_disc upside_down tilted",
    ),
    _score(
        "ball",
        "what",
        "1 if the caption's ball is seen in 63 % of the simulator's frames, 0 if in 35 %, or if "
        "another colour is seen in 15 % of them",
        measures.measure_ball,
        "mismatched grey_disc ball_recolored",
    ),
    _score(
        "target",
        "what",
        "1 if the caption's target is seen in its size, colour and shape, or its pieces; 0 if its "
        "area is half as large again, or as small",
        measures.measure_target,
        "mismatched grey_disc stretched",
    ),
    _score(
        "direction",
        "where",
        "1 if the ball moves to the caption's side when it comes into the frame, 0 if not",
        measures.measure_direction,
        "frozen reversed mismatched grey_disc",
    ),
    _score(
        "speed",
        "where",
        "1 if it does so at the speed of the caption's word within 12 %, 0 from 40 % on",
        measures.measure_speed,
        "frozen shuffled reversed mismatched grey_disc",
    ),
    _score(
        "breaks",
        "where",
        "1 if the whole target is broken into two pieces at least, 0 if not",
        measures.measure_breaks,
        "frozen reversed mismatched grey_disc",
    ),
    _score(
        "stays_whole",
        "laws",
        "1 if a target that no ball hits fast enough stays as it is, 0 if it does not in 30 % of "
        "the frames",
        measures.measure_stays_whole,
        "mismatched grey_disc breaks_early",
    ),
    _score(
        "after_impact",
        "laws",
        "1 if the target breaks when the ball touches it, 0 if 0.1 units lie between them",
        measures.measure_after_impact,
        "frozen reversed mismatched grey_disc breaks_early ball_recolored",
    ),
    _score(
        "ball_after",
        "laws",
        "1 if the ball goes on or bounces back after the impact, as the caption says, 0 if not",
        measures.measure_ball_after,
        "frozen mismatched grey_disc ball_turns ball_recolored",
    ),
    _score(
        "pieces_conserved",
        "permanence",
        "1 if the pieces have the target's area within 15 %, 0 from 35 % on",
        measures.measure_pieces_conserved,
        "mismatched grey_disc pieces_vanish",
    ),
    _score(
        "never_heals",
        "permanence",
        "1 if the highest piece never rises by 0.1 units, 0 from 0.18 on or if the target is whole "
        "again",
        measures.measure_never_heals,
        "mismatched grey_disc heals",
    ),
    _score(
        "pieces_fall",
        "laws",
        "1 if pieces fall at the law's gravity within 45 % and end near the floor, 0 from 90 % on",
        measures.measure_pieces_fall,
        "frozen shuffled swapped reversed mismatched grey_disc upside_down stuttered pieces_float",
    ),
    _score(
        "pieces_drop",
        "laws",
        "1 if pieces that fall from the start on leave 6 % of their place, sink without rising and "
        "come to rest, 0 if they leave 2 %, rise on a fifth of their way or end above the floor",
        measures.measure_pieces_drop,
        "frozen mismatched grey_disc",
    ),
    _score(
        "one_component",
        "looks",
        "1 if the ball is seen in one piece until it leaves, 0 if it is not in 30 % of the frames",
        looks.measure_one_component,
        "mismatched grey_disc banded ball_recolored appears",
    ),
    _score(
        "no_spontaneous_objects",
        "permanence",
        "1 if ball and target are seen and nothing appears away from where it was a frame before, "
        "0 if anything does",
        looks.measure_no_spontaneous,
        "grey_disc boxed appears",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the target's edges are 1.9 pixels wide at most, 0 from 2.6 on",
        looks.measure_sharp_edges,
        "mismatched grey_disc blurred",
    ),
    _score(
        "no_flicker",
        "looks",
        "1 if the background changes by at most 5 levels from frame to frame, 0 from 13 on",
        looks.measure_no_flicker,
        "grey_disc flickering",
    ),
    _score(
        "smooth",
        "looks",
        "1 if what flies and a ball that touches nothing stand still in at most 15 % of the steps, "
        "0 from 35 % on, or if frames are out of order or such a ball turns back",
        looks.measure_smooth,
        "frozen stopped stuttered mismatched grey_disc",
    ),
    _score(
        "prediction",
        "prediction",
        "1 if ball and pieces are where the simulator's are within a fifth of their way, 0 from "
        "0.7 of it on",
        measure_prediction,
        "frozen shuffled reversed mismatched grey_disc",
        min_given=5,
    ),
)
