"""Measures what the scores of the painter need in one video; `painter` says how it is read."""

import math

import numpy as np

from sora_jax.evals.worlds import painter_brush as brush
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import dilate_mask, label_parts, open_mask
from sora_jax.evals.worlds.painter_ink import ACTS, find_reach, measure_ink, measure_speed
from sora_jax.evals.worlds.painter_scene import (
    CLASSES,
    Scene,
    find_foreign,
    find_index,
    list_items,
)
from sora_jax.laws import painter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

FINISHED = ("there", "painted", "finished")

_LEVELS = 25  # of 0..255: largest difference of the paper from its colour
_TIP_ERROR = 0.1  # units: largest error of a brush that is where it should be


def measure(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    values = {
        **_measure_paper(video, expected, scene),
        **_measure_figures(expected, scene),
        **_measure_looks(video, expected, scene),
    }
    if len(video) > 1 and len(scene.ink):
        values |= _measure_order(expected, scene)
        values |= measure_ink(scene, list_items(expected, "states"))
        values |= measure_speed(video, expected, scene)
        if len(list_predictable(expected)):
            values["prediction"] = _measure_prediction(expected, scene)
    return {k: float(np.clip(v, 0, 1)) for k, v in values.items()}


def _measure_paper(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the paper's colour, and the colours and the number of the strokes on it."""
    bare = ~scene.hidden & ~dilate_mask(scene.ink.any(0), np.ones((1, 5, 5)))
    color = np.array(BACKGROUNDS[expected.attributes["paper"]], np.int16)
    right = np.abs(video.astype(np.int16) - color).mean(-1) <= _LEVELS
    share = (right & bare).sum() / max(bare.sum(), 0.3 * bare.size)
    there = scene.ink[:, -1].sum((1, 2)) >= scene.least if len(scene.ink) else np.zeros(0)
    foreign = find_foreign(expected, scene)[-1]
    kinds = np.unique(scene.classes[-1][foreign]) if foreign.sum() >= scene.least else []
    strange = sum((scene.classes[-1][foreign] == k).sum() >= scene.least for k in kinds)
    count = there.sum() + strange
    return {
        "paper": (share - 0.4) / 0.4,
        "colors": there.mean() * (strange == 0) if len(there) else 0.0,
        "count": float(count == len(there)),
    }


def _measure_figures(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures whether finished strokes look like their figures in the last frame."""
    right = []
    for (name, likeness), figure, state in zip(
        scene.names, list_items(expected, "figures"), list_items(expected, "states"), strict=True
    ):
        if state in FINISHED:
            right.append(name == figure and likeness >= 0.75)
    return {"figure": float(np.mean(right)) if right else 0.0}


def _measure_order(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures when the colours appear, and whether strokes are finished at the end.

    A stroke that the caption says is there, or is gone on with, is there in the first frame; the
    others are not, and appear in their order.
    """
    states = list_items(expected, "states")
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
        scene.ink, states, list_items(expected, "figures"), scene.names, strict=True
    ):
        if state not in ACTS:
            continue
        grown = ink[-1].sum() - ink[0].sum() >= scene.least / 4
        recent = ink[-1].sum() - ink[max(len(ink) - 5, 0)].sum() >= scene.least / 8
        near = brush.reach_of(tip, tip, find_reach(scene) + 0.2 * min(h, w), h, w)
        by_ink = bool((near & ink[-1]).any())
        whole = name == figure and likeness >= 0.7
        # The brush may hide all that is painted last.
        if state in FINISHED:
            done.append(grown and (whole or not (by_ink and recent)))
        else:
            done.append(grown and by_ink and (recent or not whole))
    return {"order": float(right), "finished": float(np.mean(done)) if done else 0.0}


def _measure_looks(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    t = len(video)
    values = {}
    whole = []
    for ink, figure in zip(scene.ink, list_items(expected, "figures"), strict=True):
        pieces = len(laws.FIGURES[figure])
        for i in range(t):
            # Ink that the brush hides may join what is seen.
            labels = label_parts(ink[i] | scene.hidden[i], np.ones((3, 3)))[0]
            sizes = np.sort(np.bincount(labels[ink[i]])[1:] if ink[i].any() else [0])[::-1]
            if sizes.sum() >= scene.least:
                whole.append(sizes[:pieces].sum() / sizes.sum() >= 0.9)
    there = len(scene.ink) and (scene.ink[:, -1].sum((1, 2)) >= scene.least).all()
    values["one_component"] = (np.mean(whole) - 0.7) / 0.25 if whole and there else 0.0
    values["sharp_edges"] = 1 - (_measure_edge_width(video, expected, scene) - 2.4) / 1.0
    foreign = find_foreign(expected, scene)
    spots = foreign.sum((1, 2)) >= scene.least
    inked = scene.ink.any((0, 2, 3)) if len(scene.ink) else np.zeros(t)
    values["no_spontaneous_ink"] = (1 - spots.sum() / 2) * (inked.mean() > 0.2)
    if t > 1:
        near = dilate_mask(scene.ink.any((0, 1)), times=3)
        covered = dilate_mask(scene.hidden, np.ones((1, 3, 3)))
        still = ~covered[1:] & ~covered[:-1] & ~near
        change = np.abs(np.diff(video.astype(np.int16), axis=0)).mean(-1)
        # A codec's noise of 2 levels changes a pixel by 2 to 3 levels from frame to frame.
        steady = 1 - ((change * still).sum() / max(still.sum(), 1) - 5) / 8
        values["no_flicker"] = steady * (inked.mean() > 0.2) * (still.mean() > 0.1)
    return values


def _measure_edge_width(video: np.ndarray, expected: Expected, scene: Scene) -> float:
    """Measures the width, in pixels, of the ink's edges in the last frame; inf without ink.

    It is the number of partly covered pixels (15 to 85 %) over the length of the edges, which is
    pi / 4 of the number of sides between pixels that are and are not ink.
    """
    partly = sides = 0.0
    ground = find_index(expected.attributes["paper"])
    paper = np.array(list(CLASSES.values())[ground], np.float32)
    for n, color in enumerate(list_items(expected, "colors")):
        axis = np.array(COLORS[color], np.float32) - paper
        share = (video[-1].astype(np.float32) - paper) @ axis / (axis @ axis)
        ink = open_mask(scene.ink[n, -1] & ~scene.hidden[-1], np.ones((2, 2)))
        if ink.sum() < scene.least:
            continue
        near = dilate_mask(ink, times=4)
        near &= ~dilate_mask(scene.hidden[-1], times=2)
        over = (share >= 0.5) & near
        partly += ((share > 0.15) & (share < 0.85) & near).sum()
        sides += (over[1:] != over[:-1]).sum() + (over[:, 1:] != over[:, :-1]).sum()
    return partly / (math.pi / 4 * sides) if sides else math.inf


def _measure_prediction(expected: Expected, scene: Scene) -> float:
    """Compares the ink since the given frames, and the tip, with the simulator's.

    The value is the mean over frames of overlap (intersection over union, 0.7 counts as 1: edges
    of thin strokes) times whether the tip is within `_TIP_ERROR` of its place.
    """
    n, t, h, w = scene.ink.shape
    unit = min(h, w)
    masks = np.unpackbits(np.asarray(expected.truth["painted"], np.uint8), axis=1)[:, : h * w]
    frames = [i for i in list_predictable(expected) if i < t]
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


def list_predictable(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which there is new ink of some size."""
    painted = np.unpackbits(np.asarray(expected.truth["painted"], np.uint8), axis=1).sum(1)
    given = max(expected.given, 1)
    # Half the least stroke, of a frame with (short side)^2 or more pixels.
    enough = painted[min(given, len(painted)) - 1] + 10
    return given + np.flatnonzero(painted[given:].astype(int) > enough)
