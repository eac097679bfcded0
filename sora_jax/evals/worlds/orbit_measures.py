"""Values of the scores of `orbit`, from what is read in a video."""

import math

import numpy as np

from sora_jax.evals.worlds.orbit_reading import Reading
from sora_jax.laws import orbit as laws

COST_RATIO, COST_FLOOR = 1.3, 0.05  # the stated motion's cost may exceed the least by these: the
# floor is an error of a sixth of a pixel where the short side has 64
RIGID = (0.008, 0.02)  # rms reprojection error of the short side, value 1 and 0: 0.5 and 1.3
# pixels of 64; centroids of real outlines are off by 0.2
BALL_SPEED = (0.5 * laws.BALL_SPEED[0], 1.6 * laws.BALL_SPEED[1])  # units a second
SHARP = (0.2, 0.32)  # value 0 and 1 of the edges' steepness: that of a blur by 2 pixels and by 1
FLICKER = (0.02, 0.05)  # value 1 and 0 of the change of the floor's brightness, of itself
AGREEMENT = (0.5, 0.8)  # value 0 and 1 of the share of steps in the simulator's direction
MISS = 0.007  # of the short side: an error of prediction that pixels explain, half of one of 64


def ramp(value: float, bad: float, good: float) -> float:
    """Returns 0 at `bad` or beyond, 1 at `good` or beyond, and in between a straight line."""
    return float(np.clip((value - bad) / (good - bad), 0, 1)) if math.isfinite(value) else 0.0


def if_shown(measure):
    """A score of what is seen: nan if no solid should be seen."""

    def of(reading: Reading) -> float:
        return reading.shown * float(measure(reading)) if reading.due.any() else math.nan

    return of


def if_moving(measure):
    """A score of the camera: it applies to clips whose camera moves far enough."""

    def of(reading: Reading) -> float:
        return reading.shown * float(measure(reading)) if reading.moves else math.nan

    return of


def match_colors(r: Reading) -> float:
    seen = int((r.coverage[r.due] > 0).sum())
    share = seen / (int(r.due.sum()) + r.strange)
    return share if share == 1 else share / 2


def match_count(r: Reading) -> bool:
    return int(r.due.sum()) <= r.count <= len(r.due)


def match_shapes(r: Reading) -> float:
    return float(r.shapes[r.due].mean()) if r.due.any() else math.nan


def match_motion(r: Reading) -> float:
    costs = r.course.costs
    if not r.course.moved:
        return 0.0
    limit = COST_RATIO * min(costs.values()) + COST_FLOOR
    return r.course.moved * (costs[r.expected.attributes["motion"]] <= limit)


def match_direction(r: Reading) -> float:
    """Compares the directions' names, and when they turn if given frames tell the speed."""
    right = r.direction in r.course.directions
    in_time = ramp(r.course.agreement, *AGREEMENT) if r.expected.given > 1 else 1.0
    return r.course.moved * right * in_time


def match_speed(r: Reading) -> float:
    speeds = laws.SPEEDS[r.expected.attributes["motion"]]
    names = list(speeds)
    i = names.index(r.expected.attributes["speed"])
    low = math.sqrt(speeds[names[i - 1]][1] * speeds[names[i]][0]) if i else speeds["slow"][0] / 1.8
    high = (
        math.sqrt(speeds[names[i]][1] * speeds[names[i + 1]][0])
        if i + 1 < len(names)
        else speeds[names[i]][1] * 1.4
    )
    return r.course.moved * (low <= r.course.speed <= high)


def match_ball(r: Reading) -> float:
    if not r.ball_due:
        return math.nan
    (low, high), speeds = BALL_SPEED, r.course.ball_speeds
    right = len(speeds) and r.course.moved and low <= speeds.min() and speeds.max() <= high
    return r.shown * bool(right) * ramp(r.course.ball_seen, 0.0, 0.6)


def match_prediction(r: Reading) -> float:
    known = {name: misses[~np.isnan(misses)] for name, misses in r.misses.items()}
    if not known or not len(known["model"]):
        return math.nan
    miss, still = float(known["model"].mean()), float(known["copy_last"].mean())
    if still < 3 * MISS:
        return math.nan
    return float(np.clip(1 - max(miss - MISS, 0) / (still - MISS), 0, 1))


def match_brightness(r: Reading) -> float:
    if math.isnan(r.flicker):
        return math.nan
    return r.shown * ramp(r.flicker, FLICKER[1], FLICKER[0])
