"""Measures what the scores of the painter need in one video; `painter` says how it is read."""

import math

import numpy as np

from sora_jax.evals.worlds import painter_brush as brush
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import both, measure_smoothness
from sora_jax.evals.worlds.morphology import dilate_mask, find_blots, label_parts, open_mask
from sora_jax.evals.worlds.painter_ink import find_reach, measure_ink, measure_speed
from sora_jax.evals.worlds.painter_prediction import list_predictable, measure_prediction
from sora_jax.evals.worlds.painter_scene import (
    CLASSES,
    Paper,
    Scene,
    find_index,
    find_paper,
    list_acting,
    list_items,
    measure_shown,
)
from sora_jax.evals.worlds.tracking import measure_flicker
from sora_jax.laws import painter as laws
from sora_jax.laws.palette import COLORS

FINISHED = ("there", "painted", "finished")


def measure(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the values of all scores, each times how much the frames show, a mean."""
    paper = find_paper(video, expected, scene)
    shown = measure_shown(paper, expected, scene)[expected.given :]
    if not len(shown):
        return {}
    values = {
        **_measure_paper(paper, expected, scene),
        **_measure_figures(expected, scene),
        **_measure_looks(video, paper, expected, scene),
    }
    if len(video) > 1 and len(scene.ink):
        values |= _measure_order(expected, scene)
        values |= measure_ink(expected, scene)
        values |= measure_speed(expected, scene)
        if len(list_predictable(expected)):
            values["prediction"] = measure_prediction(expected, scene)
    return {k: float(np.clip(v, 0, 1)) * float(shown.mean()) for k, v in values.items()}


def _measure_paper(paper: Paper, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the paper's colour, and the colours and the number of the strokes on it."""
    new = slice(expected.given, None)
    bare, right = (mask[new] for mask in paper)
    share = (right & bare).sum() / max(bare.sum(), 0.3 * bare.size)
    there = scene.ink[:, -1].sum((1, 2)) >= scene.least if len(scene.ink) else np.zeros(0)
    foreign = scene.foreign[-1]
    kinds = np.unique(scene.classes[-1][foreign]) if foreign.sum() >= scene.least else []
    strange = sum((scene.classes[-1][foreign] == k).sum() >= scene.least for k in kinds)
    count = there.sum() + strange
    return {
        "paper": (share - 0.4) / 0.4,
        "colors": there.mean() * (strange == 0) if len(there) else 0.0,
        "count": float(count == len(there)),
    }


def list_completed(expected: Expected) -> list[bool]:
    """Says of each stroke whether the window completes it; half of it may be given at most."""
    truth, completed = expected.truth, []
    for acting, color, state in zip(
        list_acting(expected),
        list_items(expected, "colors"),
        list_items(expected, "states"),
        strict=True,
    ):
        stroke = list(truth["colors"]).index(color)
        start, end = truth["starts"][stroke], truth["ends"][stroke]
        half = not expected.given or expected.given <= (start + end) / 2
        completed.append(bool(acting and half and state in FINISHED))
    return completed


def _measure_figures(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures whether all strokes that are completed look like their figures in the last frame."""
    right = [
        name == figure and likeness >= 0.75
        for (name, likeness), figure, completed in zip(
            scene.names, list_items(expected, "figures"), list_completed(expected), strict=True
        )
        if completed
    ]
    return {"figure": float(bool(right) and all(right))}


def is_late(expected: Expected) -> list[bool]:
    """Says of each stroke whether it begins in the window and after the given frames."""
    states, given = list_items(expected, "states"), expected.given
    return [
        state in ("painted", "begun") and bool(not given or start >= given)
        for state, start in zip(states, _list_starts(expected), strict=True)
    ]


def _list_starts(expected: Expected) -> list[float]:
    """Lists the frames in which the strokes on the paper begin."""
    truth = expected.truth
    return [
        float(truth["starts"][list(truth["colors"]).index(color)])
        for color in list_items(expected, "colors")
    ]


def _measure_order(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures when the colours appear, and whether strokes are finished at the end.

    A stroke that begins late is not there in the first frame, or the last given one. Such strokes
    appear in their order and stay; the others are there from the start.
    """
    begin = max(expected.given - 1, 0)
    area = scene.ink.sum((2, 3))[:, begin:]  # [n, t]
    # Some pixels of the brush's edge look like ink.
    seen = area >= np.maximum(0.1 * area.max(1, keepdims=True), scene.least / 2)
    first = np.where(seen.any(1), seen.argmax(1), len(area[0]))
    late = np.array(is_late(expected))
    starts = np.where(late, first, -1)
    right = (np.diff(starts) >= 0).all() and (np.diff(starts[late]) > 0).all()
    # What began just before the last given frame may be too small to be seen in it.
    old = ~late & (not expected.given or np.array(_list_starts(expected)) <= begin - 3)
    early = first[old] <= 2  # the brush may hide some of it at first
    stays = [own[start:].all() for own, start in zip(seen, first, strict=True)]
    right = right and early.all() and seen[:, -1].all() and all(stays)
    right = right and (first[late] < area.shape[1]).all() and (area[late, 0] < scene.least).all()

    # At the frame's top too little of the brush may be in sight to be found.
    tips = [tip for tip in scene.tip[-3:] if not np.isnan(tip).any()]
    tip, done = tips[-1] if tips else scene.tip[-1], []
    h, w = scene.ink.shape[2:]
    for ink, acting, state, figure, (name, likeness) in zip(
        scene.ink,
        list_acting(expected),
        list_items(expected, "states"),
        list_items(expected, "figures"),
        scene.names,
        strict=True,
    ):
        if not acting:
            continue
        total = ink.sum((1, 2))
        grown = total[-1] - total[begin] >= scene.least / 4 and total[-1] >= 0.85 * total.max()
        recent = total[-1] - total[max(len(ink) - 5, 0)] >= scene.least / 8
        near = brush.reach_of(tip, tip, find_reach(scene) + 0.2 * min(h, w), h, w)
        by_ink = bool((near & ink[-1]).any())
        whole = name == figure and likeness >= 0.7
        # The brush may hide all that is painted last.
        if state in FINISHED:
            done.append(grown and (whole or not (by_ink and recent)))
        else:
            done.append(grown and by_ink and (recent or not whole))
    return {"order": float(right), "finished": float(np.mean(done)) if done else 0.0}


def _measure_looks(
    video: np.ndarray, paper: Paper, expected: Expected, scene: Scene
) -> dict[str, float]:
    """Measures pieces, edges, foreign ink and flicker."""
    values, shares = {}, []
    for ink, figure in zip(scene.ink, list_items(expected, "figures"), strict=True):
        pieces, whole = len(laws.FIGURES[figure]), []
        for i in range(expected.given, len(video)):
            # Ink that the brush hides may join what is seen.
            labels = label_parts(ink[i] | scene.hidden[i], np.ones((3, 3)))[0]
            sizes = np.sort(np.bincount(labels[ink[i]])[1:] if ink[i].any() else [0])[::-1]
            if sizes.sum() >= scene.least:
                whole.append(sizes[:pieces].sum() / sizes.sum() >= 0.9)
        shares.append(np.mean(whole) * whole[-1] if whole else 0.0)
    there = len(scene.ink) and (scene.ink[:, -1].sum((1, 2)) >= scene.least).all()
    values["one_component"] = (min(shares) - 0.7) / 0.25 if there else 0.0
    values["sharp_edges"] = 1 - (_measure_edge_width(video, expected, scene) - 2.4) / 1.0
    bare, right = paper
    spots = (scene.foreign.sum((1, 2)) >= scene.least) | find_blots(bare & ~right)
    spots = spots[expected.given :]
    first = max(expected.given - 1, 0)
    values["smooth"] = measure_smoothness(video[first:], both(~np.isnan(scene.tip[first:, 0])))
    values["no_spontaneous_ink"] = 1 - spots.sum() / 2
    near = dilate_mask(scene.ink.any((0, 1)), times=3)
    covered = dilate_mask(scene.hidden, np.ones((1, 3, 3)))
    still = ~covered[1:] & ~covered[:-1] & ~near
    values["no_flicker"] = measure_flicker(video[first:], still[first:])
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
