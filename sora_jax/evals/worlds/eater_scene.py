"""Finds what the eater's videos show: the food, the face, and what is missing of the food."""

import dataclasses

import numpy as np

from sora_jax.evals.worlds import eater_food as food
from sora_jax.evals.worlds import tracking
from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import close_mask, fill_holes, label_parts, open_mask
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

_FACE_MARGIN = 2.5  # pixels beside the face that its edge and a codec may change
LEVELS = 25  # of 0..255: largest difference of the ground from its colour
_MIN_PLATE = 0.03  # square units of a plate around the food
_RADII = (0.8 * laws.RADII[0], 1.2 * laws.OUTSIDE_RADII[1])  # units, of a circle to be the food


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is found in a video; lengths in pixels.

    Attributes:
      classes: [t, h, w], index of what each pixel shows in `eater_food.CLASSES`.
      center, radius: of the food.
      inside: bool[h, w], the food's disc.
      face: [t, 2], centre of the face, nan where there is none.
      hidden: bool[t, h, w], pixels that the face hides.
      gone: bool[t, h, w], pixels of the disc that were missing when they were last seen.
      patterns: bool[m, n + 1, h, w], what n bites take off by the laws, in each pattern.
      templates: bool[n + 1, h, w], that of the pattern which fits best.
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
    patterns: np.ndarray
    templates: np.ndarray
    area: float
    counts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Bites:
    """Numbers of bites that a video should show.

    Attributes:
      given: number of first frames that were given.
      before: taken before the first frame.
      final: taken at the end, as the caption says.
      later: of these, taken after the first frame that is not given.
    """

    given: int
    before: int
    final: int
    later: int


def count_expected(expected: Expected) -> Bites:
    """Counts the bites by the caption, and those in given frames by the simulator."""
    before, bites = (int(expected.attributes[name]) for name in ("before", "bites"))
    taken, given = before, expected.given
    if given:
        counts = expected.truth["bites"]
        taken = int(counts[min(given, len(counts) - 1)])
    return Bites(given, before, before + bites, max(before + bites - taken, 0))


def find_scene(video: np.ndarray, expected: Expected) -> Scene | None:
    """Finds food and face; None where no round food of the expected colour is in sight."""
    t, h, w, _ = video.shape
    unit = min(h, w)
    # Of the grounds only the most frequent one is there; others are blends at edges.
    grounds = [find_index(name) for name in BACKGROUNDS]
    few = tracking.classify(video[:, ::2, ::2], food.CLASSES)
    table = max(grounds, key=lambda index: (few == index).sum())
    kept = {k: v for k, v in food.CLASSES.items() if k not in BACKGROUNDS or find_index(k) == table}
    classes = np.array([find_index(k) for k in kept])[tracking.classify(video, kept)]
    face = food.find_face(classes == find_index("face"), laws.BITE_RADIUS * unit)
    hidden = np.zeros((t, h, w), bool)
    for i in np.flatnonzero(~np.isnan(face[:, 0])):
        reach = laws.BITE_RADIUS * unit + _FACE_MARGIN
        hidden[i] = food.measure_distance_to(face[i], h, w) <= reach
    # Blends of two of the food's colours look like anything, so that the food is what is not
    # ground, in pieces that are mostly coloured. On a plate, spots like a dark table are blends.
    plates = np.isin(classes, [find_index("plate"), find_index("plate rim")])
    broad = open_mask(plates, np.ones((1, 2, 2)))
    on_plate = broad.sum((1, 2)).mean() >= _MIN_PLATE * unit**2
    bare = classes == table
    if on_plate and sum(list(food.CLASSES.values())[table]) < 3 * 128:
        bare = np.stack([_keep_large(frame, _MIN_PLATE * unit**2) for frame in bare])
    eatable = ~(plates | bare)
    colored = np.isin(classes, [find_index(k) for k in (*COLORS, *food.DECORATIONS)])
    ever = (eatable & ~hidden).sum(0) >= min(2, t)
    if not on_plate:  # a blend may look like the table
        ever = close_mask(ever, np.ones((3, 3)))
    ever = open_mask(ever, np.ones((3, 3)))
    labels, count = label_parts(ever)
    often = (colored & ~hidden).sum(0) >= min(2, t)
    sizes = np.maximum(np.bincount(labels.ravel()), 1)
    share = np.bincount(labels.ravel(), often.ravel(), count + 1) / sizes
    circle = food.fit_circle(ever & (share >= 0.5)[labels], _RADII[0] * unit, _RADII[1] * unit)
    if circle is None:
        return None
    center, radius = circle
    distance = food.measure_distance_to(center, h, w)
    inside = distance <= radius
    body = (classes == find_index(expected.attributes["color"])) & inside & ~hidden
    if body.sum(axis=(1, 2)).max() < 0.1 * inside.sum():
        return None
    eatable &= distance <= radius + 1
    seen_missing = np.stack([~fill_holes(frame) for frame in eatable]) & inside
    gone = np.empty_like(seen_missing)
    last = np.zeros((h, w), bool)
    for i in range(t):
        last = gone[i] = np.where(hidden[i], last, seen_missing[i])

    towards = laws.SIDES[expected.attributes["direction"]]
    patterns = food.missing_templates(center, radius, towards, unit, h, w)
    core = distance <= radius - 1
    known = np.maximum.accumulate(~hidden, 0)[:, core].astype(np.float32)
    taken = gone[:, core].astype(np.float32)
    flat = patterns[..., core].reshape(-1, int(core.sum())).astype(np.float32)
    # Pixels that differ: [t, pattern, n].
    cost = (known * taken).sum(1)[:, None]
    cost = cost + np.einsum("tk,nk->tn", known * (1 - 2 * taken), flat)
    cost = cost.reshape(t, *patterns.shape[:2])
    best = int(cost.min(2).sum(0).argmin())
    templates = patterns[best]
    area = max(float((templates[-1] & core).sum()) / (len(templates) - 1), 1.0)
    return Scene(
        classes,
        center,
        radius,
        inside,
        face,
        hidden,
        gone,
        patterns,
        templates,
        area,
        cost[:, best].argmin(1),
    )


def _keep_large(mask: np.ndarray, area: float) -> np.ndarray:
    """Keeps the connected regions of a mask [h, w] that have an area at least."""
    labels = label_parts(mask)[0]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= area)[labels]


def find_shown(video: np.ndarray, expected: Expected, scene: Scene) -> np.ndarray:
    """Returns whether each frame [t] shows the table and what must be left of the food.

    At least 0.4 of the pixels of either that the face does not hide have its colours.
    """
    distance = measure_center_distance(scene)
    table = (distance > (laws.PLATE_RADIUS + 0.1) * scene.radius) & ~scene.hidden
    color = np.array(BACKGROUNDS[expected.attributes["background"]], np.int16)
    right = np.abs(video.astype(np.int16) - color).mean(-1) <= LEVELS
    final = min(count_expected(expected).final + 1, len(scene.templates) - 1)
    left = scene.inside & ~scene.templates[final] & ~scene.hidden
    names = (expected.attributes["color"], *food.DECORATIONS)
    there = np.isin(scene.classes, [find_index(name) for name in names])
    return _share(right, table) & _share(there, left)


def _share(right: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Returns whether 0.4 of the pixels `where` are right in each frame, if they are some."""
    count = where.sum((1, 2))
    return ((right & where).sum((1, 2)) >= 0.4 * count) | (count < 12)


def find_index(name: str) -> int:
    return tracking.find_index(food.CLASSES, name)


def measure_center_distance(scene: Scene) -> np.ndarray:
    """Returns the distance [h, w] of each pixel from the food's centre."""
    return food.measure_distance_to(scene.center, *scene.inside.shape)
