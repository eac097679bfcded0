"""Scores of `occlusion`: what is out of sight is gone, and comes back as it was, where it must.

`occlusion_tracking` finds the wall and each named object in every frame: area A(t), middle, extent.
With A* an object's 90th percentile of area, it is *seen* where A >= A* / 2 and *gone* where
A < 0.04 A*. Of a clip in which it gets out of sight, g is the first frame in which it is gone after
it was seen, and h the first after g in which it is not.

- hides: g exists, h - g is at least `MIN_HIDDEN_FRAMES` less one if it comes out again (the frames
  at both ends may show a sliver), it was next to the wall in frame g - 1, and the wall stays whole.
- comes_back: in frame h it is next to the wall on the stated side, and later seen.
- comes_back_in_time: with v the common slope of the object's position before g and after h, the
  position after h is where a steady speed has taken it, to 2 frames or a fifth of h - g.
  Positions are those of the edge that the wall does not cover, less half its width.
- kept: height after h within 0.84 and 1.19 of that before g, and the same shape.
- shape: a ball fills pi / 4 = 0.785 of its bounding rectangle, a box with its top 0.95 or more.

What a score applies to is decided by the story that the caption tells and by how much of it the
simulator's clip shows, never by the video.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import occlusion_tracking as tracking
from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.occlusion_tracking import Track
from sora_jax.laws import occlusion as laws
from sora_jax.laws.palette import FPS
from sora_jax.laws.scene import AMBIENT, DIFFUSE, FLOORS

NAME = "occlusion"

FILL_LIMIT = 0.835  # of the bounding rectangle; between a ball's 0.785 and a blurred box's 0.88
BOX_HEIGHT = (
    2.37  # of half its side: 2 of its front and 0.37 of its top, seen from 10 degrees above
)
TOUCH = 2.5  # pixels between things that are next to one another
HIDES = ("gone", "stays", "coming", "again")  # stories in which something gets out of sight


@dataclasses.dataclass(frozen=True)
class Object:
    """One named object: what is said of it, where it is found, and what its clip shows.

    Attributes:
      color, shape, size, story, direction, exit: as the caption states them.
      track: where its colour is found.
      usual: A*, its 90th percentile of area in pixels.
      seen, gone: bool[t].
      leaves: g, the frame in which it is gone for the first time; the number of frames if never.
      returns: h, the first frame after g in which it is not gone; the number of frames if never.
      clear: bool[t], whether the simulator's frame shows all of it; for what applies.
      steps: number of steps in which the simulator's frames show it move before it is gone.
    """

    color: str
    shape: str
    size: str
    story: str
    direction: str
    exit: str
    track: Track
    usual: float
    seen: np.ndarray
    gone: np.ndarray
    leaves: int
    returns: int
    clear: np.ndarray
    steps: int

    @property
    def fill(self) -> np.ndarray:
        """Share of its bounding rectangle that it fills, float[t]; nan where there is nothing."""
        box = self.track.width * self.track.height
        return self.track.area / np.maximum(box, 1e-6) + 0 * box

    def is_shape(self, fill: float) -> bool:
        return fill >= FILL_LIMIT if self.shape == "box" else 0.5 < fill < FILL_LIMIT


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the scores need of one video.

    Attributes:
      expected: what it should show.
      size: (frames, height, width).
      objects: those that the caption names.
      wall: where its colour is found.
      solids: saturated things other than the wall, in each frame.
      floor: name of the floor whose colour is seen, in each frame; "" for none.
      jumps: float[t - 1], how far the still parts of the picture change from frame to frame,
        in levels.
    """

    expected: Expected
    size: tuple[int, int, int]
    objects: tuple[Object, ...]
    wall: Track
    solids: list[list[tuple[int, np.ndarray, bool]]]
    floor: list[str]
    jumps: np.ndarray


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Finds everything that the scores need in the pixels of one video; see `base`."""
    a = expected.attributes
    hues = tracking.classify_hues(video)
    objects, wall = [], None
    for i, suffix in enumerate(("", "2")):
        if a["color" + suffix] == "none":
            continue
        names = a["floor"], a["color" + suffix], a["wall"]
        share, wall_share = tracking.unmix(video, hues, *names)
        if wall is None:
            wall = tracking.track(wall_share)
        if a["story" + suffix] != "unseen":
            objects.append(_follow(tracking.track(share), expected, i, suffix))
    assert wall is not None  # every clip has a first object, seen or not
    return Reading(
        expected,
        (video.shape[0], video.shape[1], video.shape[2]),
        tuple(objects),
        wall,
        tracking.find_solids(hues, a["wall"]),
        _name_floors(video, hues),
        _measure_jumps(video, hues),
    )


def _follow(track: Track, expected: Expected, i: int, suffix: str) -> Object:
    a, truth, t = expected.attributes, expected.truth, len(track.area)
    there = track.area[track.area >= 1]
    usual = float(np.quantile(there, 0.9)) if len(there) else 0.0
    seen = (track.area >= usual / 2) & (track.area >= 1)
    gone = track.area < max(0.04 * usual, 1.0)
    first = int(seen.argmax()) if seen.any() else t
    leaves = first + int(gone[first:].argmax()) if gone[first:].any() else t
    returns = leaves + int((~gone[leaves:]).argmax()) if (~gone[leaves:]).any() else t
    whole, visible = np.asarray(truth["whole"])[i][:t], np.asarray(truth["visible"])[i][:t]
    unit = track.share.shape[2] / 2  # pixels
    stretch = math.pi if a["shape" + suffix] == "ball" else 2 * BOX_HEIGHT
    full = max(0.97 * whole.max(), 0.8 * stretch * (truth["radius"][i] * unit) ** 2)
    clear = (visible >= 0.97 * whole) & (whole >= full)
    moving = visible >= 0.2 * max(whole.max(), 1)
    lost = np.flatnonzero(~moving & np.maximum.accumulate(moving))
    end = int(lost[0]) if len(lost) else t
    return Object(
        *(a[key + suffix] for key in ("color", "shape", "size", "story", "direction", "exit")),
        track,
        usual,
        seen,
        gone,
        leaves,
        returns,
        clear,
        max(int(moving[:end].sum()) - 1, 0),
    )


def _name_floors(video: np.ndarray, hues: np.ndarray) -> list[str]:
    """Names the floor's colour by the median of the lower half's grey pixels, within 25 levels."""
    lit = AMBIENT + DIFFUSE * laws.LIGHT[2] / math.hypot(*laws.LIGHT)
    names = []
    for frame, hue in zip(video, hues, strict=True):
        grey = frame[len(frame) // 2 :][hue[len(frame) // 2 :] < 0]
        color = np.median(grey, axis=0) if len(grey) else np.zeros(3)
        gaps = {n: float(np.abs(np.multiply(c, lit) - color).max()) for n, c in FLOORS.items()}
        best = min(gaps, key=lambda name: gaps[name])
        names.append(best if gaps[best] <= 25 else "")
    return names


def _measure_jumps(video: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """Measures how far the floor changes between frames, away from everything with a colour.

    A change is averaged over 5 x 5 pixels, so that noise does not count; the value is the 95th
    percentile over the picture, where no coloured thing is within an eighth of its width.
    """
    if len(video) < 2:
        return np.zeros(0)
    reach = 2 * max(video.shape[2] // 8, 2) + 1
    taken = ndimage.maximum_filter((hues >= 0).astype(np.uint8), (1, reach, reach)) > 0
    change = np.diff(video.astype(np.float32).mean(-1), axis=0)
    change = np.abs(ndimage.uniform_filter(change, (0, 5, 5)))
    free = ~(taken[1:] | taken[:-1])
    return np.array(
        [np.quantile(c[f], 0.95) if f.sum() >= 20 else 0.0 for c, f in zip(change, free)]
    )


def _over(reading: Reading, measure: Callable[[Reading, Object], float]) -> float:
    """Averages a value of the named objects to which it applies; nan for none."""
    values = [measure(reading, thing) for thing in reading.objects]
    values = [v for v in values if not math.isnan(v)]
    return float(np.mean(values)) if values else math.nan


def _is_present(reading: Reading, thing: Object) -> bool:
    """Whether as much of an object is seen as its smallest size allows."""
    least = math.pi * (min(r for r, _ in laws.RADII.values()) * reading.size[2] / 2) ** 2
    return thing.usual >= (1 if thing.story == "edge" else 0.3 * least)


def _measure_color(reading: Reading) -> float:
    named = {tracking.NAMES.index(thing.color) for thing in reading.objects}
    calm = [all(hue in named for hue, _, _ in frame) for frame in reading.solids]
    there = all(_is_present(reading, thing) for thing in reading.objects)
    return float(np.mean(calm)) * there if reading.objects else math.nan


def _measure_wall(reading: Reading) -> float:
    wall, (_, _, w) = reading.wall, reading.size
    box = np.maximum(np.nan_to_num(wall.width * wall.height), 1e-6)
    return float(((wall.area >= 0.015 * w * w) & (wall.area >= 0.7 * box)).mean())


def _measure_floor(reading: Reading) -> float:
    return float(np.mean([name == reading.expected.attributes["floor"] for name in reading.floor]))


def _measure_count(reading: Reading) -> float:
    """Counts the hues, and things of a hue at a time, that two frames at least show."""
    frames, total = reading.solids, 0
    for hue in range(len(tracking.NAMES)):
        counts = sorted(sum(h == hue for h, _, _ in frame) for frame in frames)
        total += counts[-2] if len(counts) > 1 else counts[-1]
    sure = sum(thing.story != "edge" and thing.clear.sum() >= 2 for thing in reading.objects)
    sure = min(sure, len(reading.objects))
    return float(sure <= total <= len(reading.objects))


def _find_free(thing: Object) -> np.ndarray:
    """Whether an object is seen in all its width, and not cut by the frame, bool[t]."""
    width = np.where(thing.seen & ~thing.track.is_cut(), thing.track.width, 0.0)
    return (width > 0) & (width >= 0.93 * np.quantile(width, 0.9))


def _gap(reading: Reading, thing: Object) -> np.ndarray:
    """Returns the horizontal distance in pixels between an object and the wall; inf for none."""
    wall, own = reading.wall, thing.track
    gap = np.maximum(wall.left - own.right, own.left - wall.right)
    return np.nan_to_num(gap, nan=np.inf)


def _measure_shape(reading: Reading, thing: Object) -> float:
    if not thing.clear.any():
        return math.nan
    free = _find_free(thing) & _is_present(reading, thing)
    return float(free.any() and thing.is_shape(float(np.median(thing.fill[free]))))


def _measure_size(reading: Reading, thing: Object) -> float:
    if not thing.clear.any():
        return math.nan
    free = _find_free(thing)
    if not free.any():
        return 0.0
    extent = thing.track.height / BOX_HEIGHT if thing.shape == "box" else thing.track.width / 2
    radius = float(np.median(extent[free])) / (reading.size[2] / 2)
    low, high = laws.RADII[thing.size]
    return float(
        0.8 * low <= radius <= 1.2 * high and (radius < laws.SIZE_LIMIT) == (high < laws.SIZE_LIMIT)
    )


def _measure_direction(reading: Reading, thing: Object) -> float:
    camera = reading.expected.attributes["camera"]
    if camera != "still":
        return _measure_pan(reading, camera)
    if thing.direction == "none" or thing.steps < 2 or thing.story == "edge":
        return math.nan
    stop = thing.leaves if thing.story in HIDES else len(thing.seen)
    known = np.flatnonzero(thing.track.area[:stop] >= max(0.15 * thing.usual, 1))
    if thing.story == "appears":
        known = known[known >= (int((~thing.gone).argmax()))]
    steps = np.diff(thing.track.center[known, 0])[np.diff(known) == 1]
    steps = steps * (1 if thing.direction == "right" else -1)
    if not len(steps):
        return 0.0
    return float(max(((steps > 0.1).sum() - (steps < -0.1).sum()) / len(steps), 0))


def _measure_pan(reading: Reading, camera: str) -> float:
    """Measures whether the wall's picture moves against the stated turn of the camera."""
    path = reading.wall.center[:, 0]
    known = np.flatnonzero(~np.isnan(path))
    if len(known) < 2:
        return 0.0
    _, *sides = camera.replace(" and ", " ").split()
    steps = np.diff(path[known]) * (-1 if sides[0] == "right" else 1)
    turn = int(np.cumsum(steps).argmax()) + 1 if len(sides) > 1 else len(steps)
    signs = np.where(np.arange(len(steps)) < turn, 1, -1)
    moving = np.abs(steps) > 0.15
    parts = [(signs * np.sign(steps))[moving & (signs == sign)] for sign in (1, -1)[: len(sides)]]
    return float(np.mean([max(part.mean(), 0) if len(part) >= 1 else 0 for part in parts]))


def _is_behind(reading: Reading) -> bool:
    return reading.expected.attributes["event"] in laws.BEHIND


def _vanishes_at_wall(reading: Reading, thing: Object) -> bool:
    """Whether it is gone after it was seen, next to the wall, which stays whole meanwhile."""
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if g >= t or not _is_present(reading, thing) or _gap(reading, thing)[g - 1] > TOUCH:
        return False
    area = reading.wall.area
    return bool(area[g:h].min() >= 0.85 * np.median(area) > 0)


def _measure_hides(reading: Reading, thing: Object) -> float:
    if not _is_behind(reading) or thing.story not in HIDES:
        return math.nan
    least = 1 if thing.story == "gone" else laws.MIN_HIDDEN_FRAMES - 1
    return float(_vanishes_at_wall(reading, thing) and thing.returns - thing.leaves >= least)


def _side_of_wall(reading: Reading, thing: Object, frame: int) -> str:
    """Names the side of the wall on which an object is next to it in a frame, or "none"."""
    if _gap(reading, thing)[frame] > TOUCH:
        return "none"
    return "right" if thing.track.center[frame, 0] > reading.wall.center[frame, 0] else "left"


def _measure_comes_back(reading: Reading, thing: Object) -> float:
    if not _is_behind(reading) or thing.story not in ("again", "appears"):
        return math.nan
    t, back = len(thing.seen), thing.returns
    if thing.story == "appears":
        back = int((~thing.gone).argmax()) if thing.gone[0] and (~thing.gone).any() else 0
        if not thing.gone[0] and thing.seen[0]:
            return 0.0
    elif not _vanishes_at_wall(reading, thing) or back - thing.leaves < laws.MIN_HIDDEN_FRAMES - 1:
        return 0.0
    if back >= t or not _is_present(reading, thing) or not thing.seen[back:].any():
        return 0.0
    return float(_side_of_wall(reading, thing, back) == thing.exit)


def _is_steady(reading: Reading) -> bool:
    return reading.expected.attributes["event"] in ("through", "cross")


def _measure_in_time(reading: Reading, thing: Object) -> float:
    """Compares where it comes out with where its speed before and after takes it."""
    if not (_is_steady(reading) and thing.story == "again" and thing.steps >= 3):
        return math.nan
    if not thing.clear[: np.argmax(thing.clear) + 1].any():
        return math.nan
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if h >= t or not _vanishes_at_wall(reading, thing):
        return 0.0
    own, sign = thing.track, 1 if thing.direction == "right" else -1
    rear, front = (own.left, own.right) if sign > 0 else (own.right, own.left)
    free = _find_free(thing)
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
    upper = sum(((k - k.mean()) * (x - x.mean())).sum() for k, x in zip(frames, values))
    speed = upper / max(sum(((k - k.mean()) ** 2).sum() for k in frames), 1e-6)
    if speed * sign < 0.1:
        return 0.0
    late = frames[1].mean() - frames[0].mean() - (values[1].mean() - values[0].mean()) / speed
    return float(abs(late) <= max(2.0, 0.2 * (h - g)))


def _measure_kept(reading: Reading, thing: Object) -> float:
    """Compares the height and shape of an object before and after it was out of sight."""
    if thing.story != "again":
        return math.nan
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if h >= t or h - g < laws.MIN_HIDDEN_FRAMES - 1 or not _is_present(reading, thing):
        return 0.0
    seen = [np.flatnonzero(thing.seen[:g]), h + np.flatnonzero(thing.seen[h:])]
    if not all(len(k) for k in seen):
        return 0.0
    before, after = (float(np.median(np.sort(thing.track.height[k])[-3:])) for k in seen)
    free = _find_free(thing)
    fills = [thing.fill[k[free[k]]] for k in seen]
    same = all(thing.is_shape(float(np.median(fill))) for fill in fills if len(fill))
    return float(same and 0.84 <= after / max(before, 1e-6) <= 1.19)


def _measure_stays(reading: Reading, thing: Object) -> float:
    if thing.story != "stays":
        return math.nan
    g = thing.leaves
    enough = len(thing.seen) - g >= laws.MIN_HIDDEN_FRAMES - 1
    return float(enough and _vanishes_at_wall(reading, thing) and thing.gone[g:].all())


def _measure_turns_back(reading: Reading, thing: Object) -> float:
    if thing.story != "again" or _is_steady(reading) or not _is_behind(reading):
        return math.nan
    t, g, h = len(thing.seen), thing.leaves, thing.returns
    if h >= t or not _vanishes_at_wall(reading, thing) or not thing.seen[h:].any():
        return 0.0
    x = thing.track.center[:, 0]
    back = x[h:][~thing.gone[h:]]
    outward = (back[-1] - back[0]) * (1 if thing.exit == "right" else -1) > 0
    sides = {_side_of_wall(reading, thing, k) for k in (g - 1, h)}
    return float(sides == {thing.exit} and (outward or len(back) < 2))


def _measure_out_of_frame(reading: Reading, thing: Object) -> float:
    """Whether it leaves at one side of the frame and comes back there, as it was.

    If the camera pans, its place beside the wall is the same before and after.
    """
    if _is_behind(reading) or thing.story not in (*HIDES, "appears"):
        return math.nan
    t, g, h, w = len(thing.seen), thing.leaves, thing.returns, reading.size[2]
    own = thing.track
    if not _is_present(reading, thing):
        return 0.0
    pan = reading.expected.attributes["event"] == "pan"
    side = thing.exit
    if side == "none":  # it leaves where it goes, or against the turn of the camera
        side = {"right": "left", "left": "right"}[thing.direction] if pan else thing.direction
    reach = laws.OUTSIDE_SPEEDS[-1][-1] / FPS * w / 2 + TOUCH

    def meets_side(k: int) -> bool:
        return bool(own.left[k] < reach if side == "left" else own.right[k] > w - reach)

    if thing.story == "appears":
        back = int((~thing.gone).argmax())
        return float(thing.gone[0] and meets_side(back) and thing.seen[back:].any())
    least = laws.MIN_HIDDEN_FRAMES - 1 if thing.story in ("coming", "again") else 1
    if g >= t or not meets_side(g - 1) or h - g < least:
        return 0.0
    if thing.story == "gone":
        return float(h >= t)
    if h >= t or not meets_side(h) or (thing.story == "again" and not thing.seen[h:].any()):
        return 0.0
    if pan and thing.story == "again":
        away = own.center[:, 0] - reading.wall.center[:, 0]
        free = _find_free(thing)
        parts = away[:g][free[:g]], away[h:][free[h:]]
        if all(len(part) for part in parts):
            return float(abs(np.median(parts[0]) - np.median(parts[1])) <= 0.04 * w)
    return 1.0


def _measure_identity(reading: Reading) -> float:
    """Whether each of two objects is where only it can be, as it was."""
    if len(reading.objects) < 2:
        return math.nan
    if reading.expected.attributes["event"] == "beside":
        mover, rests = reading.objects
        if mover.story not in ("stays", "coming", "again", "appears"):
            return math.nan
        if mover.story == "appears" and mover.steps < 2:
            return math.nan
        own = rests.track
        if not rests.seen.all() or not _is_present(reading, rests):
            return 0.0
        drift = np.nanmax(np.abs(own.center - np.median(own.center, axis=0)))
        still = drift <= max(1.5, 0.02 * reading.size[2])
        sizes = own.area / np.median(own.area)
        same = rests.is_shape(float(np.median(rests.fill))) and sizes.min() > 0.85
        return float(still and same and sizes.max() < 1.18)
    stories = [thing.story for thing in reading.objects]
    if not any(story in ("again", "appears") for story in stories):
        return math.nan
    return _over(reading, _measure_comes_back)


def _measure_spontaneous(reading: Reading) -> float:
    """Whether nothing appears or vanishes in the open: away from the wall and the frame's sides."""
    t, _, w = reading.size
    if t < 2:
        return math.nan
    reach = laws.OUTSIDE_SPEEDS[-1][-1] / FPS * w / 2 + TOUCH
    for first, second in zip(reading.solids, reading.solids[1:], strict=False):
        for these, others in ((second, first), (first, second)):
            for hue, middle, hidden in these:
                near = (np.hypot(*(middle - m)) <= reach for h, m, _ in others if h == hue)
                if not hidden and not any(near):
                    return 0.0
    return 1.0


def _measure_one_component(reading: Reading) -> float:
    """Whether every named thing, the wall too, is one piece in nine of ten frames that show it."""
    shares = []
    if reading.expected.attributes["event"] != "leaves":  # there the object passes before it
        shares.append(float((reading.wall.pieces == 1).mean()))
    for thing in reading.objects:
        seen = thing.track.area >= max(0.3 * thing.usual, 4.0)
        shares.append(float((thing.track.pieces[seen] == 1).mean()) if seen.any() else 0.0)
        if thing.story != "edge" and not _is_present(reading, thing):
            shares.append(0.0)
    return float(min(shares) >= 0.9)


def _measure_sharpness(reading: Reading) -> float:
    """Measures how many pixels wide the wall's edge is: partly filled pixels over its outline.

    Pixels between 0.15 and 0.85 filled; a real edge has at most one, a mild blur of 0.7 pixels 1.5.
    """
    wall = reading.wall
    part = ((wall.share > 0.15) & (wall.share < 0.85)).sum((1, 2))
    outline = 2 * (wall.width + wall.height)
    sharp = part / np.maximum(outline, 1e-6) <= 2.6
    return float(np.mean(sharp & (np.nan_to_num(outline) > 0) & (wall.area > 0)))


def _measure_flicker(reading: Reading) -> float:
    if reading.size[0] < 2 or reading.expected.attributes["event"] == "pan":
        return math.nan
    return float((reading.jumps <= 2.5).mean())


def _measure_prediction(reading: Reading) -> float:
    """Compares what is seen after the given frames with the simulator, frame by frame.

    Three kinds of frames count; the value is the mean of the worst kind, over all objects. Where
    the simulator's object is out of sight, the video must show nothing of it. Where it is partly
    in sight, the value falls from 1 to 0 as the error of its area grows from 0.1 to 0.43 of the
    object. Where it is whole, and at least half a radius from where the given frames left it, the value falls
    over an error of its position of one radius. Where it turns unseen, nothing tells when it comes
    back, and the frames after that do not count.
    """
    truth, given, t = reading.expected.truth, reading.expected.given, reading.size[0]
    kinds: dict[str, list[float]] = {"lost": [], "part": [], "whole": []}
    for i, thing in enumerate(reading.objects):
        visible, whole = (np.asarray(truth[key])[i][:t] for key in ("visible", "whole"))
        center = np.asarray(truth["center"])[i][:t]
        known = np.flatnonzero(thing.clear[:given])
        if thing.story in ("rests", "edge") or not len(known):
            continue
        lost = (visible == 0) & (np.arange(t) > known[-1])
        end = t
        if lost.any() and not _is_steady(reading):
            later = np.flatnonzero(~lost & (np.arange(t) > lost.argmax()))
            end = int(later[0]) if len(later) else t
        full = float(whole[thing.clear].mean())
        radius = math.sqrt(full / math.pi)
        for k in range(given, end):
            if lost[k]:
                kinds["lost"].append(float(thing.gone[k] and thing.usual > 0))
            elif not thing.clear[k]:
                error = abs(thing.track.area[k] - visible[k]) / full
                kinds["part"].append(float(np.clip(1 - (error - 0.1) * 3, 0, 1)))
            elif np.hypot(*(center[k] - center[known[-1]])) >= radius / 2:
                gap = np.hypot(*(thing.track.center[k] - center[k]))
                kinds["whole"].append(0.0 if math.isnan(gap) else max(1 - gap / radius, 0.0))
    means = [float(np.mean(values)) for values in kinds.values() if values]
    return min(means) if means else math.nan


def _each(measure: Callable[[Reading, Object], float]) -> Callable[[Reading], float]:
    return lambda reading: _over(reading, measure)


def _score(name, kind, meaning, measure, broken_by, min_given=0) -> Score:
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


SCORES = (
    _score("color", "what", "the named objects' colours are seen, and no other beside the wall's; "
           "0: another colour, or nothing", _measure_color, "mismatched"),
    _score("wall", "what", "share of frames with an upright rectangle of the wall's colour",
           _measure_wall, "mismatched grey_disc"),
    _score("floor", "what", "share of frames with a floor of the named colour", _measure_floor,
           "mismatched grey_disc"),
    _score("count", "what", "as many objects are seen as are named", _measure_count,
           "mismatched appears"),
    _score("shape", "what", "the object's outline is that of a ball or box, as named",
           _each(_measure_shape), "mismatched grey_disc"),
    _score("size", "what", "the object is as small or large as named, in units of the scene",
           _each(_measure_size), "mismatched grey_disc"),
    _score("direction", "where", "share of steps in the stated direction, less those against it",
           _each(_measure_direction), "frozen shuffled reversed mismatched grey_disc"),
    _score("hides", "permanence", "the object disappears at the wall, all of it, for 5 frames at "
           "least where it comes out again; 0: it stays in sight", _each(_measure_hides),
           "frozen shuffled mismatched grey_disc in_front"),
    _score("comes_back", "permanence", "it comes out at the stated side of the wall",
           _each(_measure_comes_back),
           "frozen shuffled mismatched grey_disc never_returns recolored_behind wrong_side"),
    _score("comes_back_in_time", "laws", "it comes out when its steady speed says",
           _each(_measure_in_time),
           "frozen shuffled mismatched grey_disc never_returns recolored_behind wrong_time"),
    _score("kept", "permanence", "colour, shape and size are after it was out of sight what they "
           "were before", _each(_measure_kept),
           "frozen shuffled mismatched grey_disc recolored_behind reshaped_behind shrunk_behind "
           "never_returns"),
    _score("stays", "permanence", "what stays behind the wall is not seen again",
           _each(_measure_stays), "frozen shuffled reversed mismatched grey_disc escapes"),
    _score("turns_back", "permanence", "what turns behind the wall comes out where it went in",
           _each(_measure_turns_back),
           "frozen shuffled mismatched grey_disc wrong_side never_returns recolored_behind"),
    _score("out_of_frame", "permanence", "it leaves at the right side of the frame, and comes back "
           "there to the same place", _each(_measure_out_of_frame),
           "frozen shuffled mismatched grey_disc"),
    _score("identity", "permanence", "of two objects each is where only it can be, as it was",
           _measure_identity, "mismatched grey_disc swapped"),
    _score("no_spontaneous_objects", "permanence", "nothing appears or vanishes in the open",
           _measure_spontaneous, "appears shuffled"),
    _score("one_component", "looks", "every named thing, the wall too, is one piece whenever it is seen",
           _measure_one_component, "mismatched grey_disc torn"),
    _score("sharp_edges", "looks", "share of frames in which the wall's edges are as sharp as "
           "real ones", _measure_sharpness, "mismatched grey_disc blurred"),
    _score("no_flicker", "looks", "share of steps in which the floor keeps its brightness",
           _measure_flicker, "flickers"),
    _score("prediction", "prediction", "positions against the simulator's, 1 less the error in "
           "radii, and nothing seen while it is hidden", _measure_prediction,
           "frozen shuffled mismatched grey_disc", 5),
)  # fmt: skip
