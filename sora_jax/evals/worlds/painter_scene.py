"""Finds what the painter's videos show: the brush, and the ink of each expected colour."""

import dataclasses

import numpy as np

from sora_jax.evals.worlds import painter_brush as brush
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import dilate_mask, open_mask
from sora_jax.evals.worlds.painter_figure import name_figure
from sora_jax.evals.worlds.tracking import classify
from sora_jax.laws.palette import BACKGROUNDS, COLORS

_MIN_INK = 0.0016  # square units, the least area of a stroke
CLASSES = {**BACKGROUNDS, **COLORS, **brush.PARTS}


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is found in a video.

    Attributes:
      classes: [t, h, w], index of what each pixel shows in `CLASSES`.
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


def find_index(name: str) -> int:
    return list(CLASSES).index(name)


def list_items(expected: Expected, name: str) -> list[str]:
    return [item for item in expected.attributes[name].split(", ") if item]


def find_scene(video: np.ndarray, expected: Expected) -> Scene:
    t, h, w, _ = video.shape
    unit = min(h, w)
    grounds = list(BACKGROUNDS)
    # Of the papers only the most frequent one is there; others are blends at edges.
    counts = np.bincount(classify(video, BACKGROUNDS).ravel(), minlength=len(grounds))
    paper = grounds[int(counts.argmax())]
    shown = {paper: BACKGROUNDS[paper], **COLORS, **brush.PARTS}
    classes = np.array([find_index(k) for k in shown])[classify(video, shown)]
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
    return Scene(classes, tip, hidden, ink, names, _MIN_INK * unit**2)


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


def find_foreign(expected: Expected, scene: Scene) -> np.ndarray:
    """Returns bool[t, h, w], pixels of colours that are not expected; lines are blends."""
    others = [find_index(c) for c in COLORS if c not in list_items(expected, "colors")]
    foreign = np.isin(scene.classes, others) & ~scene.hidden
    inked = dilate_mask(scene.ink.any(0), np.ones((1, 3, 3)))
    return open_mask(foreign, np.ones((1, 2, 2))) & ~inked
