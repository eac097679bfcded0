"""Scores of what is out of sight: it is gone, and comes back as it was, where and when it must.

With g and h an object's `leaves` and `returns`:

- hides: g exists, h - g is at least `MIN_HIDDEN_FRAMES` less one (the frames at both ends may show
  a sliver; a clip that tells no more may end before), it was next to the wall in frame g - 1, and
  the wall stays whole.
- comes_back: in frame h it is next to the wall on the stated side, and later seen.
- comes_back_in_time: with v the common slope of the object's position before g and after h, the
  position after h is where a steady speed has taken it, to 2 frames or a fifth of h - g.
  Positions are those of the edge that the wall does not cover, less half its width.
- kept: its height after h is within 0.84 and 1.19 of that before g, and the shape is the same.
- out_of_frame, returns: the same at a side of the frame, which cuts it in one of the `CUT` frames
  nearest to g or h, while the wall and the floor stay in sight; before a camera that pans, its
  distance from the wall afterwards is that before within 4 % of the frame's width.

In all of them each object keeps its direction before g and after h.
"""

import math

import numpy as np

from sora_jax.evals.worlds.occlusion_object import Object
from sora_jax.evals.worlds.occlusion_reading import TOUCH, Reading, find_worst
from sora_jax.laws import occlusion as laws
from sora_jax.laws.palette import FPS

HIDES = ("gone", "stays", "coming", "again")  # stories in which something gets out of sight
CUT = 3  # frames in one of which the frame's side cuts what leaves or comes
LATE = 2.0  # frames by which an object may come out too early or too late


def _vanishes_at_wall(reading: Reading, thing: Object) -> bool:
    """Whether it is gone after it was seen, next to the wall, which stays whole meanwhile."""
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if g >= t or not reading.is_present(thing) or reading.find_gap(thing)[g - 1] > TOUCH:
        return False
    area = reading.wall.area
    return bool(area[g:h].min() >= 0.85 * np.median(area) > 0)


def _is_lost_for_long(thing: Object) -> bool:
    """Whether it is out of sight as long as it must be at least, or until a clip's end before."""
    least = laws.MIN_HIDDEN_FRAMES - 1  # both ends may show a sliver
    if thing.story == "gone":
        least = min(least, len(thing.seen) - thing.leaves)
    return thing.returns - thing.leaves >= least


def measure_hides(reading: Reading, thing: Object) -> float:
    if not reading.is_behind or thing.story not in HIDES:
        return math.nan
    return float(_vanishes_at_wall(reading, thing) and _is_lost_for_long(thing))


def _find_side(reading: Reading, thing: Object, frame: int) -> str:
    """Names the side of the wall on which an object is next to it in a frame, or "none"."""
    if reading.find_gap(thing)[frame] > TOUCH:
        return "none"
    return "right" if thing.track.center[frame, 0] > reading.wall.center[frame, 0] else "left"


def measure_comes_back(reading: Reading, thing: Object) -> float:
    if not reading.is_behind or thing.story not in ("again", "appears"):
        return math.nan
    t, back = len(thing.seen), thing.returns
    if thing.story == "appears":
        back = thing.find_appearing()
    elif not _vanishes_at_wall(reading, thing) or back - thing.leaves < laws.MIN_HIDDEN_FRAMES - 1:
        return 0.0
    if back >= t or not reading.is_present(thing) or not thing.seen[back:].any():
        return 0.0
    return float(_find_side(reading, thing, back) == thing.exit)


def measure_in_time(reading: Reading, thing: Object) -> float:
    """Compares where it comes out with where its speed before and after takes it."""
    if not (reading.is_steady and thing.story == "again" and thing.steps >= 3):
        return math.nan
    if not thing.clear.any():
        return math.nan
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if h >= t or not _vanishes_at_wall(reading, thing):
        return 0.0
    own, sign = thing.track, 1 if thing.direction == "right" else -1
    rear, front = (own.left, own.right) if sign > 0 else (own.right, own.left)
    free = thing.find_whole()
    width = np.median(own.width[free]) if free.any() else np.nanmax(own.height)
    w = reading.size[2]
    frames, values = [], []
    for edge, shift, part in ((rear, sign, slice(0, g)), (front, -sign, slice(h, t))):
        k = np.arange(t)[part]
        x = edge[part]
        known = (x > 1.5) & (x < w - 1.5) & (own.area[part] >= 0.1 * thing.usual)
        frames.append(k[known])
        values.append(x[known] + shift * width / 2)
    if min(len(k) for k in frames) < 1 or sum(len(k) for k in frames) < 3:
        return 0.0
    upper = sum(
        ((k - k.mean()) * (x - x.mean())).sum() for k, x in zip(frames, values, strict=True)
    )
    speed = upper / max(sum(((k - k.mean()) ** 2).sum() for k in frames), 1e-6)
    if speed * sign < 0.1:
        return 0.0
    late = frames[1].mean() - frames[0].mean() - (values[1].mean() - values[0].mean()) / speed
    return float(abs(late) <= max(LATE, 0.2 * (h - g)))


def measure_kept(reading: Reading, thing: Object) -> float:
    """Compares the height and shape of an object before and after it was out of sight."""
    if thing.story != "again" or not thing.twice:
        return math.nan
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if h >= t or h - g < laws.MIN_HIDDEN_FRAMES - 1 or not reading.is_present(thing):
        return 0.0
    heights, same = [], True
    for part in (slice(0, g), slice(h, t)):
        free = thing.find_whole(part)
        if not free.any():
            return 0.0
        heights.append(float(np.median(thing.track.height[free])))
        same &= bool(np.median(thing.track.pieces[free]) == 1)
        same &= thing.is_shape(float(np.median(thing.fill[free])))
    return float(same and 0.84 <= heights[1] / heights[0] <= 1.19)


def measure_stays(reading: Reading, thing: Object) -> float:
    if thing.story != "stays":
        return math.nan
    g = thing.leaves
    enough = len(thing.seen) - g >= laws.MIN_HIDDEN_FRAMES - 1
    return float(enough and _vanishes_at_wall(reading, thing) and thing.gone[g:].all())


def measure_turns_back(reading: Reading, thing: Object) -> float:
    if thing.story != "again" or reading.is_steady or not reading.is_behind:
        return math.nan
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if h >= t or not _vanishes_at_wall(reading, thing) or not thing.seen[h:].any():
        return 0.0
    x = thing.track.center[:, 0]
    back = x[h:][~thing.gone[h:]]
    outward = (back[-1] - back[0]) * (1 if thing.exit == "right" else -1) > 0
    sides = {_find_side(reading, thing, k) for k in (g - 1, h)}
    return float(sides == {thing.exit} and (outward or len(back) < 2))


def measure_out_of_frame(reading: Reading, thing: Object) -> float:
    """Whether all of it gets out of the frame at the side at which it must."""
    if reading.is_behind or thing.story not in HIDES:
        return math.nan
    pan, g = reading.expected.attributes["event"] == "pan", thing.leaves
    if g >= len(thing.seen) or not _is_lost_for_long(thing) or not reading.is_present(thing):
        return 0.0
    # It leaves where it goes, or against the turn of the camera.
    side = {"right": "left", "left": "right"}[thing.direction] if pan else thing.direction
    scene = reading.find_scene()[g : thing.returns].mean() >= 0.8
    cut = thing.track.is_cut()[max(g - CUT, 0) : g].any()
    return float(scene and cut and _is_at_side(reading, thing, g - 1, side))


def measure_returns(reading: Reading, thing: Object) -> float:
    """Whether it comes into the frame at the stated side.

    If the camera pans, its place beside the wall is the same before and after, which is known only
    of what the simulator shows whole both times.
    """
    if reading.is_behind or thing.story not in ("again", "appears", "coming"):
        return math.nan
    pan = reading.expected.attributes["event"] == "pan"
    if pan and not (thing.story == "again" and thing.twice):
        return math.nan
    t, h = len(thing.seen), thing.returns
    if thing.story == "appears":
        h = thing.find_appearing()
    elif h - thing.leaves < laws.MIN_HIDDEN_FRAMES - 1:
        return 0.0
    seen = thing.story == "coming" or thing.seen[h:].any()
    if h >= t or not reading.is_present(thing) or not seen:
        return 0.0
    if not (_is_at_side(reading, thing, h, thing.exit) and thing.track.is_cut()[h : h + CUT].any()):
        return 0.0
    if pan:
        away = thing.track.center[:, 0] - reading.wall.center[:, 0]
        parts = [away[thing.find_whole(part)] for part in (slice(0, thing.leaves), slice(h, t))]
        if not all(len(part) for part in parts):
            return 0.0
        moved = abs(float(np.median(parts[0]) - np.median(parts[1])))
        return float(moved <= 0.04 * reading.size[2])
    return 1.0


def _is_at_side(reading: Reading, thing: Object, frame: int, side: str) -> bool:
    """Whether an object is as near to a side of the frame as one step of the fastest takes it."""
    w = reading.size[2]
    reach = laws.OUTSIDE_SPEEDS[-1][-1] / FPS * w / 2 + TOUCH
    own = thing.track
    return bool(own.left[frame] < reach if side == "left" else own.right[frame] > w - reach)


def measure_identity(reading: Reading) -> float:
    """Whether each of two objects is where only it can be, as it was."""
    if len(reading.objects) < 2:
        return math.nan
    if reading.expected.attributes["event"] == "beside":
        mover, rests = reading.objects
        if mover.story not in ("stays", "coming", "again", "appears"):
            return math.nan
        if mover.story == "appears" and mover.steps < 2:
            return math.nan
        moves = measure_comes_back if mover.story == "appears" else measure_hides
        own = rests.track
        if not moves(reading, mover) or not rests.seen.all() or not reading.is_present(rests):
            return 0.0
        drift = np.nanmax(np.abs(own.center - np.median(own.center, axis=0)))
        still = drift <= max(1.5, 0.02 * reading.size[2])
        sizes = own.area / np.median(own.area)
        same = rests.is_shape(float(np.median(rests.fill))) and sizes.min() > 0.85
        return float(still and same and sizes.max() < 1.18)
    stories = [thing.story for thing in reading.objects]
    if not any(story in ("again", "appears") for story in stories):
        return math.nan
    return find_worst(reading, measure_comes_back)
