"""Scores of the painter: what is on the paper, in which order, and whether ink obeys its laws.

The brush is found by its colours and its shape, which the laws fix. Each pixel is paper, ink of an
expected colour, or hidden by the brush (within 2 pixels); a hidden pixel keeps the state in which
it was last seen. Ink is fresh where it is seen for the first time. Lengths are in pixels; D is the
largest radius of the laws' strokes and 3 pixels.
"""

import dataclasses
import math
import operator

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import painter_brush as brush
from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.tracking import classify
from sora_jax.laws import painter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

NAME = "painter"

_MIN_INK = 0.0016  # square units, the least area of a stroke
_LEVELS = 25  # of 0..255: largest difference of the paper from its colour
_JUMP = 0.3  # units, more than any brush moves from frame to frame
_TIP_ERROR = 0.1  # units: largest error of a brush that is where it should be
_ACTS = ("painted", "finished", "begun", "continued")
_FINISHED = ("there", "painted", "finished")
_MIN_STEPS = 5  # frames with the brush down that a speed is measured from
_STRIDES = {"slowly": 3, "quickly": 1, "very quickly": 1}  # frames of a measured step


@dataclasses.dataclass(frozen=True)
class Reading:
    """Values of the scores, 0 to 1, nan where one does not apply; `SCORES` has their meanings."""

    colors: float = 0.0
    paper: float = 0.0
    count: float = 0.0
    figure: float = 0.0
    order: float = 0.0
    finished: float = 0.0
    pace: float = 0.0
    steady_speed: float = 0.0
    brush_at_tip: float = 0.0
    grows: float = 0.0
    ink_stays: float = 0.0
    one_component: float = 0.0
    sharp_edges: float = 0.0
    no_flicker: float = 0.0
    no_spontaneous_ink: float = 0.0
    prediction: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Scene:
    """What is found in a video.

    Attributes:
      classes: [t, h, w], index of what each pixel shows in `_CLASSES`.
      tip: [t, 2], the brush's tip, nan where there is none.
      hidden: bool[t, h, w], pixels that the brush hides.
      ink: bool[n, t, h, w], ink of each expected colour where it was last seen.
      names: [n], the figure that each colour's ink looks like at last, and how much, 0 to 1.
      least: _MIN_INK in pixels.
    """

    classes: np.ndarray
    tip: np.ndarray
    hidden: np.ndarray
    ink: np.ndarray
    names: list[tuple[str, float]]
    least: float


_CLASSES = {**BACKGROUNDS, **COLORS, **brush.PARTS}


def _index(name: str) -> int:
    return list(_CLASSES).index(name)


def _list(expected: Expected, name: str) -> list[str]:
    return [item for item in expected.attributes[name].split(", ") if item]


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads one video; see `base`."""
    applies = _choose(expected, len(video))
    scene = _find_scene(video, expected)
    values = _measure(video, expected, scene)
    return Reading(**{k: values.get(k, 0.0) if applies.get(k, True) else math.nan for k in _FIELDS})


def _choose(expected: Expected, frames: int) -> dict[str, bool]:
    """Says which scores do not apply to a clip."""
    states = _list(expected, "states")
    acts = any(state in _ACTS for state in states)
    down = np.asarray(expected.truth["down"])
    steps = int((down[1:] * down[:-1]).sum())
    any_ink = bool(states)
    applies = dict.fromkeys(("finished", "brush_at_tip", "grows", "ink_stays", "no_flicker"), acts)
    applies |= dict.fromkeys(("pace", "steady_speed"), acts and steps >= _MIN_STEPS)
    applies |= dict.fromkeys(("colors", "count", "one_component", "sharp_edges"), any_ink)
    return applies | {
        "figure": any(state in _FINISHED for state in states),
        "order": acts and len(states) > 1,
        "no_spontaneous_ink": acts,
        "prediction": len(_predictable(expected)) > 0,
    }


def _predictable(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which there is new ink of some size."""
    painted = np.unpackbits(np.asarray(expected.truth["painted"], np.uint8), axis=1).sum(1)
    given = max(expected.given, 1)
    # Half the least stroke, of a frame with (short side)^2 or more pixels.
    enough = painted[min(given, len(painted)) - 1] + 10
    return given + np.flatnonzero(painted[given:].astype(int) > enough)


def _find_scene(video: np.ndarray, expected: Expected) -> _Scene:
    t, h, w, _ = video.shape
    unit = min(h, w)
    grounds = list(BACKGROUNDS)
    # Of the papers only the most frequent one is there; others are blends at edges.
    counts = np.bincount(classify(video, BACKGROUNDS).ravel(), minlength=len(grounds))
    paper = grounds[int(counts.argmax())]
    shown = {paper: BACKGROUNDS[paper], **COLORS, **brush.PARTS}
    classes = np.array([_index(k) for k in shown])[classify(video, shown)]
    parts = {name: classes == _index(name) for name in brush.PARTS}
    tip = brush.find_tip(parts, unit)
    hidden = brush.cover_brush(np.nan_to_num(tip, nan=-10 * unit), unit, h, w)
    colors = _list(expected, "colors")
    seen = _find_ink(video, paper, colors)
    ink = np.zeros((len(colors), t, h, w), bool)
    for n in range(len(colors)):
        last = np.zeros((h, w), bool)
        for i in range(t):
            last = ink[n, i] = np.where(hidden[i], last, seen[i] == n)
    names = [brush.name_figure(mask, hidden[-1]) for mask in ink[:, -1]]
    return _Scene(classes, tip, hidden, ink, names, _MIN_INK * unit**2)


def _find_ink(video: np.ndarray, paper: str, colors: list[str]) -> np.ndarray:
    """Returns the colour [t, h, w] of the ink that covers at least half of each pixel, -1 for none.

    A pixel belongs to the colour whose line to the paper's colour it is nearest to.
    """
    ground = np.float32(BACKGROUNDS[paper])
    offset = video.astype(np.float32) - ground
    best = np.full(video.shape[:3], 80.0, np.float32)  # of 0..255: farthest from such a line
    found = np.full(video.shape[:3], -1)
    for n, color in enumerate(colors):
        axis = np.float32(COLORS[color]) - ground
        share = np.clip(offset @ axis / (axis @ axis), 0, 1)
        apart = np.linalg.norm(offset - share[..., None] * axis, axis=-1)
        nearer = apart < best
        best = np.where(nearer, apart, best)
        found = np.where(nearer, np.where(share >= 0.5, n, -1), found)
    return found


def _measure(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
    values = {
        **_measure_paper(video, expected, scene),
        **_measure_figures(expected, scene),
        **_measure_looks(video, expected, scene),
    }
    if len(video) > 1 and len(scene.ink):
        values |= _measure_order(expected, scene)
        values |= _measure_ink(scene, _list(expected, "states"))
        values |= _measure_speed(video, expected, scene)
        if len(_predictable(expected)):
            values["prediction"] = _measure_prediction(expected, scene)
    return {k: float(np.clip(v, 0, 1)) for k, v in values.items()}


def _find_foreign(expected: Expected, scene: _Scene) -> np.ndarray:
    """Returns bool[t, h, w], pixels of colours that are not expected; lines are blends."""
    others = [_index(c) for c in COLORS if c not in _list(expected, "colors")]
    foreign = np.isin(scene.classes, others) & ~scene.hidden
    inked = ndimage.binary_dilation(scene.ink.any(0), np.ones((1, 3, 3)))
    return ndimage.binary_opening(foreign, np.ones((1, 2, 2))) & ~inked


def _measure_paper(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
    """Measures the paper's colour, and the colours and the number of the strokes on it."""
    bare = ~scene.hidden & ~ndimage.binary_dilation(scene.ink.any(0), np.ones((1, 5, 5)))
    color = np.int16(BACKGROUNDS[expected.attributes["paper"]])
    right = np.abs(video.astype(np.int16) - color).mean(-1) <= _LEVELS
    share = (right & bare).sum() / max(bare.sum(), 0.3 * bare.size)
    there = scene.ink[:, -1].sum((1, 2)) >= scene.least if len(scene.ink) else np.zeros(0)
    foreign = _find_foreign(expected, scene)[-1]
    kinds = np.unique(scene.classes[-1][foreign]) if foreign.sum() >= scene.least else []
    strange = sum((scene.classes[-1][foreign] == k).sum() >= scene.least for k in kinds)
    count = there.sum() + strange
    return {
        "paper": (share - 0.4) / 0.4,
        "colors": there.mean() * (strange == 0) if len(there) else 0.0,
        "count": float(count == len(there)),
    }


def _measure_figures(expected: Expected, scene: _Scene) -> dict[str, float]:
    """Measures whether finished strokes look like their figures in the last frame."""
    right = []
    for (name, likeness), figure, state in zip(
        scene.names, _list(expected, "figures"), _list(expected, "states"), strict=True
    ):
        if state in _FINISHED:
            right.append(name == figure and likeness >= 0.75)
    return {"figure": float(np.mean(right)) if right else 0.0}


def _measure_order(expected: Expected, scene: _Scene) -> dict[str, float]:
    """Measures when the colours appear, and whether strokes are finished at the end.

    A stroke that the caption says is there, or is gone on with, is there in the first frame; the
    others are not, and appear in their order.
    """
    states = _list(expected, "states")
    area = scene.ink.sum((2, 3))  # [n, t]
    seen = area >= scene.least / 2
    first = np.where(seen.any(1), seen.argmax(1), len(area[0]))
    late = np.array([state in ("painted", "begun") for state in states])
    starts = np.where(late, first, -1)
    in_order = (np.diff(starts) >= 0).all() and (np.diff(starts[late]) > 0).all()
    early = first[~late] <= 2  # the brush may hide some of it at first
    right = in_order and early.all() and seen[:, -1].all()
    right = right and (first[late] < area.shape[1]).all() and (area[late, 0] < scene.least).all()

    tip, done = scene.tip[-1], []
    h, w = scene.ink.shape[2:]
    for ink, state, figure, (name, likeness) in zip(
        scene.ink, states, _list(expected, "figures"), scene.names, strict=True
    ):
        if state not in _ACTS:
            continue
        grown = ink[-1].sum() - ink[0].sum() >= scene.least / 4
        recent = ink[-1].sum() - ink[max(len(ink) - 5, 0)].sum() >= scene.least / 8
        near = brush.reach_of(tip, tip, _brush_reach(scene) + 0.2 * min(h, w), h, w)
        by_ink = bool((near & ink[-1]).any())
        whole = name == figure and likeness >= 0.7
        # The brush may hide all that is painted last.
        if state in _FINISHED:
            done.append(grown and (whole or not (by_ink and recent)))
        else:
            done.append(grown and by_ink and (recent or not whole))
    return {"order": float(right), "finished": float(np.mean(done)) if done else 0.0}


def _brush_reach(scene: _Scene) -> float:
    """Returns D, in pixels."""
    unit = min(scene.ink.shape[2:])
    return max(s[1] for s in laws.SIZES.values()) * laws.WIDTHS[1] / 2 * unit + 3


def _measure_ink(scene: _Scene, states: list[str]) -> dict[str, float]:
    """Measures whether ink appears at the tip only, grows, and stays."""
    n, t, h, w = scene.ink.shape
    reach = _brush_reach(scene)
    # Where the tip has been near since a pixel was last seen bare, or the pixel was never seen.
    near = scene.hidden[0].copy()
    fresh_sum = astray = 0.0
    lost = np.zeros(t)
    ever = scene.ink[:, 0].copy()
    # A brush of which too little is in sight to be found is at the top or on the right.
    edge = reach + 0.12 * min(h, w)
    rim = (np.arange(h)[:, None] < edge) | (np.arange(w) > w - edge)
    for i in range(1, t):
        near |= brush.reach_of(scene.tip[i - 1], scene.tip[i], reach, h, w)
        if np.isnan(scene.tip[i - 1 : i + 1]).any():
            near |= rim
        fresh = (scene.ink[:, i] & ~scene.ink[:, i - 1]).any(0) & ~ever.any(0)
        fresh_sum += fresh.sum()
        astray += ndimage.binary_opening(fresh & ~near, np.ones((2, 2))).sum()
        seen = ~scene.hidden[i]
        gone = (ever & ~scene.ink[:, i]).any(0) & seen
        lost[i] = ndimage.binary_opening(gone, np.ones((2, 2))).sum()
        ever |= ndimage.binary_opening(scene.ink[:, i], np.ones((1, 2, 2)))
        near &= ~seen | scene.ink[:, i].any(0)
    area = scene.ink.sum((2, 3)).astype(float)
    total = ever.sum()
    change = np.diff(area, axis=1)
    # A codec's noise changes a few pixels at edges.
    change = np.where(np.abs(change) > 0.03 * area.max(1, keepdims=True), change, 0)
    acting = np.array([state in _ACTS for state in states])
    rises = np.maximum(change, 0).sum(1) / np.maximum(np.abs(change).sum(1), 1)
    grown = area[:, -1] - area[:, 0] >= scene.least / 4
    grows = np.clip((rises - 0.7) / 0.2, 0, 1) * grown
    return {
        "brush_at_tip": (1 - 4 * astray / max(fresh_sum, 1)) * (fresh_sum >= scene.least / 2),
        "ink_stays": (1 - 4 * lost.max() / max(total, 1)) * grown[acting].mean(),
        "grows": grows[acting].mean() if acting.any() else 0.0,
    }


def _measure_speed(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
    """Measures the speed of the tip over steps on ink of a colour that grows meanwhile.

    A step is a number of frames by the pace (`_STRIDES`), long enough that an error of half a
    pixel is small, and short enough to cut few corners. Its start, middle and end lie on ink.
    """
    n, t, h, w = scene.ink.shape
    unit = min(h, w)
    pace = expected.attributes["pace"]
    stride = _STRIDES[pace]
    states = _list(expected, "states")
    lengths = []
    for ink, state in zip(scene.ink, states, strict=True):
        if state not in _ACTS:
            continue
        area = ink.sum((1, 2))
        if area[-1] - area[0] < scene.least / 2:
            continue
        grown = (area - area[0]) / (area[-1] - area[0])
        growing = np.flatnonzero((grown > 0.02) & (grown < 0.98))
        if not len(growing):
            continue
        on_ink = ndimage.binary_dilation(ink[-1], iterations=2) | scene.hidden[-1]
        steps = []
        for i in range(max(growing[0] - 4, 0), min(growing[-1] + 1, t - 1) - stride + 1):
            a, b = scene.tip[i], scene.tip[i + stride]
            way = scene.tip[i : i + stride + 1]
            if np.isnan(way).any():
                continue
            places = np.concatenate([way, (way[1:] + way[:-1]) / 2]).astype(int)
            places = np.clip(places, 0, (w - 1, h - 1))
            if on_ink[places[:, 1], places[:, 0]].all():
                steps.append(np.hypot(*(b - a)) / unit * expected.fps / stride)
        # Ink that the brush hides is seen late, so that the first or last steps may be travel.
        for end in (0, -1) * (stride + 1):
            if len(steps) > 2 and steps[end] > 1.25 * np.median(steps):
                steps.pop(end)
        lengths += steps
    if len(lengths) < 2:
        return {"pace": 0.0, "steady_speed": 0.0}
    speeds = np.array(lengths)
    usual = np.quantile(speeds, 0.75)
    low, high = laws.SPEEDS[pace]
    jumps = np.hypot(*np.diff(scene.tip, axis=0).T) / unit
    jumped = np.nansum(jumps > max(_JUMP, 1.25 * high / expected.fps))
    # Corners make a step shorter; nothing makes it longer.
    steady = np.median(speeds) >= 0.75 * usual and np.quantile(speeds, 0.95) <= 1.25 * usual
    return {
        "pace": float(0.85 * low <= usual <= 1.15 * high),
        "steady_speed": float(steady and not jumped),
    }


def _measure_looks(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
    t = len(video)
    values = {}
    whole = []
    for ink, figure in zip(scene.ink, _list(expected, "figures"), strict=True):
        pieces = len(laws.FIGURES[figure])
        for i in range(t):
            # Ink that the brush hides may join what is seen.
            labels = ndimage.label(ink[i] | scene.hidden[i], np.ones((3, 3)))[0]
            sizes = np.sort(np.bincount(labels[ink[i]])[1:] if ink[i].any() else [0])[::-1]
            if sizes.sum() >= scene.least:
                whole.append(sizes[:pieces].sum() / sizes.sum() >= 0.9)
    there = len(scene.ink) and (scene.ink[:, -1].sum((1, 2)) >= scene.least).all()
    values["one_component"] = (np.mean(whole) - 0.5) / 0.4 if whole and there else 0.0
    values["sharp_edges"] = 1 - (_measure_edge_width(video, expected, scene) - 2.4) / 1.0
    foreign = _find_foreign(expected, scene)
    spots = foreign.sum((1, 2)) >= scene.least
    inked = scene.ink.any((0, 2, 3)) if len(scene.ink) else np.zeros(t)
    values["no_spontaneous_ink"] = (1 - spots.sum() / 2) * (inked.mean() > 0.2)
    if t > 1:
        near = ndimage.binary_dilation(scene.ink.any((0, 1)), iterations=3)
        covered = ndimage.binary_dilation(scene.hidden, np.ones((1, 3, 3)))
        still = ~covered[1:] & ~covered[:-1] & ~near
        change = np.abs(np.diff(video.astype(np.int16), axis=0)).mean(-1)
        # A codec's noise of 2 levels changes a pixel by 2 to 3 levels from frame to frame.
        values["no_flicker"] = 1 - ((change * still).sum() / max(still.sum(), 1) - 5) / 8
    return values


def _measure_edge_width(video: np.ndarray, expected: Expected, scene: _Scene) -> float:
    """Measures the width, in pixels, of the ink's edges in the last frame; inf without ink.

    It is the number of partly covered pixels (15 to 85 %) over the length of the edges, which is
    pi / 4 of the number of sides between pixels that are and are not ink.
    """
    partly = sides = 0.0
    ground = _index(expected.attributes["paper"])
    paper = np.float32(list(_CLASSES.values())[ground])
    for n, color in enumerate(_list(expected, "colors")):
        axis = np.float32(COLORS[color]) - paper
        share = (video[-1].astype(np.float32) - paper) @ axis / (axis @ axis)
        ink = scene.ink[n, -1] & ~scene.hidden[-1]
        if ink.sum() < scene.least:
            continue
        near = ndimage.binary_dilation(ink, iterations=4)
        near &= ~ndimage.binary_dilation(scene.hidden[-1], iterations=2)
        over = (share >= 0.5) & near
        partly += ((share > 0.15) & (share < 0.85) & near).sum()
        sides += (over[1:] != over[:-1]).sum() + (over[:, 1:] != over[:, :-1]).sum()
    return partly / (math.pi / 4 * sides) if sides else math.inf


def _measure_prediction(expected: Expected, scene: _Scene) -> float:
    """Compares the ink since the given frames, and the tip, with the simulator's.

    The value is the mean over frames of overlap (intersection over union, 0.7 counts as 1: edges
    of thin strokes) times whether the tip is within `_TIP_ERROR` of its place.
    """
    n, t, h, w = scene.ink.shape
    unit = min(h, w)
    masks = np.unpackbits(np.asarray(expected.truth["painted"], np.uint8), axis=1)[:, : h * w]
    frames = [i for i in _predictable(expected) if i < t]
    if not frames or masks.shape[1] != h * w:
        return 0.0
    painted = masks.reshape(-1, h, w).astype(bool)
    old = painted[max(expected.given, 1) - 1]
    tips = np.asarray(expected.truth["tip"]) * unit
    values = []
    for i in frames:
        seen = ~scene.hidden[i]
        should, did = painted[i] & ~old & seen, scene.ink[:, i].any(0) & ~old & seen
        overlap = (should & did).sum() / max((should | did).sum(), 1)
        overlap = min(overlap / 0.7, 1) if should.sum() >= 8 else 1.0
        inside = (tips[i] >= 0).all() and (tips[i] <= (w, h)).all()
        if np.isnan(scene.tip[i, 0]):
            right = not inside
        else:
            right = not inside or np.hypot(*(scene.tip[i] - tips[i])) <= _TIP_ERROR * unit
        values.append(overlap * right)
    return float(np.mean(values))


def _score(name: str, kind: str, meaning: str, broken_by: str, min_given: int = 0) -> Score:
    measure = operator.attrgetter(name)
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


_FIELDS = tuple(field.name for field in dataclasses.fields(Reading))
SCORES = (
    _score(
        "colors",
        "what",
        "share of the strokes' colours that are on the paper at last; 0 with other ones",
        "mismatched ink_recolored blot_appears",
    ),
    _score("paper", "what", "1 if the paper has its colour", "mismatched grey_disc"),
    _score(
        "count",
        "what",
        "1 if as many colours as said are on the paper at last",
        "mismatched ink_erased blot_appears",
    ),
    _score(
        "figure",
        "what",
        "share of the finished strokes that look like their figure",
        "frozen reversed mismatched grey_disc ink_erased ink_recolored brush_teleports blurred",
    ),
    _score(
        "order",
        "where",
        "1 if the colours appear in the order that is said",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored blurred",
    ),
    _score(
        "finished",
        "where",
        "share of strokes that are finished, or not, at the end as said",
        "frozen reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    _score(
        "pace",
        "laws",
        "1 if the brush paints at a speed of the pace that is said",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored ink_without_brush "
        "blurred",
    ),
    _score(
        "steady_speed",
        "laws",
        "1 if the brush paints at a constant speed and never jumps",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored ink_without_brush "
        "brush_teleports speed_drifts blurred",
    ),
    _score(
        "brush_at_tip",
        "laws",
        "1 if ink appears at the brush's tip only; 0 if a quarter does not, or none appears",
        "frozen shuffled reversed grey_disc ink_without_brush blurred",
    ),
    _score(
        "grows",
        "permanence",
        "1 if the area of ink that is painted grows, and only grows",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    _score(
        "ink_stays",
        "permanence",
        "1 if no ink is lost; 0 if a quarter is, or none is painted",
        "frozen shuffled reversed mismatched grey_disc ink_erased ink_recolored",
    ),
    _score(
        "one_component",
        "looks",
        "1 if each stroke is as many pieces as its figure",
        "mismatched ink_recolored brush_teleports",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the ink's edges are at most 2.4 pixels wide, 0 at 3.4",
        "mismatched blurred",
    ),
    _score(
        "no_flicker", "looks", "1 if the paper changes by at most 5 levels, 0 at 13", "flickering"
    ),
    _score(
        "no_spontaneous_ink",
        "looks",
        "1 if no colour appears that is not said, 0 in two frames",
        "mismatched ink_recolored blot_appears",
    ),
    _score(
        "prediction",
        "prediction",
        "overlap with the simulator's new ink while the tip is where it should be",
        "frozen shuffled reversed mismatched grey_disc ink_recolored ink_without_brush "
        "brush_teleports blurred",
        min_given=5,
    ),
)
