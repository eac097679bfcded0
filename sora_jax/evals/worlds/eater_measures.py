"""Measures what the scores of the eater need in one video; `eater` says how it is read.

Only frames that were not given are measured.
"""

import numpy as np

from sora_jax.evals.worlds import eater_food as food
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.continuity import both, measure_smoothness
from sora_jax.evals.worlds.eater_bites import measure_bites, measure_laws
from sora_jax.evals.worlds.eater_scene import (
    LEVELS,
    Scene,
    count_expected,
    find_index,
    find_shown,
    measure_center_distance,
)
from sora_jax.evals.worlds.morphology import (
    dilate_mask,
    erode_mask,
    find_blots,
    label_parts,
    open_mask,
)
from sora_jax.evals.worlds.tracking import measure_flicker
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

IN_SIGHT = 0.3  # share of a face that is surely seen
_MOUTH_ERROR = 0.05  # units: largest error of a face that is where it should be


def measure(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures the values of all scores, each times the share of frames that show the food."""
    new = slice(expected.given, None)
    shown = find_shown(video, expected, scene)
    if not len(shown[new]):
        return {}
    color, count = _measure_color(expected, scene)[new], count_expected(expected)
    values = {
        "color": color.mean(),
        "keeps_color": color.min(),
        "food": _measure_food(video, expected, scene),
        **_measure_ground(video[new], expected, scene, scene.hidden[new]),
        **measure_bites(expected, scene, count),
        **measure_laws(scene, count),
        **_measure_looks(video, expected, scene),
    }
    presence = shown[new].mean()
    values = {name: float(np.clip(value, 0, 1)) * presence for name, value in values.items()}
    if len(list_predictable(expected)):
        values["prediction"] = _measure_prediction(expected, scene, shown)
    if len(list_moved(expected)):
        values["face"] = _measure_face(expected, scene, shown)
    return values


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
    remaining[: expected.given] = False
    best = int(remaining.sum((1, 2)).argmax())
    core = remaining[best] & (measure_center_distance(scene) <= scene.radius - 1)
    name = food.name_food(
        video[best], core, scene.center, scene.radius, expected.attributes["color"]
    )
    return float(name == expected.attributes["food"])


def _measure_ground(
    video: np.ndarray, expected: Expected, scene: Scene, hidden: np.ndarray
) -> dict[str, float]:
    """Measures whether the table, and the ring where a plate would be, have the right colours."""
    distance = measure_center_distance(scene) / scene.radius
    table = (distance > laws.PLATE_RADIUS + 0.1) & ~hidden
    ring = (distance > 1.06) & (distance < laws.PLATE_RADIUS - 0.07) & ~hidden
    pixels = video.astype(np.int16)
    background = np.array(BACKGROUNDS[expected.attributes["background"]], np.int16)
    from_table = np.abs(pixels - background).mean(-1)
    from_plate = np.abs(pixels - np.array(laws.PLATE, np.int16)).mean(-1)
    plate = expected.attributes["surface"] == "plate"
    below, other = (from_plate, from_table) if plate else (from_table, from_plate)
    values = {}
    for name, where, right in (
        ("background", table, from_table <= LEVELS),
        ("surface", ring, (below < other) & (below <= 2 * LEVELS)),
    ):
        share = (right & where).sum() / max(where.sum(), 1)
        values[name] = (share - 0.4) / 0.4
    return values


def _measure_looks(video: np.ndarray, expected: Expected, scene: Scene) -> dict[str, float]:
    """Measures pieces, edges, flicker, and what lies beside the food."""
    distance = measure_center_distance(scene)
    new = range(expected.given, len(video))
    colored = scene.classes == find_index(expected.attributes["color"])
    outside = open_mask(
        np.isin(scene.classes, [find_index(k) for k in COLORS])
        & ~scene.hidden
        & (distance > scene.radius + 2),
        np.ones((1, 2, 2)),
    )
    scattered = outside.sum((1, 2))[expected.given :]
    table = np.array(BACKGROUNDS[expected.attributes["background"]], np.int16)
    other = np.abs(video.astype(np.int16) - table).mean(-1) > 2 * LEVELS
    other &= (distance > laws.PLATE_RADIUS * scene.radius + 2) & ~scene.hidden
    strange = (scattered > max(4.0, 0.002 * distance.size)) | find_blots(other[expected.given :])
    shares = []
    for i in new:
        left = (scene.inside & ~scene.gone[i]) | scene.hidden[i] | (outside[i] & colored[i])
        # What the face hides may join pieces, but is not counted.
        pieces = label_parts(left, np.ones((3, 3)))[0]
        sizes = np.bincount(pieces[~scene.hidden[i]])[1:]
        shares.append(sizes.max() / sizes.sum() if sizes.any() else 0.0)
    skip = dilate_mask(scene.hidden, np.ones((1, 3, 3)))
    widths = [
        food.measure_edge_width(video[i], scene.center, scene.radius, skip[i] | scene.gone[i])
        for i in new[::4]
    ]
    still = (distance > laws.PLATE_RADIUS * scene.radius + 2) & ~skip[1:] & ~skip[:-1]
    first = max(expected.given - 1, 0)
    # A face in sight has somewhere to go until it has taken the last bite; given frames tell when
    # it leaves.
    seen = ~np.isnan(scene.face[:, 0])
    due = both(seen & (scene.counts < count_expected(expected).final))[first:]
    if expected.given:
        leaving = find_leaving(expected)[: len(due)]
        due[: len(leaving)] |= leaving & both(seen)[first : first + len(leaving)]
    return {
        # An edge that a codec has blurred by 0.7 pixels is 2 pixels wide.
        "sharp_edges": 1 - (float(np.median(widths)) - 2.4) / 0.6,
        "one_component": 1 - (0.98 - np.quantile(shares, 0.1)) / 0.02,
        "no_spontaneous_objects": 1 - strange.sum() / 2,
        "no_flicker": measure_flicker(video[first:], still[first:]),
        "smooth": measure_smoothness(video[first:], due),
    }


def _measure_prediction(expected: Expected, scene: Scene, shown: np.ndarray) -> float:
    """Compares what is bitten off since the given frames, and the face, with the simulator's.

    The value is the mean over frames of overlap (intersection over union) times whether the face
    is within `_MOUTH_ERROR` of its place; 0 in frames that do not show the food.
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
            right = truth["in_sight"][i] < IN_SIGHT
        else:
            error = np.hypot(*(scene.face[i] - mouth[i])) / min(h, w)
            right = error <= _MOUTH_ERROR or truth["in_sight"][i] < IN_SIGHT
        values.append(overlap * right * shown[i])
    return float(np.mean(values))


def _measure_face(expected: Expected, scene: Scene, shown: np.ndarray) -> float:
    """Measures the share of the frames in which the face has gone where the simulator's is."""
    mouth, h, w = np.asarray(expected.truth["mouth"]), *scene.inside.shape
    right = []
    for i in (i for i in list_moved(expected) if i < len(scene.face)):
        away = expected.truth["in_sight"][i] < IN_SIGHT
        if np.isnan(scene.face[i, 0]):
            right.append(away * shown[i])
        else:
            error = np.hypot(*(scene.face[i] / min(h, w) - mouth[i]))
            right.append((error <= _MOUTH_ERROR) * shown[i])
    return float(np.mean(right)) if right else 0.0


def find_leaving(expected: Expected) -> np.ndarray:
    """Returns in which steps from the last given frame on the simulator's face moves in sight."""
    first = max(expected.given - 1, 0)
    mouth = np.asarray(expected.truth["mouth"])[first:]
    sight = np.asarray(expected.truth["in_sight"])[first:]
    return both(sight >= IN_SIGHT) & (np.linalg.norm(np.diff(mouth, axis=0), axis=1) > 0.01)


def list_moved(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which the face is far from where it was."""
    mouth, given = np.asarray(expected.truth["mouth"]), max(expected.given, 1)
    if given >= len(mouth):
        return np.zeros(0, int)
    far = np.linalg.norm(mouth[given:] - mouth[given - 1], axis=1) > 2 * _MOUTH_ERROR
    return given + np.flatnonzero(far)


def list_predictable(expected: Expected) -> np.ndarray:
    """Returns the frames after the given ones in which there is something to predict.

    A bite has been taken since them, and the face has not left after the last one.
    """
    counts = np.asarray(expected.truth["bites"])
    given = max(expected.given, 1)
    end = (max(expected.truth["bite_times"]) + laws.APPROACH) * expected.fps
    late = counts[given:] > counts[min(given, len(counts)) - 1]
    return given + np.flatnonzero(late & (np.arange(given, len(counts)) <= end))
