"""What a video of the ballistics world shows, and whether it stays what it is.

Names of the caption are compared with what is seen: number, colours, outlines and sizes of the
objects, and the background. Objects keep their colour, outline and area and move without jumps;
none appears from nothing; each is one piece with sharp edges before a background that stays. Every
function returns 0 to 1, or nan where it does not apply, of the frames that were not given; what is
measured is multiplied by how much is seen of the objects. Lengths are in units, the frame's short
side.
"""

import math

import numpy as np

from sora_jax.evals.worlds.ballistics_motion import count_jumps
from sora_jax.evals.worlds.ballistics_reading import Reading, average
from sora_jax.evals.worlds.ballistics_tracks import WHOLE
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS

SMALL = 0.27  # units; larger diameters are large: midway between both ranges of the laws
NEAR_BACKGROUND = 40.0  # levels, farthest from the named background
KEPT = 0.9  # share of frames that must show the same outline, or one piece
AREA_CHANGE = 0.2  # largest change of an object's area
FARTHEST = 0.4  # units in a frame, from where an object of the same colour was
MIN_MOVING = 4  # frames
STRIDE, OFF_COURSE = 0.2, 0.1  # units in a frame, that any object may move, or turn off its course
SHARP, SOFT = 2.2, 3.0  # pixels, width of an edge that scores 1 and 0; the sharpest is 0.67 wide
STEADY, FLICKERING = 1.5, 5.0  # levels of 255, change of the background that scores 1 and 0


def _average(reading: Reading, values: np.ndarray) -> float:
    """Averages values [t, n] over the frames in which each object should be whole.

    They count 0 where it is not seen. An object that should never be whole does not count.
    """
    shown = np.where(reading.tracks.whole, values, 0)[reading.new].sum(0)
    due, wanted = reading.count_due(), reading.window.whole.any(0)
    return average((shown / np.maximum(due, 1))[wanted])


def _mean_presence(reading: Reading) -> float:
    return float(np.nanmean(reading.presence))


# What: names of the caption against what is seen.


def score_count(reading: Reading) -> float:
    """Share of frames with the expected number of objects, those that have left included."""
    if not reading.is_due:
        return math.nan
    t, n = reading.tracks.area.shape
    shown = np.zeros(t, int)
    for regions in reading.tracks.regions.values():
        shown += np.bincount(regions.frame, minlength=t)
    right = (shown + reading.left.sum(1) == n) & reading.stage
    return _share(right[reading.new]) * _mean_presence(reading)


def _share(right: np.ndarray) -> float:
    """Returns the mean; 0 without any value."""
    return float(right.mean()) if len(right) else 0.0


def score_color(reading: Reading) -> float:
    """Mean over frames of the colours seen and expected, of those seen or expected."""
    if not reading.is_due:
        return math.nan
    t, n = reading.tracks.area.shape
    others = np.zeros(t, int)
    for name, regions in reading.tracks.regions.items():
        if name not in {thing["color"] for thing in reading.objects}:
            others += np.bincount(regions.frame, minlength=t) > 0
    wanted = n - reading.left.sum(1) + others
    right = (reading.seen & ~reading.left).sum(1)
    shares = np.where(wanted > 0, right / np.maximum(wanted, 1), 1.0) * reading.stage
    return _share(shares[reading.new]) * _mean_presence(reading)


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
    """Presence of the objects if the median pixel is nearest to the named background.

    It must be within 40 levels of it.
    """
    if not reading.is_due:
        return math.nan
    wanted = BACKGROUNDS[reading.expected.attributes["background"]]
    seen = reading.tracks.background
    distance = float(np.linalg.norm(seen - wanted))
    nearest = min(float(np.linalg.norm(seen - color)) for color in BACKGROUNDS.values())
    return float(distance == nearest and distance < NEAR_BACKGROUND) * _mean_presence(reading)


def score_framing(reading: Reading) -> float:
    """Mean over objects of the frames in which one is whole, of those in which it should be."""
    shares = []
    for area, cut, due, presence in zip(
        reading.tracks.area[reading.new].T,
        reading.tracks.cut[reading.new].T,
        reading.window.whole.sum(0),
        reading.presence,
        strict=True,
    ):
        if due:
            uncut = (area > 0) & ~cut
            # What lies at a wall touches the frame's edge, and shows its area.
            usual = np.median(area[uncut]) if uncut.any() else math.inf
            whole = uncut | (area >= WHOLE * usual)
            shares.append(min(whole.sum() / due, 1.0) * presence)
    return average(shares)


# Permanence.


def score_identity(reading: Reading) -> float:
    """Least presence if every object keeps colour, shape and size, without jumps, and stays."""
    if reading.frames < 2 or not reading.is_due:
        return math.nan
    kept = all(_keeps_identity(reading, i) for i in range(len(reading.objects)))
    return float(kept * np.nanmin(reading.presence))


def _keeps_identity(reading: Reading, i: int) -> bool:
    tracks, path = reading.tracks, reading.paths[i]
    if (~reading.seen[:, i] & ~reading.left[:, i]).any():
        return False
    others = [other for other in reading.paths if other is not path]
    if count_jumps(path, others):
        return False
    # What the edge cuts is compared only if nothing else is seen of an object that should be whole.
    whole = tracks.whole[:, i]
    uncut = whole & ~tracks.cut[:, i]
    if not uncut.any() and not reading.window.whole[:, i].any():
        return True
    judged = uncut if uncut.any() else whole
    if not judged.any():
        return False
    shapes = tracks.shape[judged, i]
    change = np.abs(tracks.area[whole, i] / (math.pi * path.radius**2) - 1) > AREA_CHANGE
    return bool((shapes == shapes[0]).mean() >= KEPT and change.mean() <= 1 - KEPT)


def score_no_spontaneous_objects(reading: Reading) -> float:
    """Presence of the objects if all were near, in the frame before, or come in over the edge."""
    if reading.frames < 2 or not reading.is_due:
        return math.nan
    for regions in reading.tracks.regions.values():
        for frame, center, at_edge in zip(
            regions.frame, regions.center, regions.at_edge, strict=True
        ):
            before = regions.center[regions.frame == frame - 1]
            near = np.linalg.norm(before - center, axis=1) < FARTHEST
            if frame and not at_edge and not near.any():
                return 0.0
    # The last two given frames show where the objects are heading.
    earlier = np.asarray(reading.expected.truth["position"], float)[
        max(reading.start - 1, 0) : reading.start
    ]
    if any(
        _leaps(np.concatenate([earlier[:, i], path.center])) for i, path in enumerate(reading.paths)
    ):
        return 0.0
    return _mean_presence(reading)


def _leaps(center: np.ndarray) -> bool:
    """Whether any place in center[t, 2] goes on neither from the ones before nor to the next ones.

    A place goes on from the one before if it is within `STRIDE` of it, or within `OFF_COURSE` of
    where the last step leads; and so back in time.
    """
    steps = np.diff(center, axis=0)
    far = np.linalg.norm(steps, axis=1) >= STRIDE
    turns = np.r_[np.inf, np.linalg.norm(np.diff(steps, axis=0), axis=1), np.inf]
    with np.errstate(invalid="ignore"):
        return bool((far & ~(turns[:-1] < OFF_COURSE) & ~(turns[1:] < OFF_COURSE)).any())


# Looks, of whole objects.


def score_one_component(reading: Reading) -> float:
    """Share of objects that are one piece in 9 of 10 frames."""
    one = (reading.tracks.whole & (reading.tracks.pieces == 1))[reading.new].sum(0)
    due, wanted = reading.count_due(), reading.window.whole.any(0)
    return average(((one > 0) & (one >= KEPT * due))[wanted])


def score_sharp_edges(reading: Reading) -> float:
    """Mean over objects and frames: 1 for edges as sharp as `SHARP`, 0 from `SOFT` on."""
    sharp = np.clip((SOFT - reading.tracks.edge) / (SOFT - SHARP), 0, 1)
    return _average(reading, np.nan_to_num(sharp))


def score_no_flicker(reading: Reading) -> float:
    """Mean over pairs of frames: 1 for a background that stays, 0 from `FLICKERING` on."""
    if reading.frames < 2 or not reading.is_due:
        return math.nan
    change = reading.tracks.flicker
    steady = np.clip((FLICKERING - change) / (FLICKERING - STEADY), 0, 1)
    return _share(steady) * _mean_presence(reading)


def score_smooth(reading: Reading) -> float:
    """How steadily the picture goes on, where the simulator's objects move in sight long enough."""
    if (reading.window.in_sight & reading.window.moves).any(1).sum() < MIN_MOVING:
        return math.nan
    return reading.smooth * _mean_presence(reading)
