"""What a video of the ballistics world shows, and whether it stays what it is.

Names of the caption are compared with what is seen: number, colours, outlines and sizes of the
objects, and the background. Objects keep their colour, outline and area and move without jumps;
none appears from nothing; each is one piece with sharp edges before a background that stays. Every
function returns 0 to 1, or nan where it does not apply. Lengths are in units, the frame's short
side.
"""

import math

import numpy as np

from sora_jax.evals.worlds.ballistics_motion import count_jumps
from sora_jax.evals.worlds.ballistics_reading import Reading
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS

SMALL = 0.27  # units; larger diameters are large: midway between both ranges of the laws
NEAR_BACKGROUND = 40.0  # levels, farthest from the named background
KEPT = 0.9  # share of frames that must show the same outline, or one piece
AREA_CHANGE = 0.2  # largest change of an object's area
FARTHEST = 0.4  # units in a frame, from where an object of the same colour was
SHARP, SOFT = 2.2, 3.6  # pixels, width of an edge that scores 1 and 0; the sharpest is 0.67 wide
STEADY, FLICKERING = 1.5, 5.0  # levels of 255, change of the background that scores 1 and 0


def _average(reading: Reading, values: np.ndarray) -> float:
    """Averages values [t, n] over the frames in which each object should be whole.

    They count 0 where it is not seen.
    """
    values = np.where(reading.tracks.whole, values, 0).sum(0)
    return float(np.mean(values / np.maximum(reading.due().sum(0), 1)))


# What: names of the caption against what is seen.


def score_count(reading: Reading) -> float:
    """Share of frames with the expected number of objects, those that have left included."""
    t, n = reading.tracks.area.shape
    shown = np.zeros(t, int)
    for regions in reading.tracks.regions.values():
        shown += np.bincount(regions.frame, minlength=t)
    return float(np.mean(shown + reading.left().sum(1) == n))


def score_color(reading: Reading) -> float:
    """Mean over frames of the colours seen and expected, of those seen or expected."""
    t, n = reading.tracks.area.shape
    seen, left = reading.seen(), reading.left()
    others = np.zeros(t, int)
    for name, regions in reading.tracks.regions.items():
        if name not in {thing["color"] for thing in reading.objects}:
            others += np.bincount(regions.frame, minlength=t) > 0
    wanted = n - left.sum(1) + others
    right = (seen & ~left).sum(1)
    return float(np.mean(np.where(wanted > 0, right / np.maximum(wanted, 1), 1.0)))


def score_shape(reading: Reading) -> float:
    """Mean over objects of the share of frames in which the outline is the expected one."""
    wanted = np.array([thing["shape"] for thing in reading.objects])
    return _average(reading, reading.tracks.shape == wanted)


def score_size(reading: Reading) -> float:
    """Mean over objects of the share of frames with a diameter on the right side of `SMALL`."""
    full = np.array([laws.area(thing["shape"]) for thing in reading.objects])
    large = 2 * np.sqrt(reading.tracks.area / full) > SMALL
    wanted = np.array([thing["size"] == "large" for thing in reading.objects])
    return _average(reading, large == wanted)


def score_background(reading: Reading) -> float:
    """1 if the median pixel is nearest to the named background, within 40 levels."""
    wanted = BACKGROUNDS[reading.expected.attributes["background"]]
    seen = reading.tracks.background
    distance = float(np.linalg.norm(seen - wanted))
    nearest = min(float(np.linalg.norm(seen - color)) for color in BACKGROUNDS.values())
    return float(distance == nearest and distance < NEAR_BACKGROUND)


# Permanence.


def score_identity(reading: Reading) -> float:
    """1 if every object keeps colour, shape and size, moves without jumps, and stays seen."""
    if reading.frames < 2:
        return math.nan
    return float(all(_keeps_identity(reading, i) for i in range(len(reading.objects))))


def _keeps_identity(reading: Reading, i: int) -> bool:
    tracks, path = reading.tracks, reading.paths[i]
    seen, whole = reading.seen()[:, i], tracks.whole[:, i]
    if not whole[0] or (~seen & ~reading.left()[:, i]).any():
        return False
    kept = (tracks.shape[whole, i] == tracks.shape[0, i]).mean() >= KEPT
    change = np.abs(tracks.area[whole, i] / (math.pi * path.radius**2) - 1) > AREA_CHANGE
    others = [other for other in reading.paths if other is not path]
    return bool(kept and change.mean() <= 1 - KEPT and not count_jumps(path, others))


def _shows_any(reading: Reading) -> bool:
    """Whether the first frame shows any of the expected objects."""
    return bool(reading.seen()[0].any())


def score_no_spontaneous_objects(reading: Reading) -> float:
    """1 if every object was near, in the frame before, or comes in over the frame's edge."""
    if reading.frames < 2:
        return math.nan
    if not _shows_any(reading):
        return 0.0
    for regions in reading.tracks.regions.values():
        for frame, center, at_edge in zip(
            regions.frame, regions.center, regions.at_edge, strict=True
        ):
            before = regions.center[regions.frame == frame - 1]
            near = np.linalg.norm(before - center, axis=1) < FARTHEST
            if frame and not at_edge and not near.any():
                return 0.0
    return 1.0


# Looks, of whole objects.


def score_one_component(reading: Reading) -> float:
    """Share of objects that are one piece in 9 of 10 frames."""
    one = (reading.tracks.whole & (reading.tracks.pieces == 1)).sum(0)
    return float(np.mean((one > 0) & (one >= KEPT * reading.due().sum(0))))


def score_sharp_edges(reading: Reading) -> float:
    """Mean over objects and frames: 1 for edges as sharp as `SHARP`, 0 from `SOFT` on."""
    sharp = np.clip((SOFT - reading.tracks.edge) / (SOFT - SHARP), 0, 1)
    return _average(reading, np.nan_to_num(sharp))


def score_no_flicker(reading: Reading) -> float:
    """Mean over pairs of frames: 1 for a background that stays, 0 from `FLICKERING` on."""
    if reading.frames < 2:
        return math.nan
    if not _shows_any(reading) or not len(reading.tracks.flicker):
        return 0.0
    change = reading.tracks.flicker
    return float(np.mean(np.clip((FLICKERING - change) / (FLICKERING - STEADY), 0, 1)))
