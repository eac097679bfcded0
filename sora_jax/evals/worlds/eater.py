"""Scores of the eater: what is bitten, from where, by whom, and whether it stays bitten.

The face is a disc of known radius r in its own colour; the food is the circle, centre c and radius
R, on which most of the outline lies of what is ever coloured as food. A pixel of the food's disc is
hidden (beneath the face, or within 2.5 pixels of it), food, or missing (it shows the ground). A
hidden pixel keeps the state in which it was last seen.

The laws fix what n bites take off: a union of n discs of radius r (`sora_jax.laws.eater`). The
number of bites of a frame is the n whose discs differ in the fewest pixels from what is missing,
with the tilt and the side that fit best over the whole video. Shares of an area are of A, the mean
area in pixels that a bite takes off.
"""

import dataclasses
import math
import operator

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import eater_food as food
from sora_jax.evals.worlds.base import Expected, Score
from sora_jax.evals.worlds.tracking import classify
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

NAME = "eater"

_FACE_MARGIN = 2.5  # pixels beside the face that its edge and a codec may change
_RADII = (0.8 * laws.RADII[0], 1.2 * laws.OUTSIDE_RADII[1])  # units, of a circle to be the food
_LEVELS = 25  # of 0..255: largest difference of the ground from its colour
_SEEN = 1 / 3  # share of A that must be wrong for a value of 0
_MOUTH_ERROR = 0.08  # units: largest error of a face that is where it should be


@dataclasses.dataclass(frozen=True)
class Reading:
    """Values of the scores, 0 to 1, nan where one does not apply; `SCORES` has their meanings."""

    color: float = 0.0
    food: float = 0.0
    background: float = 0.0
    surface: float = 0.0
    bites: float = 0.0
    whole_first: float = 0.0
    direction: float = 0.0
    rhythm: float = 0.0
    bite_shape: float = 0.0
    only_by_mouth: float = 0.0
    bites_stay: float = 0.0
    keeps_color: float = 0.0
    one_component: float = 0.0
    sharp_edges: float = 0.0
    no_flicker: float = 0.0
    no_spontaneous_objects: float = 0.0
    prediction: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Scene:
    """What is found in a video; lengths in pixels.

    Attributes:
      classes: [t, h, w], index of what each pixel shows in `eater_food.CLASSES`.
      center, radius: of the food.
      inside: bool[h, w], the food's disc.
      face: [t, 2], centre of the face, nan where there is none.
      hidden: bool[t, h, w], pixels that the face hides.
      gone: bool[t, h, w], pixels of the disc that were missing when they were last seen.
      templates: bool[n + 1, h, w], what n bites take off by the laws.
      area: A.
      counts: [t], the number of bites.
    """

    classes: np.ndarray
    center: np.ndarray
    radius: float
    inside: np.ndarray
    face: np.ndarray
    hidden: np.ndarray
    gone: np.ndarray
    templates: np.ndarray
    area: float
    counts: np.ndarray


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads one video; see `base`."""
    scene = _find_scene(video, expected)
    applies = _choose(expected, len(video))
    values = {} if scene is None else _measure(video, expected, scene)
    return Reading(**{k: values.get(k, 0.0) if applies.get(k, True) else math.nan for k in _FIELDS})


def _choose(expected: Expected, frames: int) -> dict[str, bool]:
    """Says which scores do not apply to a clip."""
    before, bites = (int(expected.attributes[k]) for k in ("before", "bites"))
    moves = bites > 0
    known = dict.fromkeys(("only_by_mouth", "bites_stay", "rhythm", "keeps_color"), moves)
    return known | {
        "no_flicker": moves,
        "no_spontaneous_objects": moves,
        "rhythm": bites > 1,
        "whole_first": before == 0,
        "direction": before + bites > 0,
        "bite_shape": before + bites > 0,
        "prediction": len(_predictable(expected)) > 0,
    }


def _predictable(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which a bite has been taken since them."""
    counts = np.asarray(expected.truth["bites"])
    given = max(expected.given, 1)
    return given + np.flatnonzero(counts[given:] > counts[min(given, len(counts)) - 1])


def _find_scene(video: np.ndarray, expected: Expected) -> _Scene | None:
    """Finds food and face; None where no round food of the expected colour is in sight."""
    t, h, w, _ = video.shape
    unit = min(h, w)
    classes = classify(video, food.CLASSES)
    # Of the grounds only the most frequent one is there; others are blends at edges.
    grounds = [_index(name) for name in BACKGROUNDS]
    table = max(grounds, key=lambda index: (classes == index).sum())
    kept = {k: v for k, v in food.CLASSES.items() if k not in BACKGROUNDS or _index(k) == table}
    classes = np.array([_index(k) for k in kept])[classify(video, kept)]
    face = food.find_face(classes == _index("face"), laws.BITE_RADIUS * unit)
    hidden = np.zeros((t, h, w), bool)
    for i in np.flatnonzero(~np.isnan(face[:, 0])):
        reach = laws.BITE_RADIUS * unit + _FACE_MARGIN
        hidden[i] = food.measure_distance(face[i], h, w) <= reach
    colored = np.isin(classes, [_index(k) for k in (*COLORS, *food.DECORATIONS)])
    ever = (colored & ~hidden).sum(0) >= min(2, t)
    # A blend of two colours of the food may look like the face: such lines are closed.
    ever = ndimage.binary_opening(ndimage.binary_closing(ever, np.ones((3, 3))))
    circle = food.fit_circle(ever, _RADII[0] * unit, _RADII[1] * unit)
    if circle is None:
        return None
    # The outline's pixels may be blends that look like no food: what is not ground near it counts.
    eatable = ~np.isin(classes, [_index(k) for k in food.GROUNDS])
    near = food.measure_distance(circle[0], h, w) <= circle[1] + max(1.0, 0.1 * circle[1])
    ever = (eatable & ~hidden & near).sum(0) >= min(2, t)
    ever = ndimage.binary_opening(ever)
    center, radius = food.fit_circle(ever, _RADII[0] * unit, _RADII[1] * unit) or circle
    distance = food.measure_distance(center, h, w)
    inside = distance <= radius
    body = (classes == _index(expected.attributes["color"])) & inside & ~hidden
    if body.sum(axis=(1, 2)).max() < 0.1 * inside.sum():
        return None
    eatable &= distance <= radius + 1
    seen_missing = np.stack([~ndimage.binary_fill_holes(frame) for frame in eatable]) & inside
    gone = np.empty_like(seen_missing)
    last = np.zeros((h, w), bool)
    for i in range(t):
        last = gone[i] = np.where(hidden[i], last, seen_missing[i])

    towards = laws.SIDES[expected.attributes["direction"]]
    patterns = food.missing_templates(center, radius, towards, unit, h, w)
    core = distance <= radius - 1
    known = (np.maximum.accumulate(~hidden, 0) & core).reshape(t, -1).astype(np.float32)
    taken = gone.reshape(t, -1).astype(np.float32)
    flat = patterns.reshape(-1, h * w).astype(np.float32)
    # Pixels that differ: [t, pattern, n].
    cost = (known * taken).sum(1)[:, None] + (known * (1 - 2 * taken)) @ flat.T
    cost = cost.reshape(t, *patterns.shape[:2])
    best = int(cost.min(2).sum(0).argmin())
    templates = patterns[best]
    area = max(float((templates[-1] & core).sum()) / (len(templates) - 1), 1.0)
    return _Scene(
        classes,
        center,
        radius,
        inside,
        face,
        hidden,
        gone,
        templates,
        area,
        cost[:, best].argmin(1),
    )


def _index(name: str) -> int:
    return list(food.CLASSES).index(name)


def _measure(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
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
    if moving and len(_predictable(expected)):
        values["prediction"] = _measure_prediction(expected, scene)
    return {k: float(np.clip(v, 0, 1)) for k, v in values.items()}


def _measure_color(expected: Expected, scene: _Scene) -> np.ndarray:
    """Returns, per frame, the share of the food's saturated pixels that have the right colour."""
    well_inside = ndimage.binary_erosion(scene.inside, iterations=2) & ~scene.hidden
    first = _index(next(iter(COLORS)))
    right = (scene.classes == _index(expected.attributes["color"])) & well_inside
    other = (scene.classes >= first) & (scene.classes < first + len(COLORS)) & well_inside & ~right
    other = ndimage.binary_opening(other, np.ones((1, 2, 2)))  # lines are blends
    total = right.sum((1, 2)) + other.sum((1, 2))
    return np.where(total >= 0.03 * scene.inside.sum(), right.sum((1, 2)) / np.maximum(total, 1), 0)


def _measure_food(video: np.ndarray, expected: Expected, scene: _Scene) -> float:
    remaining = scene.inside & ~scene.hidden & ~scene.gone
    best = int(remaining.sum((1, 2)).argmax())
    core = remaining[best] & (_distance(scene) <= scene.radius - 1)
    name = food.name_food(
        video[best], core, scene.center, scene.radius, expected.attributes["color"]
    )
    return float(name == expected.attributes["food"])


def _distance(scene: _Scene) -> np.ndarray:
    return food.measure_distance(scene.center, *scene.inside.shape)


def _measure_ground(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
    """Measures whether the table, and the ring where a plate would be, have the right colours."""
    distance = _distance(scene) / scene.radius
    table = (distance > laws.PLATE_RADIUS + 0.1) & ~scene.hidden
    ring = (distance > 1.06) & (distance < laws.PLATE_RADIUS - 0.07) & ~scene.hidden
    pixels = video.astype(np.int16)
    background = np.int16(BACKGROUNDS[expected.attributes["background"]])
    from_table = np.abs(pixels - background).mean(-1)
    from_plate = np.abs(pixels - np.int16(laws.PLATE)).mean(-1)
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


def _measure_bites(expected: Expected, scene: _Scene) -> dict[str, float]:
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
    seen = ~scene.hidden[-1] & (_distance(scene) <= scene.radius - 1)
    wrong = []
    for count in (final, final + 1)[: 1 + int(eating)]:
        taken = scene.templates[min(count, len(scene.templates) - 1)]
        more = scene.gone[-1] & ~ndimage.binary_dilation(taken, iterations=2)
        less = ndimage.binary_erosion(taken, iterations=2, border_value=1) & ~scene.gone[-1]
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


def _may_be(scene: _Scene, frame: int, count: int) -> bool:
    """Says whether a frame may show so many bites: no other number fits clearly better.

    Only pixels that the face does not hide are compared.
    """
    seen = ~scene.hidden[frame] & (_distance(scene) <= scene.radius - 1)
    wrong = ((scene.templates != scene.gone[frame]) & seen).sum((1, 2))
    return count < len(wrong) and bool(wrong[count] <= wrong.min() + 0.15 * scene.area)


def _measure_laws(scene: _Scene) -> dict[str, float]:
    """Measures what vanishes without the face, and what comes back.

    Only pixels at least 1 pixel within the disc count, and only squares of four of them: a codec's
    noise changes single ones at edges.
    """
    core = _distance(scene) <= scene.radius - 1
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
        healed[i] = ndimage.binary_opening(back, np.ones((2, 2))).sum()
        was_gone |= ndimage.binary_opening(seen & scene.gone[i], np.ones((2, 2)))
        fresh = scene.gone[i] & ~state & core
        removed += fresh.sum()
        alone += ndimage.binary_opening(fresh & ~near_face, np.ones((2, 2))).sum()
        near_face &= scene.hidden[i] | scene.gone[i]
        state = scene.gone[i]
    bitten = float(removed >= scene.area / 4)
    stays = 1 - healed.max() / scene.area / _SEEN
    kept = float((scene.gone[-1] & core).sum() >= scene.area / 4)
    return {
        "only_by_mouth": bitten * (1 - alone / scene.area / _SEEN),
        "bites_stay": bitten * kept * stays,
    }


def _measure_looks(video: np.ndarray, expected: Expected, scene: _Scene) -> dict[str, float]:
    t, distance = len(video), _distance(scene)
    colored = scene.classes == _index(expected.attributes["color"])
    outside = ndimage.binary_opening(
        np.isin(scene.classes, [_index(k) for k in COLORS])
        & ~scene.hidden
        & (distance > scene.radius + 2),
        np.ones((1, 2, 2)),
    )
    scattered = outside.sum((1, 2))
    strange = scattered > max(4.0, 0.002 * distance.size)
    known = np.maximum.accumulate(~scene.hidden, 0)  # pixels that have been seen so far
    shares = []
    for i in range(t):
        left = (scene.inside & ~scene.gone[i]) | (outside[i] & colored[i])
        pieces = ndimage.label(left, np.ones((3, 3)))[0]
        sizes = np.bincount(pieces[known[i]])[1:]
        shares.append(sizes.max() / sizes.sum() if sizes.any() else 0.0)
    skip = ndimage.binary_dilation(scene.hidden, np.ones((1, 3, 3)))
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
        values["no_flicker"] = 1 - ((change * still).sum() / max(still.sum(), 1) - 5) / 8
    return values


def _measure_prediction(expected: Expected, scene: _Scene) -> float:
    """Compares what is bitten off since the given frames, and the face, with the simulator's.

    The value is the mean over frames of overlap (intersection over union) times whether the face
    is within `_MOUTH_ERROR` of its place.
    """
    h, w = scene.inside.shape
    truth = expected.truth
    frames = [i for i in _predictable(expected) if i < len(scene.gone)]
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


def _score(name: str, kind: str, meaning: str, broken_by: str, min_given: int = 0) -> Score:
    measure = operator.attrgetter(name)
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


_FIELDS = tuple(field.name for field in dataclasses.fields(Reading))
SCORES = (
    _score(
        "color",
        "what",
        "share of the food's saturated pixels that have its colour",
        "mismatched grey_disc food_recolored",
    ),
    _score(
        "food",
        "what",
        "1 if the picture on the food is that of its kind",
        "mismatched grey_disc blurred",
    ),
    _score("background", "what", "1 if the table has its colour", "mismatched grey_disc"),
    _score("surface", "what", "1 if a plate is there, or not, as said", "mismatched grey_disc"),
    _score(
        "bites",
        "what",
        "1 if the first and the last frame show as many bites as said, taken one by one",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere",
    ),
    _score(
        "whole_first",
        "what",
        "1 if the food is whole in the first frame where it is said to be",
        "reversed mismatched grey_disc",
    ),
    _score(
        "direction",
        "where",
        "1 if the missing part and the face are on the side that is said",
        "mismatched grey_disc bite_heals bite_elsewhere",
    ),
    _score(
        "rhythm",
        "laws",
        "1 if bites follow each other at a constant period of the pace that is said",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere slowed",
    ),
    _score(
        "bite_shape",
        "laws",
        "1 if what is missing at last is a union of discs of a bite's size; 0 if a third is wrong",
        "frozen reversed mismatched grey_disc bite_heals bite_elsewhere bite_doubles",
    ),
    _score(
        "only_by_mouth",
        "laws",
        "1 if food vanishes only beneath the face; 0 if a third of a bite does not, or none does",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere",
    ),
    _score(
        "bites_stay",
        "permanence",
        "1 if what was missing is never food again; 0 if a third of a bite is, or none is taken",
        "frozen shuffled reversed mismatched grey_disc bite_heals",
    ),
    _score(
        "keeps_color",
        "permanence",
        "smallest share over the frames of the food's saturated pixels that have its colour",
        "mismatched grey_disc food_recolored",
    ),
    _score(
        "one_component",
        "looks",
        "1 if the food is one piece in all frames",
        "mismatched grey_disc appears",
    ),
    _score(
        "sharp_edges",
        "looks",
        "1 if the food's edge is at most 2.6 pixels wide, 0 at 3.5",
        "mismatched grey_disc blurred",
    ),
    _score(
        "no_flicker",
        "looks",
        "1 if the table changes by at most 5 levels, 0 at 13",
        "mismatched grey_disc flickering",
    ),
    _score(
        "no_spontaneous_objects",
        "looks",
        "1 if nothing of another kind is beside the food, 0 in two frames",
        "mismatched grey_disc appears",
    ),
    _score(
        "prediction",
        "prediction",
        "overlap with the simulator's new bites while the face is where it should be",
        "frozen shuffled reversed mismatched grey_disc bite_heals bite_elsewhere slowed",
        min_given=5,
    ),
)
