"""Measures how the painter's ink and brush obey their laws over time."""

import numpy as np

from sora_jax.evals.worlds import painter_brush as brush
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import dilate_mask, open_mask
from sora_jax.evals.worlds.painter_scene import Scene, list_acting, list_items
from sora_jax.laws import painter as laws

_JUMP = 0.3  # units, more than any brush moves from frame to frame
_STRIDES = {"slowly": 3, "quickly": 1, "very quickly": 1}  # frames of a measured step


def find_reach(scene: Scene) -> float:
    """Returns D, in pixels."""
    unit = min(scene.ink.shape[2:])
    return max(s[1] for s in laws.SIZES.values()) * laws.WIDTHS[1] / 2 * unit + 3


def measure_ink(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures whether ink appears at the tip only, grows, and stays, after the given frames."""
    given, start = expected.given, max(expected.given - 1, 0)
    n, t, h, w = scene.ink.shape
    reach = find_reach(scene)
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
        fresh = open_mask(fresh, np.ones((2, 2)))  # a codec's noise changes edges
        if i >= max(given, 1):
            fresh_sum += fresh.sum()
            astray += (fresh & ~near).sum()
        seen = ~scene.hidden[i]
        gone = (ever & ~scene.ink[:, i]).any(0) & seen
        if i >= given:
            lost[i] = open_mask(gone, np.ones((2, 2))).sum()
        ever |= open_mask(scene.ink[:, i], np.ones((1, 2, 2)))
        near &= ~seen | scene.ink[:, i].any(0)
    area = scene.ink.sum((2, 3)).astype(float)[:, start:]
    change = np.diff(area, axis=1)
    # A codec's noise changes a few pixels at edges.
    change = np.where(np.abs(change) > 0.03 * area.max(1, keepdims=True), change, 0)
    acting = np.array(list_acting(expected))
    rises = np.maximum(change, 0).sum(1) / np.maximum(np.abs(change).sum(1), 1)
    gained = np.maximum(area.max(1) - area[:, 0], 0)[acting].sum()
    grown = area[:, -1] - area[:, 0] >= scene.least / 4
    kept = grown[acting].mean() if acting.any() else 0.0
    grows = np.clip((rises - 0.7) / 0.2, 0, 1) * grown
    return {
        "brush_at_tip": (1 - 4 * astray / max(fresh_sum, 1)) * (fresh_sum >= scene.least / 4),
        "ink_stays": (1 - 4 * lost.max() / max(gained, scene.least)) * kept,
        "grows": grows[acting].mean() if acting.any() else 0.0,
    }


def list_steps(expected: Expected) -> list[np.ndarray]:
    """Lists, for each stroke on the paper, the lengths of the simulator's steps that paint it.

    Those between given frames do not count, nor do strokes that are painted in fewer than three:
    what is seen of these is corners, and travel between their lines.
    """
    truth = expected.truth
    down, tip = np.asarray(truth["down"], bool), np.asarray(truth["tip"], float)
    first = np.arange(len(down) - 1)
    painting = down[1:] & down[:-1] & (first >= expected.given - 1)
    lengths = np.hypot(*np.diff(tip, axis=0).T)
    found = []
    for color, acts in zip(list_items(expected, "colors"), list_acting(expected), strict=True):
        i = list(truth["colors"]).index(color)
        own = painting & (first >= truth["starts"][i]) & (first + 1 <= truth["ends"][i])
        steps = lengths[own]
        found.append(steps if acts and len(steps) >= 3 else steps[:0])
    return found


def are_steady(speeds: np.ndarray, margin: float = 0.25) -> bool:
    """Says whether steps are of one speed; corners make them shorter, and nothing longer."""
    usual = np.quantile(speeds, 0.75)
    halves = [np.quantile(half, 0.75) for half in np.array_split(speeds, 2)]
    return bool(
        max(halves) <= (1.05 + margin) * min(halves)
        and np.median(speeds) >= (1 - margin) * usual
        and np.quantile(speeds, 0.95) <= (1 + margin) * usual
    )


def measure_speed(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the speed of the tip over steps on ink of a stroke that grows meanwhile.

    A step is a number of frames by the pace (`_STRIDES`), long enough that an error of half a
    pixel is small, and short enough to cut few corners. Its start, middle and end lie on ink.
    """
    n, t, h, w = scene.ink.shape
    unit = min(h, w)
    pace = expected.attributes["pace"]
    stride = _STRIDES[pace]
    start = max(expected.given - 1, 0)
    lengths = []
    figures, counts = list_items(expected, "figures"), [*map(len, list_steps(expected))]
    for ink, figure, count in zip(scene.ink, figures, counts, strict=True):
        if not count:
            continue
        area = ink.sum((1, 2))
        if area[-1] - area[start] < scene.least / 2:
            continue
        grown = (area - area[start]) / (area[-1] - area[start])
        growing = np.flatnonzero((grown > 0.02) & (grown < 0.98))
        if not len(growing):
            continue
        on_ink = dilate_mask(ink[-1], times=2) | scene.hidden[-1]
        steps = []
        for i in range(max(growing[0] - 4, start), min(growing[-1] + 1, t - 1) - stride + 1):
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
        # Between two lines of a figure the brush travels, in part over ink.
        for _ in range((len(laws.FIGURES[figure]) - 1) * (stride + 1)):
            if len(steps) > 2 and max(steps) > 1.2 * np.median(steps):
                steps.remove(max(steps))
        lengths += steps
    # A brush that paints elsewhere is on ink only by chance.
    if len(lengths) < max(2, 0.4 * (sum(counts) - stride)):
        return {"pace": 0.0, "steady_speed": 0.0}
    speeds = np.array(lengths)
    usual = np.quantile(speeds, 0.75)
    low, high = laws.SPEEDS[pace]
    jumps = np.hypot(*np.diff(scene.tip[start:], axis=0).T) / unit
    jumped = np.nansum(jumps > max(_JUMP, 1.25 * high / expected.fps))
    return {
        "pace": float(0.85 * low <= usual <= 1.15 * high),
        "steady_speed": float(are_steady(speeds) and not jumped),
    }
