"""Reads the solids of the world `orbit` from pixels: masks by hue, centroids, who hides whom.

Pixels are told apart by hue where their chroma is at least `MIN_CHROMA` of the colour's.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import hues
from sora_jax.evals.worlds.morphology import label_parts

MIN_CHROMA = 0.36  # of a colour's; a face without light has AMBIENT = 0.55 of it
MIN_AREA = 8  # pixels; smaller regions are noise
CLOSE = 2  # pixels within which a solid in front touches another one
MAX_CONTACT = 0.9  # pixels that touch, of the root of the area: at more than 1, as measured on real
# clips, some of the solid is hidden and its centroid is off; at less it is not
IN_PLANE = np.pad(np.ones((1, 3, 3)), ((1, 1), (0, 0), (0, 0)))  # regions of single frames


@dataclasses.dataclass(frozen=True)
class Sight:
    """What a video shows of n colours in t frames; positions are in pixels.

    Attributes:
      names: the n colours.
      masks: bool[n, t, h, w].
      area: [n, t], pixels.
      center: [n, t, 2], centroids (x, y), nan where nothing is seen.
      box: [n, t, 4], left, top, right, bottom of the masks, nan where nothing is seen.
      pieces: int[n, t], regions of the colour that nothing connects, not even another solid.
      inside: bool[n, t], seen, away from the frame's edge.
      whole: bool[n, t], inside, and not hidden in part by a solid in front.
      beside: bool[n, t], seen, and near the frame's edge or another solid.
      chroma: float32[t, h, w].
    """

    names: list[str]
    masks: np.ndarray
    area: np.ndarray
    center: np.ndarray
    box: np.ndarray
    pieces: np.ndarray
    inside: np.ndarray
    whole: np.ndarray
    beside: np.ndarray
    chroma: np.ndarray


def find_colors(video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the palette's index [t, h, w] of each pixel, -1 where it is grey, and its chroma."""
    index, chroma = hues.find_hues(video, MIN_CHROMA * float(hues.CHROMAS.min()))
    return np.where(chroma >= MIN_CHROMA * hues.CHROMAS[index], index, -1), chroma


def look(video: np.ndarray, reach: int) -> Sight:
    """Finds all colours of the palette that a video shows.

    Args:
      video: uint8[t, h, w, 3].
      reach: pixels within which two solids, or a solid and the frame's edge, are beside each other.
    """
    index, chroma = find_colors(video)
    t, h, w = index.shape
    found = {}
    for i in np.flatnonzero(np.bincount(index.ravel() + 1, minlength=1)[1:]):
        labels, _ = label_parts(_open_squares(index == i), IN_PLANE)
        large = np.bincount(labels.ravel()) >= MIN_AREA
        large[0] = False
        if large.any():
            found[hues.NAMES[i]] = large[labels]
    n = len(found)
    masks = np.stack(list(found.values())) if n else np.zeros((0, t, h, w), bool)
    by_row, by_column = masks.sum(3), masks.sum(2)
    area = by_row.sum(2)
    x, y = np.arange(w) + 0.5, np.arange(h) + 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        center = np.stack([by_column @ x / area, by_row @ y / area], -1)
    (top, bottom), (left, right) = _find_ends(by_row > 0), _find_ends(by_column > 0)
    box = np.where(area[..., None] > 0, np.stack([left, top, right, bottom], -1), np.nan)
    rim = np.stack([left, top, w - right, h - bottom]).min(0)
    inside, beside = (area > 0) & (rim >= 1), (area > 0) & (rim < reach)
    contact = np.zeros((n, t))
    for k, i, j in np.argwhere(_find_near(box, reach)):
        beside[i, k] |= _count_near(masks[i, k], masks[j, k], box[i, k], reach) > 0
        # Of two solids on a floor, the one in front reaches farther down.
        if box[j, k, 3] > box[i, k, 3] - 1:
            contact[i, k] += _count_near(masks[i, k], masks[j, k], box[i, k], CLOSE)
    whole = inside & (contact < MAX_CONTACT * np.sqrt(area))
    pieces = _count_pieces(masks)
    return Sight(list(found), masks, area, center, box, pieces, inside, whole, beside, chroma)


def _open_squares(mask: np.ndarray) -> np.ndarray:
    """Keeps the squares of 2 x 2 pixels: mixed colours make lines of one where solids meet."""
    full = mask[:, :-1] & mask[:, 1:]
    full = full[:, :, :-1] & full[:, :, 1:]
    opened = np.zeros_like(mask)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            opened[:, rows, columns] |= full
    return opened


def _find_ends(profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first true index along the last axis, and one more than the last one."""
    return profile.argmax(-1), profile.shape[-1] - profile[..., ::-1].argmax(-1)


def _find_near(box: np.ndarray, reach: int) -> np.ndarray:
    """Returns bool[t, n, n], whether the boxes [n, t, 4] of two solids are within reach."""
    low, high = box[..., :2].swapaxes(0, 1), box[..., 2:].swapaxes(0, 1)
    gap = np.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None]).max(-1)
    return (gap < reach) & ~np.eye(len(box), dtype=bool)


def _count_near(mask: np.ndarray, other: np.ndarray, box: np.ndarray, reach: int) -> int:
    """Counts a mask's pixels, in its box, with another mask's within `reach` rows and columns."""
    left, top, right, bottom = box.astype(int)
    around = (
        slice(max(top - reach, 0), bottom + reach),
        slice(max(left - reach, 0), right + reach),
    )
    if not other[around].any():
        return 0
    grown = ndimage.maximum_filter(other[around].view(np.uint8), 2 * reach + 1)
    return int((grown.view(bool) & mask[around]).sum())


def _count_pieces(masks: np.ndarray) -> np.ndarray:
    """Counts the regions int[n, t] of each colour that no other colour's pixels connect."""
    union = np.asarray(masks.any(0))
    labels, _ = label_parts(union | _close_gaps(union), IN_PLANE)
    return np.array(
        [
            [
                (np.bincount(labels[k][mask[k]], minlength=1) >= MIN_AREA).sum()
                for k in range(len(mask))
            ]
            for mask in masks
        ],
        int,
    ).reshape(masks.shape[:2])


def _close_gaps(mask: np.ndarray) -> np.ndarray:
    """Fills gaps of up to two pixels."""
    grown = ndimage.maximum_filter(mask.view(np.uint8), (1, 3, 3))
    return ndimage.minimum_filter(grown, (1, 3, 3)).view(bool)


def select(sight: Sight, colors: list[str]) -> Sight:
    """Returns what is seen of some colours, in their order; of a missing one nothing is seen."""
    t, h, w = sight.chroma.shape
    at = [sight.names.index(color) if color in sight.names else -1 for color in colors]

    def take(values, empty):
        blank = np.full(values.shape[1:], empty, values.dtype)
        return np.stack([values[i] if i >= 0 else blank for i in at])

    return Sight(
        colors,
        take(sight.masks, False),
        take(sight.area, 0),
        take(sight.center, np.nan),
        take(sight.box, np.nan),
        take(sight.pieces, 0),
        take(sight.inside, False),
        take(sight.whole, False),
        take(sight.beside, False),
        sight.chroma,
    )


def cut(sight: Sight, start: int) -> Sight:
    """Returns what is seen from a frame on."""
    fields = {
        field.name: getattr(sight, field.name)[:, start:]
        for field in dataclasses.fields(sight)
        if field.name not in ("names", "chroma")
    }
    return dataclasses.replace(sight, **fields, chroma=sight.chroma[start:])
