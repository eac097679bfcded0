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
- depth_warp, prediction: compare with the simulator, where first frames are given
  (`orbit_truth`).
"""

import math

import numpy as np

from sora_jax.evals.worlds.base import Score
from sora_jax.evals.worlds.orbit_reading import Reading, read
from sora_jax.laws import orbit as laws

__all__ = ["NAME", "SCORES", "read"]

NAME = "orbit"
COST_RATIO, COST_FLOOR = 1.3, 0.05  # the stated motion's cost may exceed the least by these: the
# floor is an error of a sixth of a pixel where the short side has 64
RIGID = (0.008, 0.02)  # rms reprojection error of the short side, value 1 and 0: 0.5 and 1.3
# pixels of 64; centroids of real outlines are off by 0.2
BALL_SPEED = (0.5 * laws.BALL_SPEED[0], 1.6 * laws.BALL_SPEED[1])  # units a second
SHARP = (0.2, 0.32)  # value 0 and 1 of the edges' steepness: that of a blur by 2 pixels and by 1
FLICKER = (0.02, 0.05)  # value 1 and 0 of the change of the floor's brightness, of itself
MISS = 0.007  # of the short side: an error of prediction that pixels explain, half of one of 64
WARP = 0.5  # gain by depth and pose from which on a warp counts as right


def _ramp(value: float, bad: float, good: float) -> float:
    """Returns 0 at `bad` or beyond, 1 at `good` or beyond, and in between a straight line."""
    return float(np.clip((value - bad) / (good - bad), 0, 1)) if math.isfinite(value) else 0.0


def _if_moving(measure):
    """A score that applies to clips whose camera moves."""
    return lambda reading: float(measure(reading)) if reading.moves else math.nan


def _match_motion(r: Reading) -> bool:
    least = min(r.costs.values())
    return r.moved and r.costs[r.stated_motion] <= COST_RATIO * least + COST_FLOOR


def _match_direction(r: Reading) -> float:
    if not r.moved:
        return 0.0
    if r.stated_direction in r.directions:
        return 1.0
    return 0.0


def _match_speed(r: Reading) -> bool:
    speeds = laws.SPEEDS[r.stated_motion]
    names = list(speeds)
    i = names.index(r.stated_speed)
    low = math.sqrt(speeds[names[i - 1]][1] * speeds[names[i]][0]) if i else speeds["slow"][0] / 1.8
    high = (
        math.sqrt(speeds[names[i]][1] * speeds[names[i + 1]][0])
        if i + 1 < len(names)
        else speeds[names[i]][1] * 1.4
    )
    return r.moved and low <= r.speed <= high


def _match_ball(r: Reading) -> float:
    if r.ball_speeds is None:
        return math.nan
    low, high = BALL_SPEED
    speeds = r.ball_speeds
    return float(len(speeds) and r.moved and low <= speeds.min() and speeds.max() <= high)


def _match_prediction(r: Reading) -> float:
    p = r.prediction
    if math.isnan(p.still) or p.still < 3 * MISS:
        return math.nan
    return float(np.clip(1 - max(p.miss - MISS, 0) / (p.still - MISS), 0, 1))


def _match_solids(r: Reading) -> float:
    return float(np.mean(r.solids)) if r.solids else math.nan


_NOTHING = {"mismatched", "grey_disc"}
SCORES = (
    Score(
        "colors",
        "what",
        "1 if exactly the stated colours are seen; else half the share that is right",
        lambda r: r.colors if r.colors == 1 else r.colors / 2,
        frozenset(_NOTHING | {"solid_recolored", "solid_spawned"}),
    ),
    Score(
        "count",
        "what",
        "1 if as many solids are seen as stated, else 0",
        lambda r: float(r.count == r.stated_count),
        frozenset(_NOTHING | {"solid_recolored", "solid_spawned"}),
    ),
    Score(
        "solid_shape",
        "what",
        "share of the stated solids whose outline is that of their kind, of those shown whole",
        _match_solids,
        frozenset(_NOTHING),
    ),
    Score(
        "floor",
        "what",
        "1 if the floor has the stated colour, else 0",
        lambda r: float(r.floor == r.stated_floor),
        frozenset(_NOTHING),
    ),
    Score(
        "motion_class",
        "where",
        "1 if the stated one of orbit, pan and dolly explains the tracks best, else 0",
        _if_moving(_match_motion),
        frozenset(_NOTHING | {"frozen", "shuffled"}),
    ),
    Score(
        "direction",
        "where",
        "1 if the camera moves in the stated directions in their order, else 0",
        _if_moving(_match_direction),
        frozenset(_NOTHING | {"frozen", "reversed", "shuffled"}),
    ),
    Score(
        "speed_class",
        "laws",
        "1 if the camera's speed is within the stated range, else 0",
        _if_moving(_match_speed),
        frozenset(_NOTHING | {"frozen", "speed_doubled", "shuffled"}),
    ),
    Score(
        "camera_steady",
        "laws",
        "1 if the camera keeps one speed within small deviations, 0 if it jumps or stands",
        _if_moving(lambda r: r.moved * _ramp(r.deviation, 2.0, 1.0)),
        frozenset(_NOTHING | {"frozen", "camera_jumps", "shuffled"}),
    ),
    Score(
        "rigid",
        "3d",
        "1 if one scene at rest explains all tracks within half a pixel of 64, 0 beyond 1.3",
        _if_moving(lambda r: r.moved * _ramp(r.reprojection, RIGID[1], RIGID[0])),
        frozenset(_NOTHING | {"frozen", "shuffled", "solid_drifts"}),
    ),
    Score(
        "ball_rolls",
        "laws",
        "1 if the rolling ball keeps a speed within the laws' range on the floor, else 0",
        _match_ball,
        frozenset(_NOTHING | {"frozen", "shuffled", "ball_stops"}),
    ),
    Score(
        "permanence",
        "permanence",
        "1 if solids go only behind others or out of the frame; 0 from a quarter of frames on",
        _if_moving(lambda r: _ramp(r.missing, 0.25, 0.05)),
        frozenset(_NOTHING | {"solid_recolored"}),
    ),
    Score(
        "no_spontaneous_objects",
        "permanence",
        "0 if something appears in the open, else the squared share of stated colours shown",
        _if_moving(lambda r: r.shown**2 * (not r.from_nothing)),
        frozenset(_NOTHING | {"solid_recolored", "solid_spawned"}),
    ),
    Score(
        "one_component",
        "looks",
        "squared share of the frames in which a stated solid is in one piece, over all solids",
        lambda r: r.single**2,
        frozenset(_NOTHING),
    ),
    Score(
        "sharp_edges",
        "looks",
        "1 if all stated solids have edges as steep as with a blur by 1 pixel, 0 with 2",
        lambda r: r.shown**2 * _ramp(r.edges, *SHARP),
        frozenset(_NOTHING | {"blurred"}),
    ),
    Score(
        "no_flicker",
        "looks",
        "1 if around all stated solids the floor's brightness is steady within 2 %, 0 from 5 % on",
        _if_moving(lambda r: r.shown**2 * _ramp(r.flicker, FLICKER[1], FLICKER[0])),
        frozenset(_NOTHING | {"flickering"}),
    ),
    Score(
        "depth_warp",
        "3d",
        "1 if warping the first frame by depth and pose halves its difference from the others",
        _if_moving(lambda r: _ramp(r.warp, 0.0, WARP)),
        frozenset(_NOTHING | {"frozen", "shuffled", "reversed", "camera_jumps", "speed_doubled"}),
        min_given=1,
    ),
    Score(
        "prediction",
        "prediction",
        "1 if solids are where the simulator has them, 0 if no nearer than those that stay still",
        _if_moving(_match_prediction),
        frozenset(
            _NOTHING
            | {"frozen", "shuffled", "reversed", "camera_jumps", "speed_doubled", "solid_recolored"}
        ),
        min_given=5,
    ),
)
