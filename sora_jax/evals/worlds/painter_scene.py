"""Finds what the painter's videos show: the brush, and the ink of each expected colour."""

import dataclasses

import numpy as np

from sora_jax.evals.worlds import painter_brush as brush
from sora_jax.evals.worlds import tracking
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import dilate_mask, open_mask
from sora_jax.evals.worlds.painter_figure import name_figure
from sora_jax.laws.palette import BACKGROUNDS, COLORS

ACTS = ("painted", "finished", "begun", "continued")  # states of strokes that are painted
LEVELS = 25  # of 0..255: largest difference of the paper from its colour
_MIN_INK = 0.0016  # square units, the least area of a stroke
CLASSES = {**BACKGROUNDS, **COLORS, **brush.PARTS}


Paper = tuple[np.ndarray, np.ndarray]
"""Pixels bool[t, h, w] bare of ink and brush, and those that look like the paper."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is found in a video.

    Attributes:
      classes: [t, h, w], index of what each pixel shows in `CLASSES`.
      tip: [t, 2], the brush's tip, nan where there is none.
      hidden: bool[t, h, w], pixels that the brush hides.
      ink: bool[n, t, h, w], ink of each expected colour where it was last seen.
      names: [n], the figure that each colour's ink looks like at last, and how much, 0 to 1.
      foreign: bool[t, h, w], ink of other colours.
      least: _MIN_INK in pixels.
    """

    classes: np.ndarray
    tip: np.ndarray
    hidden: np.ndarray
    ink: np.ndarray
    names: list[tuple[str, float]]
    foreign: np.ndarray
    least: float


def find_index(name: str) -> int:
    return tracking.find_index(CLASSES, name)


def list_items(expected: Expected, name: str) -> list[str]:
    return [item for item in expected.attributes[name].split(", ") if item]


def list_acting(expected: Expected) -> list[bool]:
    """Says of each stroke on the paper whether it is painted in frames that are not given.

    Of these there must be four, if any frames are given: the brush may hide what it paints last.
    """
    truth, given = expected.truth, expected.given
    last = len(truth["painted"]) - 1
    acting = []
    for color, state in zip(
        list_items(expected, "colors"), list_items(expected, "states"), strict=True
    ):
        stroke = list(truth["colors"]).index(color)
        frames = min(truth["ends"][stroke], last) - max(truth["starts"][stroke], given)
        acting.append(state in ACTS and bool(frames >= 4 or not given))
    return acting


def unpack_painted(expected: Expected, h: int, w: int) -> np.ndarray | None:
    """Returns the simulator's ink, bool[t, h, w]; None if its frames have another size."""
    masks = np.unpackbits(np.asarray(expected.truth["painted"], np.uint8), axis=1)
    if not h * w <= masks.shape[1] < h * w + 8:
        return None
    return masks[:, : h * w].reshape(-1, h, w).astype(bool)


def find_scene(video: np.ndarray, expected: Expected) -> Scene:
    t, h, w, _ = video.shape
    unit = min(h, w)
    grounds = list(BACKGROUNDS)
    # Of the papers only the most frequent one is there; others are blends at edges.
    counts = np.bincount(tracking.classify(video, BACKGROUNDS).ravel(), minlength=len(grounds))
    paper = grounds[int(counts.argmax())]
    shown = {paper: BACKGROUNDS[paper], **COLORS, **brush.PARTS}
    classes = np.array([find_index(k) for k in shown])[tracking.classify(video, shown)]
    parts = {name: classes == find_index(name) for name in brush.PARTS}
    tip = brush.find_tip(parts, unit)
    hidden = brush.cover_brush(np.nan_to_num(tip, nan=-10 * unit), unit, h, w)
    colors = list_items(expected, "colors")
    seen = _find_ink(video, paper, colors)
    ink = np.zeros((len(colors), t, h, w), bool)
    for n in range(len(colors)):
        last = np.zeros((h, w), bool)
        for i in range(t):
            last = ink[n, i] = np.where(hidden[i], last, seen[i] == n)
    names = [name_figure(mask, hidden[-1]) for mask in ink[:, -1]]
    foreign = _find_foreign(classes, colors, ink, hidden)
    return Scene(classes, tip, hidden, ink, names, foreign, _MIN_INK * unit**2)


def _find_ink(video: np.ndarray, paper: str, colors: list[str]) -> np.ndarray:
    """Returns the colour [t, h, w] of the ink that covers at least half of each pixel, -1 for none.

    A pixel belongs to the colour whose line to the paper's colour it is nearest to.
    """
    ground = np.array(BACKGROUNDS[paper], np.float32)
    offset = video.astype(np.float32) - ground
    best = np.full(video.shape[:3], 80.0, np.float32)  # of 0..255: farthest from such a line
    found = np.full(video.shape[:3], -1)
    for n, color in enumerate(colors):
        axis = np.array(COLORS[color], np.float32) - ground
        share = np.clip(offset @ axis / (axis @ axis), 0, 1)
        apart = np.linalg.norm(offset - share[..., None] * axis, axis=-1)
        nearer = apart < best
        best = np.where(nearer, apart, best)
        found = np.where(nearer, np.where(share >= 0.5, n, -1), found)
    return found


def _find_foreign(
    classes: np.ndarray, colors: list[str], ink: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Returns bool[t, h, w], pixels of colours that are not expected; lines are blends."""
    others = [find_index(color) for color in COLORS if color not in colors]
    foreign = np.isin(classes, others) & ~hidden
    inked = dilate_mask(ink.any(0), np.ones((1, 3, 3)))
    return open_mask(foreign, np.ones((1, 2, 2))) & ~inked


def find_paper(video: np.ndarray, expected: Expected, scene: Scene) -> Paper:
    """Returns which pixels [t, h, w] are bare of ink and brush, and which look like the paper."""
    bare = ~scene.hidden & ~dilate_mask(scene.ink.any(0), np.ones((1, 5, 5)))
    color = np.array(BACKGROUNDS[expected.attributes["paper"]], np.int16)
    return bare, np.abs(video.astype(np.int16) - color).mean(-1) <= LEVELS


def measure_shown(paper: Paper, expected: Expected, scene: Scene) -> np.ndarray:
    """Returns how much of what should be seen each frame [t] shows, 0 to 1.

    It is 0 where less than 0.4 of the bare pixels are the paper's, and else the expected colours'
    share of all ink. Without ink it is 0 if the simulator has some that its brush does not hide,
    or if its brush is in sight and none is seen.
    """
    bare, right = paper
    t, h, w = bare.shape
    there = (right & bare).sum((1, 2)) >= 0.4 * np.maximum(bare.sum((1, 2)), 0.3 * h * w)
    ink = (scene.ink.any(0) & ~scene.hidden).sum((1, 2))
    foreign = scene.foreign.sum((1, 2))
    shares = ink / np.maximum(ink + np.where(foreign >= scene.least / 4, foreign, 0), 1)
    painted, tips = unpack_painted(expected, h, w), np.asarray(expected.truth["tip"])[:t]
    if painted is None:
        return np.zeros(t)
    unit = min(h, w)
    seen = (painted[:t] & ~brush.cover_brush(tips * unit, unit, h, w)[: len(painted)]).sum((1, 2))
    inside = ((tips > 0.1) & (tips < np.array([w, h]) / unit - 0.1)).all(1)
    due, in_sight = (np.resize(values, t) for values in (seen >= 2 * scene.least, inside))
    bare_right = ~due & (~in_sight | ~np.isnan(scene.tip[:, 0])) & (foreign < scene.least)
    return there * np.where(ink >= scene.least / 4, shares, bare_right)
