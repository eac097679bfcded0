"""Scores of how `occlusion` looks: nothing from nothing, one piece each, sharp and steady."""

import math

import numpy as np

from sora_jax.evals.worlds.occlusion_expected import find_turning
from sora_jax.evals.worlds.occlusion_reading import TOUCH, Reading
from sora_jax.laws import occlusion as laws
from sora_jax.laws.palette import FPS
from sora_jax.laws.scene import MIN_SHADE

MIN_MOVING = 4  # steps in which something moves
MAX_EDGE = 2.6  # pixels; a real edge is at most 1 wide, a blur of 0.7 pixels makes it 1.5 to 2.3
MAX_JUMP = 2.5  # levels by which the floor's brightness may change between frames


def measure_spontaneous(reading: Reading) -> float:
    """Whether nothing appears or vanishes in the open: away from the wall and the frame's sides.

    Things darker than any shadow (`Reading.blots`) may not be seen at all.
    """
    w = reading.size[2]
    if not any(thing.steps >= 3 for thing in reading.objects):
        return math.nan
    if reading.blots[reading.first :].sum() > 1 or not all(
        reading.is_present(thing) and thing.is_coherent() for thing in reading.objects
    ):
        return 0.0
    reach = laws.OUTSIDE_SPEEDS[-1][-1] / FPS * w / 2 + TOUCH
    for first, second in zip(reading.solids, reading.solids[1:], strict=False):
        for these, others in ((second, first), (first, second)):
            for hue, middle, hidden in these:
                near = (np.hypot(*(middle - m)) <= reach for h, m, _ in others if h == hue)
                if not hidden and not any(near):
                    return 0.0
    return reading.measure_shown()


def measure_one_component(reading: Reading) -> float:
    """Whether every named thing, the wall too, is one piece in nine of ten frames that show it."""
    shares = []
    if reading.expected.attributes["event"] != "leaves":  # there the object passes before it
        shares.append(float((reading.wall.pieces == 1)[reading.first :].mean()))
    elif not any(thing.due[reading.first :].any() for thing in reading.objects):
        return math.nan
    for thing in reading.objects:
        seen = thing.track.area >= max(0.3 * thing.usual, 4.0)
        seen[: reading.first] = False
        if seen.any():
            shares.append(float((thing.track.pieces[seen] == 1).mean()))
        if not reading.is_present(thing):
            shares.append(0.0)
    return (min(shares, default=0.0) >= 0.9) * reading.measure_shown()


def measure_sharpness(reading: Reading) -> float:
    """Measures how many pixels wide the wall's edge is: partly filled pixels over its outline.

    Pixels between 0.15 and 0.85 filled; a real edge has at most one, a mild blur of 0.7 pixels 1.5.
    """
    wall = reading.wall
    part = ((wall.share > 0.15) & (wall.share < 0.85)).sum((1, 2))
    outline = 2 * (wall.width + wall.height)
    sharp = part / np.maximum(outline, 1e-6) <= MAX_EDGE
    return reading.measure_share(sharp & reading.find_scene())


def measure_flicker(reading: Reading) -> float:
    if reading.first + reading.count < 2 or reading.expected.attributes["event"] == "pan":
        return math.nan
    if not len(reading.jumps):
        return 0.0
    return float((reading.jumps <= MAX_JUMP).mean()) * reading.measure_shown()


def measure_smooth(reading: Reading) -> float:
    """Measures whether what moves in sight moves on in every step, where it moves in four."""
    if reading.expected.attributes["event"] == "pan":
        most = find_turning(reading.expected).sum()
    else:
        most = max((thing.travels for thing in reading.objects if thing.moves), default=0)
    if most < MIN_MOVING:
        return math.nan
    return reading.smooth * reading.measure_shown()


def measure_light(reading: Reading) -> float:
    """Measures whether the light falls from above on an object, of which all is seen once."""
    if not any(thing.clear[reading.first :].any() for thing in reading.objects):
        return math.nan
    return (reading.light >= MIN_SHADE) * reading.measure_shown()
