"""Scores of the shattering world: what is thrown, whether it breaks what it hits, how pieces fall.

Masks, centres and events are read by `shatter_reading`, in units of `sora_jax.laws.shatter`. The
target is broken from the first frame on in which 6 % of its pixels have moved away; it is intact
while it is one piece of its shape high above the floor.

- after_impact: the distance from the ball's edge to the target in the frame in which it is broken.
- pieces_conserved: area of all pieces in the last frames over that of the whole target.
- never_heals: by how much the highest point of the pieces rises.
- pieces_fall: y = a + b t + g t^2 / 2 by least squares for the middle of all pieces, from when they
  break until one of them lands, |g / GRAVITY - 1|; and their height above the floor at the end.
- prediction: mean error of the ball's path until the impact and of the middle of the pieces for a
  second after it, over the mean distance from where they are in the last given frame.

Scores fall from 1 to 0 between two errors: one above those of the simulator's own videos and their
copies with blur and noise, and one far from them.
"""

import numpy as np

from sora_jax.evals.worlds import shatter_looks as looks
from sora_jax.evals.worlds import shatter_measures as measures
from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.shatter_reading import Reading, read_video

NAME = "shatter"


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video; see `base`."""
    return read_video(video, expected)


def _score(name, kind, meaning, measure, broken_by, min_given=0) -> Score:
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


SCORES = (
    _score(
        "scene",
        "what",
        "1 if the caption's background is seen, 0 if 15 % of the pixels are of no colour of it",
        measures.measure_scene,
        "mismatched grey_disc",
    ),
    _score(
        "ball",
        "what",
        "1 if the caption's ball is seen for as long as it should, and no other colour",
        measures.measure_ball,
        "mismatched ball_recolored",
    ),
    _score(
        "target",
        "what",
        "1 if the caption's target is seen in its size, colour and shape, or its pieces",
        measures.measure_target,
        "mismatched grey_disc",
    ),
    _score(
        "direction",
        "where",
        "1 if the ball moves to the caption's side when it comes into the frame",
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
        "1 if the whole target is broken into two pieces at least",
        measures.measure_breaks,
        "frozen reversed mismatched grey_disc",
    ),
    _score(
        "stays_whole",
        "laws",
        "1 if a target that no ball hits fast enough stays as it is",
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
        "1 if the ball goes on or bounces back after the impact, as the caption says",
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
        "1 if the highest piece never rises by 0.1 units, 0 from 0.18 on",
        measures.measure_never_heals,
        "mismatched grey_disc heals",
    ),
    _score(
        "pieces_fall",
        "laws",
        "1 if pieces fall at the law's gravity within 45 % and end near the floor",
        measures.measure_pieces_fall,
        "frozen shuffled reversed mismatched grey_disc pieces_float",
    ),
    _score(
        "one_component",
        "looks",
        "1 if the ball is one piece until it leaves",
        looks.measure_one_component,
        "mismatched appears",
    ),
    _score(
        "no_spontaneous_objects",
        "permanence",
        "1 if nothing appears away from where it was a frame before",
        looks.measure_no_spontaneous,
        "appears",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the target's edges are 2.1 pixels wide at most, 0 from 3 on",
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
        "prediction",
        "prediction",
        "1 if ball and pieces are where the simulator's are within a fifth of their way",
        looks.measure_prediction,
        "frozen shuffled reversed mismatched grey_disc",
        min_given=5,
    ),
)
