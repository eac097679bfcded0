"""Scores of the world `orbit`: a camera orbits, pans or dollies around solids on a tiled floor.

Solids are found by hue (`orbit_sight`). To the centroids of those that stand, a scene at rest and
a camera that orbits, pans or dollies is fitted by least squares (`orbit_camera`): a u for each
frame, how far the camera has come. From text alone, the laws fix the focal length, the distance,
the range of tilts, the solids' sizes, and that u has one speed and turns round at known ends.

- motion_class: of the three fits, the stated one leaves the least reprojection error, within a
  tolerance; direction and speed_class are those of the laws' path that is fitted to the u of the
  stated motion; camera_steady holds that path against u.
- rigid: the reprojection error of the stated motion's fit.
- ball_rolls: the places of a rolling ball on the floor follow from u and the picture.
- depth_warp, prediction: compare with the simulator, where first frames are given (`orbit_warp`,
  `orbit_truth`).

Every value but those two is multiplied by what is seen of what should be (`Reading.shown`): the
solids that the simulator shows whole, and the floor. What a score applies to is decided by what
the simulator shows after the given frames.
"""

from sora_jax.evals.worlds.base import Score
from sora_jax.evals.worlds.orbit_measures import (
    RIGID,
    SHARP,
    if_moving,
    if_shown,
    match_ball,
    match_brightness,
    match_colors,
    match_count,
    match_direction,
    match_motion,
    match_prediction,
    match_shapes,
    match_speed,
    ramp,
)
from sora_jax.evals.worlds.orbit_reading import prediction_errors, read
from sora_jax.laws.scene import MIN_SHADE

__all__ = ["NAME", "SCORES", "prediction_errors", "read"]

NAME = "orbit"
_NOTHING = {"mismatched", "grey_disc"}
GONE_WRONG = {"frozen", "stopped", "stuttered", "swapped"}
SCORES = (
    Score(
        "colors",
        "what",
        "1 if exactly the stated colours are seen; else at most half the share that is right",
        if_shown(match_colors),
        frozenset(_NOTHING | {"solid_recolored", "solid_spawned"}),
    ),
    Score(
        "count",
        "what",
        "1 if as many solids are seen as stated, else 0",
        if_shown(match_count),
        frozenset(_NOTHING | {"banded", "solid_spawned"}),
    ),
    Score(
        "solid_shape",
        "what",
        "share of the stated solids to be shown whole whose outline is that of their kind",
        if_shown(match_shapes),
        frozenset(_NOTHING | {"stretched", "banded"}),
    ),
    Score(
        "floor",
        "what",
        "share of the frames whose floor has the stated colours",
        lambda r: r.floor,
        frozenset(_NOTHING),
    ),
    Score(
        "motion_class",
        "where",
        "1 if the stated one of orbit, pan and dolly explains the tracks best, else 0",
        if_moving(match_motion),
        frozenset(_NOTHING | {"frozen", "shuffled"}),
    ),
    Score(
        "direction",
        "where",
        "1 if the camera moves in the stated directions in order; after given frames, in time, too",
        if_moving(match_direction),
        frozenset(_NOTHING | {"frozen", "reversed", "shuffled"}),
    ),
    Score(
        "speed_class",
        "laws",
        "1 if the camera's speed is within the stated range, else 0",
        if_moving(match_speed),
        frozenset(_NOTHING | {"frozen", "speed_doubled", "shuffled"}),
    ),
    Score(
        "camera_steady",
        "laws",
        "1 if the camera keeps one speed within small deviations, 0 if it jumps or stands",
        if_moving(lambda r: r.course.moved * ramp(r.course.deviation, 2.0, 1.0)),
        frozenset(_NOTHING | {"frozen", "camera_jumps", "shuffled"}),
    ),
    Score(
        "rigid",
        "3d",
        "1 if one scene at rest explains all tracks within half a pixel of 64, 0 beyond 1.3",
        if_moving(lambda r: r.course.moved * ramp(r.course.reprojection, RIGID[1], RIGID[0])),
        frozenset(_NOTHING | {"frozen", "shuffled", "solid_drifts"}),
    ),
    Score(
        "lit_from_above",
        "3d",
        "1 if the stated solids are brighter at the top than at the bottom, else 0",
        if_shown(lambda r: r.light >= MIN_SHADE),
        frozenset(_NOTHING | {"upside_down"}),
    ),
    Score(
        "ball_rolls",
        "laws",
        "1 if the rolling ball keeps a speed within the laws' range on the floor, else 0",
        match_ball,
        frozenset(_NOTHING | {"stretched", "banded", "frozen", "shuffled", "ball_stops"}),
    ),
    Score(
        "permanence",
        "permanence",
        "1 if solids go only behind others or out of the frame; 0 from a quarter of frames on",
        if_moving(lambda r: ramp(r.course.missing, 0.25, 0.05)),
        frozenset(_NOTHING | {"solid_recolored"}),
    ),
    Score(
        "no_spontaneous_objects",
        "permanence",
        "1 if all stated solids are seen and nothing appears in the open, else 0",
        if_shown(lambda r: not r.from_nothing),
        frozenset(_NOTHING | {"boxed", "solid_recolored", "solid_spawned"}),
    ),
    Score(
        "one_component",
        "looks",
        "squared share of the frames in which a stated solid is in one piece, over all solids",
        if_shown(lambda r: r.single[r.due].mean() ** 2),
        frozenset(_NOTHING | {"banded"}),
    ),
    Score(
        "sharp_edges",
        "looks",
        "1 if all stated solids have edges as steep as with a blur by 1 pixel, 0 with 2",
        if_shown(lambda r: ramp(r.edges, *SHARP)),
        frozenset(_NOTHING | {"blurred"}),
    ),
    Score(
        "no_flicker",
        "looks",
        "1 if around all stated solids the floor's brightness is steady within 2 %, 0 from 5 % on",
        match_brightness,
        frozenset(_NOTHING | {"flickering"}),
    ),
    Score(
        "smooth",
        "looks",
        "1 if the picture stands still in at most 15 % of the steps, 0 from 35 % on, or if frames "
        "are out of order",
        if_shown(lambda r: r.smooth),
        frozenset(_NOTHING | GONE_WRONG),
    ),
    Score(
        "depth_warp",
        "3d",
        "squared share of frames that look like the last given one warped by depth and pose",
        lambda r: r.warp,
        frozenset(_NOTHING | {"frozen", "shuffled", "reversed", "camera_jumps", "speed_doubled"}),
        min_given=1,
    ),
    Score(
        "prediction",
        "prediction",
        "1 if solids are where the simulator has them, 0 if no nearer than those that stay still",
        if_moving(match_prediction),
        frozenset(
            _NOTHING
            | {"frozen", "shuffled", "reversed", "camera_jumps", "speed_doubled", "solid_recolored"}
        ),
        min_given=5,
    ),
)
