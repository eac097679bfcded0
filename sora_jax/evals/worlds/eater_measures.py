"""Measures what the scores of the eater need in one video; `eater` says how it is read."""

import numpy as np

from sora_jax.evals.worlds import eater_food as food
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.eater_scene import Scene, find_index, measure_distance
from sora_jax.evals.worlds.morphology import dilate_mask, erode_mask, label_parts, open_mask
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

_LEVELS = 25  # of 0..255: largest difference of the ground from its colour
_SEEN = 1 / 3  # share of A that must be wrong for a value of 0
_MOUTH_ERROR = 0.08  # units: largest error of a face that is where it should be


def measure(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the values of all scores."""
    color = _measure_color(expected, scene)
    moving = len(video) > 1
    values = {
        "color": color.mean(),
        "keeps_color": color.min(),
        "food": _measure_food(video, expected, scene),
        **_measure_ground(video, expected, scene),
        **_measure_bites(expected, scene),
        **_measure_laws(scene),
        **_measure_looks(video, expected, scene),
    }
    if moving and len(list_predictable(expected)):
        values["prediction"] = _measure_prediction(expected, scene)
    return {k: float(np.clip(v, 0, 1)) for k, v in values.items()}


def _measure_color(expected: Expected, scene: Scene) -> np.ndarray:
    """Returns, per frame, the share of the food's saturated pixels that have the right colour."""
    well_inside = erode_mask(scene.inside, times=2) & ~scene.hidden
    first = find_index(next(iter(COLORS)))
    right = (scene.classes == find_index(expected.attributes["color"])) & well_inside
    other = (scene.classes >= first) & (scene.classes < first + len(COLORS)) & well_inside & ~right
    other = open_mask(other, np.ones((1, 2, 2)))  # lines are blends
    total = right.sum((1, 2)) + other.sum((1, 2))
    return np.where(total >= 0.03 * scene.inside.sum(), right.sum((1, 2)) / np.maximum(total, 1), 0)


def _measure_food(video: np.ndarray, expected: Expected, scene: Scene) -> float:
    remaining = scene.inside & ~scene.hidden & ~scene.gone
    best = int(remaining.sum((1, 2)).argmax())
    core = remaining[best] & (measure_distance(scene) <= scene.radius - 1)
    name = food.name_food(
        video[best], core, scene.center, scene.radius, expected.attributes["color"]
    )
    return float(name == expected.attributes["food"])


def _measure_ground(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures whether the table, and the ring where a plate would be, have the right colours."""
    distance = measure_distance(scene) / scene.radius
    table = (distance > laws.PLATE_RADIUS + 0.1) & ~scene.hidden
    ring = (distance > 1.06) & (distance < laws.PLATE_RADIUS - 0.07) & ~scene.hidden
    pixels = video.astype(np.int16)
    background = np.array(BACKGROUNDS[expected.attributes["background"]], np.int16)
    from_table = np.abs(pixels - background).mean(-1)
    from_plate = np.abs(pixels - np.array(laws.PLATE, np.int16)).mean(-1)
    plate = expected.attributes["surface"] == "plate"
    below, other = (from_plate, from_table) if plate else (from_table, from_plate)
    values = {}
    for name, where, right in (
        ("background", table, from_table <= _LEVELS),
        ("surface", ring, (below < other) & (below <= 2 * _LEVELS)),
    ):
        share = (right & where).sum() / max(where.sum(), 1)
        values[name] = (share - 0.4) / 0.4
    return values


def _measure_bites(expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the number of bites and their side."""
    before, bites = (int(expected.attributes[k]) for k in ("before", "bites"))
    final = before + bites
    steps = np.diff(scene.counts)
    values = {}
    in_order = (steps >= 0).all() and (steps <= 1).all()
    # The last frame may show a bite being taken, which is not told of: the face touches the food.
    touch = scene.radius + laws.BITE_RADIUS * min(scene.inside.shape)
    eating = np.hypot(*(scene.face[-1] - scene.center)) < touch
    right = _may_be(scene, 0, before) and (
        _may_be(scene, -1, final) or (eating and _may_be(scene, -1, final + 1))
    )
    values["bites"] = float(right and in_order)
    values["whole_first"] = float(_may_be(scene, 0, 0) and scene.gone[0].sum() < scene.area / 4)
    side = np.array(laws.SIDES[expected.attributes["direction"]], float)
    places = np.argwhere(scene.gone[-1])[:, ::-1] + 0.5
    sides = [places.mean(0) - scene.center] if len(places) >= scene.area / 4 else [-side]
    if bites:
        seen = scene.face[~np.isnan(scene.face[:, 0])]
        sides.append(seen.mean(0) - scene.center if len(seen) else -side)
    cosines = [offset @ side / max(np.hypot(*offset), 1e-6) for offset in sides]
    values["direction"] = float(min(cosines) >= 0.7)

    # Missing pixels far from the discs, and pixels of the discs that are not missing.
    seen = ~scene.hidden[-1] & (measure_distance(scene) <= scene.radius - 1)
    # Of a bite that is being taken the side may not have been seen before.
    candidates = [scene.templates[min(final, len(scene.templates) - 1)]]
    if eating and final + 1 < len(scene.templates):
        candidates += list(scene.patterns[:, final + 1])
    wrong = []
    for taken in candidates:
        more = scene.gone[-1] & ~dilate_mask(taken, times=2)
        less = erode_mask(taken, times=2, outside=True) & ~scene.gone[-1]
        wrong.append(((more | less) & seen).sum() / scene.area)
    values["bite_shape"] = 1 - min(wrong) / _SEEN

    # A bite is taken when the face is nearest to the food, before the missing piece is seen.
    near = np.nan_to_num((scene.face - scene.center) @ side, nan=np.inf)
    ends = np.r_[0, 1 + np.flatnonzero(steps > 0)]
    if scene.counts[-1] < final and _may_be(scene, -1, final):  # the last one is not seen whole
        ends = np.r_[ends, len(steps)]
    times = [a + near[a : b + 1].argmin() for a, b in zip(ends[:-1], ends[1:], strict=True)]
    gaps = np.diff(times) / expected.fps
    low, high = laws.PERIODS[expected.attributes["pace"]]
    slack = 1 / expected.fps
    steady = len(gaps) >= max(bites - 1, 1) and np.ptp(gaps) <= 2 * slack
    values["rhythm"] = float(steady and low - slack <= gaps.mean() <= high + slack)
    return values


def _may_be(scene: Scene, frame: int, count: int) -> bool:
    """Says whether a frame may show so many bites: no other number fits clearly better.

    Only pixels that the face does not hide are compared.
    """
    seen = ~scene.hidden[frame] & (measure_distance(scene) <= scene.radius - 1)
    wrong = ((scene.templates != scene.gone[frame]) & seen).sum((1, 2))
    return count < len(wrong) and bool(wrong[count] <= wrong.min() + 0.15 * scene.area)


def _measure_laws(scene: Scene) -> dict[str, float]:
    """Measures what vanishes without the face, and what comes back.

    Only pixels at least 1 pixel within the disc count, and only squares of four of them: a codec's
    noise changes single ones at edges.
    """
    core = measure_distance(scene) <= scene.radius - 1
    t = len(scene.gone)
    was_gone = np.zeros_like(core)
    near_face = np.zeros_like(core)  # since the pixel was last seen as food
    healed = np.zeros(t)
    removed = alone = 0.0
    state = scene.gone[0]
    for i in range(1, t):
        near_face |= scene.hidden[i - 1] | scene.hidden[i]
        seen = ~scene.hidden[i] & core
        back = was_gone & seen & ~scene.gone[i]
        healed[i] = open_mask(back, np.ones((2, 2))).sum()
        was_gone |= open_mask(seen & scene.gone[i], np.ones((2, 2)))
        fresh = scene.gone[i] & ~state & core
        removed += fresh.sum()
        alone += open_mask(fresh & ~near_face, np.ones((2, 2))).sum()
        near_face &= scene.hidden[i] | scene.gone[i]
        state = scene.gone[i]
    bitten = float(removed >= scene.area / 4)
    stays = 1 - healed.max() / scene.area / _SEEN
    kept = float((scene.gone[-1] & core).sum() >= scene.area / 4)
    return {
        "only_by_mouth": bitten * (1 - alone / scene.area / _SEEN),
        "bites_stay": bitten * kept * stays,
    }


def _measure_looks(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    t, distance = len(video), measure_distance(scene)
    colored = scene.classes == find_index(expected.attributes["color"])
    outside = open_mask(
        np.isin(scene.classes, [find_index(k) for k in COLORS])
        & ~scene.hidden
        & (distance > scene.radius + 2),
        np.ones((1, 2, 2)),
    )
    scattered = outside.sum((1, 2))
    strange = scattered > max(4.0, 0.002 * distance.size)
    shares = []
    for i in range(t):
        left = (scene.inside & ~scene.gone[i]) | scene.hidden[i] | (outside[i] & colored[i])
        # What the face hides may join pieces, but is not counted.
        pieces = label_parts(left, np.ones((3, 3)))[0]
        sizes = np.bincount(pieces[~scene.hidden[i]])[1:]
        shares.append(sizes.max() / sizes.sum() if sizes.any() else 0.0)
    skip = dilate_mask(scene.hidden, np.ones((1, 3, 3)))
    widths = [
        food.measure_edge_width(video[i], scene.center, scene.radius, skip[i] | scene.gone[i])
        for i in range(0, t, 4)
    ]
    values = {
        # An edge that a codec has blurred by 0.7 pixels is 2 pixels wide.
        "sharp_edges": 1 - (float(np.median(widths)) - 2.6) / 0.9,
        "one_component": 1 - (0.98 - np.quantile(shares, 0.1)) / 0.02,
        "no_spontaneous_objects": 1 - strange.sum() / 2,
    }
    if t > 1:
        still = (distance > laws.PLATE_RADIUS * scene.radius + 2) & ~skip[1:] & ~skip[:-1]
        change = np.abs(np.diff(video.astype(np.int16), axis=0)).mean(-1)
        # A codec's noise of 2 levels changes a pixel by 2 to 3 levels from frame to frame.
        steady = 1 - ((change * still).sum() / max(still.sum(), 1) - 5) / 8
        values["no_flicker"] = steady * (still.mean() > 0.05)
    return values


def _measure_prediction(expected: Expected, scene: Scene) -> float:
    """Compares what is bitten off since the given frames, and the face, with the simulator's.

    The value is the mean over frames of overlap (intersection over union) times whether the face
    is within `_MOUTH_ERROR` of its place.
    """
    h, w = scene.inside.shape
    truth = expected.truth
    frames = [i for i in list_predictable(expected) if i < len(scene.gone)]
    packed = np.asarray(truth["remaining"], np.uint8)
    masks = np.unpackbits(packed, axis=1)[:, : h * w]
    if not frames or masks.shape[1] != h * w:
        return 0.0
    left = masks.reshape(-1, h, w).astype(bool)
    last = max(expected.given, 1) - 1
    mouth = np.asarray(truth["mouth"]) * min(h, w)
    values = []
    for i in frames:
        seen = ~scene.hidden[i]
        should = left[last] & ~left[i] & seen
        did = scene.gone[i] & left[last] & seen
        union = (should | did).sum()
        enough = should.sum() >= scene.area / 6
        overlap = min((should & did).sum() / max(union, 1) / 0.8, 1) if enough else 1.0
        if np.isnan(scene.face[i, 0]):
            right = truth["in_sight"][i] < 0.3
        else:
            error = np.hypot(*(scene.face[i] - mouth[i])) / min(h, w)
            right = error <= _MOUTH_ERROR or truth["in_sight"][i] < 0.3
        values.append(overlap * right)
    return float(np.mean(values))


def list_predictable(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which a bite has been taken since them."""
    counts = np.asarray(expected.truth["bites"])
    given = max(expected.given, 1)
    return given + np.flatnonzero(counts[given:] > counts[min(given, len(counts)) - 1])
