"""Reads the solids of the world `orbit` from pixels: masks by hue, centroids, who hides whom.

Shading multiplies a solid's colour and a smooth edge mixes it with a floor that is nearly grey:
both leave the hue as it is, so that pixels are told apart by hue, where their chroma (greatest
minus least channel) is at least `MIN_CHROMA` of the colour's.
"""

import colorsys
import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.morphology import close_mask, dilate_mask, open_mask
from sora_jax.laws.palette import COLORS

MIN_CHROMA = 0.36  # of a colour's; a face without light has AMBIENT = 0.55 of it
MIN_AREA = 8  # pixels; smaller regions are noise
IN_PLANE = np.pad(np.ones((1, 3, 3)), ((1, 1), (0, 0), (0, 0)))  # regions of single frames
_NAMES = list(COLORS)
_HUES = np.array([360 * colorsys.rgb_to_hsv(*(v / 255 for v in rgb))[0] for rgb in COLORS.values()])
_CHROMAS = np.array([max(rgb) - min(rgb) for rgb in COLORS.values()])


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
      whole: bool[n, t], inside, and away from every solid in front.
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


def classify_hues(video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the palette's index [t, h, w] of each pixel, -1 where it is grey, and its chroma."""
    red, green, blue = np.moveaxis(video.astype(np.float32), -1, 0)
    top, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = top - low
    safe = np.maximum(chroma, 1)
    sector = np.where(
        top == red, (green - blue) / safe, np.where(top == green, 2 + (blue - red) / safe, 0)
    )
    sector = np.where(
        (top == blue) & (top != red) & (top != green), 4 + (red - green) / safe, sector
    )
    nearest = np.argmin(np.abs((np.arange(360)[:, None] - _HUES + 180) % 360 - 180), -1)
    index = nearest[np.round(60 * sector).astype(int) % 360]
    return np.where(chroma >= MIN_CHROMA * _CHROMAS[index], index, -1), chroma


def look(video: np.ndarray, reach: int) -> Sight:
    """Finds all colours of the palette that a video shows.

    Args:
      video: uint8[t, h, w, 3].
      reach: pixels within which two solids, or a solid and the frame's edge, are beside each other.
    """
    index, chroma = classify_hues(video)
    t, h, w = index.shape
    found = {}
    for i in np.unique(index[index >= 0]):
        # Where two solids meet, mixed colours make lines of one pixel: they are opened away.
        mask = open_mask(index == i, np.ones((1, 2, 2)))
        labels = _label(mask, IN_PLANE)
        large = np.bincount(labels.ravel()) >= MIN_AREA
        large[0] = False
        if large.any():
            found[_NAMES[i]] = large[labels]
    n = len(found)
    masks = np.stack(list(found.values())) if n else np.zeros((0, t, h, w), bool)
    area = masks.sum((2, 3))
    x, y = np.arange(w) + 0.5, np.arange(h) + 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        center = np.stack([masks.sum(2) @ x / area, masks.sum(3) @ y / area], -1)
    box, pieces = np.full((n, t, 4), np.nan), np.zeros((n, t), int)
    inside, whole, beside = (np.zeros((n, t), bool) for _ in range(3))
    union = close_mask(masks.any(0), np.ones((1, 3, 3)))
    for k in range(t):
        labels = _label(union[k] | masks[:, k].any(0), np.ones((3, 3)))
        seen = np.flatnonzero(area[:, k])
        for i in seen:
            rows, columns = masks[i, k].any(1).nonzero()[0], masks[i, k].any(0).nonzero()[0]
            box[i, k] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            sizes = np.bincount(labels[masks[i, k]])
            pieces[i, k] = (sizes >= MIN_AREA).sum()
        for i in seen:
            left, top, right, bottom = box[i, k]
            inside[i, k] = whole[i, k] = min(left, top, w - right, h - bottom) >= 1
            beside[i, k] = min(left, top, w - right, h - bottom) < reach
            around = (
                slice(max(int(top) - reach, 0), int(bottom) + reach),
                slice(max(int(left) - reach, 0), int(right) + reach),
            )
            near = dilate_mask(masks[i, k][around], np.ones((3, 3)), reach)
            close = dilate_mask(masks[i, k][around], np.ones((3, 3)), 2)
            for j in seen:
                if j != i and (near & masks[j, k][around]).any():
                    beside[i, k] = True
                    # Of two solids on a floor, the one in front reaches farther down.
                    if box[j, k, 3] > bottom - 1 and (close & masks[j, k][around]).any():
                        whole[i, k] = False
    return Sight(list(found), masks, area, center, box, pieces, inside, whole, beside, chroma)


def _label(mask: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """Returns the number of each pixel's connected region, 0 outside of all."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, structure, labels)
    return labels


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
