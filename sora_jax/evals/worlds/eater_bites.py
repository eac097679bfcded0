"""Measures bites in the eater's videos: number, side, rhythm, shape, and whether they stay.

A is the mean area in pixels that a bite takes off.
"""

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.eater_scene import Bites, Scene, measure_center_distance
from sora_jax.evals.worlds.morphology import dilate_mask, erode_mask, open_mask
from sora_jax.laws import eater as laws

_WRONG = 1 / 3  # share of A that must be wrong for a value of 0
_DEEPER = 0.02  # of the frame: how far a quick face goes between two frames, beyond both


def measure_bites(expected: Expected, scene: Scene, count: Bites) -> dict[str, float]:
    """Measures the number of bites and their side."""
    final = count.final
    steps = np.diff(scene.counts)
    values = {}
    new_steps = steps[max(count.given - 1, 0) :]
    in_order = (new_steps >= 0).all() and (new_steps <= 1).all()
    # The last frame may show a bite being taken, which is not told of: the face touches the food.
    touch = scene.radius + laws.BITE_RADIUS * min(scene.inside.shape)
    eating = np.hypot(*(scene.face[-1] - scene.center)) < touch
    starts = count.given > 0 or _may_be(scene, 0, count.before)
    right = starts and (_may_be(scene, -1, final) or (eating and _may_be(scene, -1, final + 1)))
    values["bites"] = float(right and in_order)
    values["whole_first"] = float(_may_be(scene, 0, 0) and scene.gone[0].sum() < scene.area / 4)
    side = np.array(laws.SIDES[expected.attributes["direction"]], float)
    places = np.argwhere(scene.gone[-1])[:, ::-1] + 0.5
    sides = [places.mean(0) - scene.center] if len(places) >= scene.area / 4 else [-side]
    if count.later:
        seen = scene.face[count.given :]
        seen = seen[~np.isnan(seen[:, 0])]
        sides.append(seen.mean(0) - scene.center if len(seen) else -side)
    cosines = [offset @ side / max(np.hypot(*offset), 1e-6) for offset in sides]
    values["direction"] = float(min(cosines) >= 0.7)

    # Missing pixels far from the discs, and pixels of the discs that are not missing.
    seen = ~scene.hidden[-1] & (measure_center_distance(scene) <= scene.radius - 1)
    # Of a bite that is being taken the side may not have been seen before.
    candidates = [scene.templates[min(final, len(scene.templates) - 1)]]
    if eating and final + 1 < len(scene.templates):
        candidates += list(scene.patterns[:, final + 1])
    wrong = []
    for taken in candidates:
        more = scene.gone[-1] & ~dilate_mask(taken, times=2)
        less = erode_mask(taken, times=2, outside=True) & ~scene.gone[-1]
        wrong.append(((more | less) & seen).sum() / scene.area)
    values["bite_shape"] = 1 - min(wrong) / _WRONG

    # A bite is taken when the face is nearest to the food, before the missing piece is seen.
    near = np.nan_to_num((scene.face - scene.center) @ side, nan=np.inf)
    ends = np.r_[0, 1 + np.flatnonzero(steps > 0)]
    if scene.counts[-1] < final and _may_be(scene, -1, final):  # the last one is not seen whole
        ends = np.r_[ends, len(steps)]
    times = [a + near[a : b + 1].argmin() for a, b in zip(ends[:-1], ends[1:], strict=True)]
    # The last bite in given frames serves as the first one.
    times = times[max(sum(time < count.given for time in times) - 1, 0) :]
    gaps = np.diff(times) / expected.fps
    low, high = laws.PERIODS[expected.attributes["pace"]]
    slack = 1 / expected.fps
    steady = len(gaps) >= max(count.later - 1, 1) and np.ptp(gaps) <= 2 * slack
    values["rhythm"] = float(steady and low - slack <= gaps.mean() <= high + slack)
    return values


def _may_be(scene: Scene, frame: int, count: int) -> bool:
    """Says whether a frame may show so many bites: no other number fits clearly better.

    Only pixels that the face does not hide are compared.
    """
    seen = ~scene.hidden[frame] & (measure_center_distance(scene) <= scene.radius - 1)
    wrong = ((scene.templates != scene.gone[frame]) & seen).sum((1, 2))
    return count < len(wrong) and bool(wrong[count] <= wrong.min() + 0.15 * scene.area)


def measure_laws(scene: Scene, count: Bites) -> dict[str, float]:
    """Measures what vanishes without the face, and what comes back.

    Only frames that were not given count, of them only pixels at least 1 pixel within the disc, and
    only squares of four of these: a codec's noise changes single ones at edges. Between two frames
    the face may go further than in both of them, by `_DEEPER`; and of the bites at the end
    up to 60 % may still be hidden by it.
    """
    core = measure_center_distance(scene) <= scene.radius - 1
    t = len(scene.gone)
    was_gone = np.zeros_like(core)
    near_face = np.zeros_like(core)  # since the pixel was last seen as food
    healed = np.zeros(t)
    alone, deeper = 0.0, max(1, round(_DEEPER * min(scene.inside.shape)))
    state = scene.gone[0]
    for i in range(1, t):
        near_face |= dilate_mask(scene.hidden[i - 1] | scene.hidden[i], times=deeper)
        seen = ~scene.hidden[i] & core
        back = was_gone & seen & ~scene.gone[i]
        if i >= count.given:
            healed[i] = open_mask(back, np.ones((2, 2))).sum()
        was_gone |= open_mask(seen & scene.gone[i], np.ones((2, 2)))
        fresh = scene.gone[i] & ~state & core
        if i >= count.given:
            alone += open_mask(fresh & ~near_face, np.ones((2, 2))).sum()
        near_face &= scene.hidden[i] | scene.gone[i]
        state = scene.gone[i]
    last = len(scene.templates) - 1
    first, final = (min(n, last) for n in (count.final - count.later, count.final))
    taken = scene.templates[final] & ~scene.templates[first] & core
    wanted = max((taken & ~scene.hidden[-1]).sum(), 0.4 * taken.sum())
    new = (scene.gone[-1] & ~scene.gone[max(count.given - 1, 0)] & taken).sum()
    bitten = min(new / max(0.8 * wanted, 1), 1.0)
    stays = 1 - healed.max() / scene.area / _WRONG
    kept = float((scene.gone[-1] & core).sum() >= scene.area / 4)
    return {
        "only_by_mouth": bitten * (1 - alone / scene.area / _WRONG),
        "bites_stay": bitten * kept * stays,
    }
