"""Finds the wall and the objects of `occlusion` in the pixels of a video.

A pixel where the floor of colour F, an object of colour O and the wall of colour W meet shows

    p = g F + a O + b W

with shares g, a, b that are scaled by how bright each surface is there. The three colours of a
scene are linearly independent unless the hues of O and W are opposite, so that a and b are the
solution of three equations for three unknowns, whatever the light. A surface's share of the pixel
is its a over the greatest a of a pixel of its hue within two pixels, which it fills.
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds import hues as palette
from sora_jax.evals.worlds.morphology import label_parts
from sora_jax.laws.palette import COLORS
from sora_jax.laws.scene import FLOORS

MIN_CHROMA = 49.0  # levels; what is less saturated is floor, sky or shadow
MIN_FULL = 0.4  # of a colour's brightness; the darkest surfaces have AMBIENT = 0.55
MIN_SINE = 0.5  # of the angle between two hues that three equations tell apart
REACH = 2  # pixels within which a surface has one brightness, and things touch
NAMES = palette.NAMES


@dataclasses.dataclass(frozen=True)
class Track:
    """One coloured thing in all frames; lengths in pixels, nan where there is nothing.

    Attributes:
      share: float32[t, h, w], the share of each pixel that it fills.
      area: float[t], filled pixels.
      center: float[t, 2], (x, y).
      left, right, top, bottom: float[t], its extent.
      pieces: int[t], connected parts, of at least a tenth of it each.
    """

    share: np.ndarray
    area: np.ndarray
    center: np.ndarray
    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    pieces: np.ndarray

    @property
    def width(self) -> np.ndarray:
        return self.right - self.left

    @property
    def height(self) -> np.ndarray:
        return self.bottom - self.top

    def is_cut(self) -> np.ndarray:
        """Returns whether it reaches the left or the right side of the frame, to 1 / 4 pixel."""
        return (self.left < 0.25) | (self.right > self.share.shape[2] - 0.25)


def find_colors(video: np.ndarray) -> np.ndarray:
    """Returns the index of the palette's hue of each pixel [t, h, w], -1 where it is grey."""
    return palette.find_hues(video, MIN_CHROMA)[0]


def unmix(
    video: np.ndarray, hues: np.ndarray, floor: str, wall: str, color: str, other: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the shares float32[t, h, w] of each pixel that an object and the wall fill.

    Pixels of another hue count 0, but where the object and the wall may have been mixed to it; so
    do those of the object's hue where a second object's colour, `other`, meets the wall's.
    """
    first, second = NAMES.index(color), NAMES.index(wall)
    near = [spread(hues == hue, REACH) for hue in (first, second)]
    foreign = (hues >= 0) & (hues != first) & (hues != second) & ~(near[0] & near[1])
    if other != "none":
        foreign |= spread(hues == NAMES.index(other), REACH) & near[1] & (hues != second)
    colors = np.array([FLOORS[floor], COLORS[color], COLORS[wall]], np.float64)
    pixels = video.astype(np.float32)
    chroma = colors - colors.mean(1, keepdims=True)
    axis, wall_axis = chroma[1:] / np.linalg.norm(chroma[1:], axis=1, keepdims=True)
    if np.linalg.norm(np.cross(axis, wall_axis)) > MIN_SINE:
        shares = pixels @ np.linalg.inv(colors)[:, 1:].astype(np.float32)
    else:
        # Opposite hues: their mixtures are grey like the floor. Each is measured along its own
        # axis from the floor's hue, as if it met nothing but the floor.
        axes = np.stack([surface / ((surface - chroma[0]) @ surface) for surface in chroma[1:]], 1)
        shares = pixels @ axes.astype(np.float32) - (chroma[0] @ axes).astype(np.float32)
    side, found = 2 * REACH + 1, []
    for i, hue in enumerate((first, second)):
        share = np.where(foreign, 0, shares[..., i])
        full = ndimage.maximum_filter(np.where(hues == hue, share, 0), (1, side, side))
        share = np.clip(share / np.maximum(full, MIN_FULL), 0, 1)
        found.append(np.where(full < MIN_FULL, 0, share).astype(np.float32))
    return found[0], found[1]


def track(share: np.ndarray) -> Track:
    """Follows what fills the shares float32[t, h, w] of each pixel."""
    t, h, w = share.shape
    area = share.sum((1, 2))
    there = area >= 1
    x, y = np.arange(w) + 0.5, np.arange(h) + 0.5
    scale = np.where(there, 1 / np.maximum(area, 1), np.nan)
    center = np.stack([share.sum(1) @ x * scale, share.sum(2) @ y * scale], -1)
    left, right = _find_extent(share.max(1))
    top, bottom = _find_extent(share.max(2))
    labels, frames, sizes = _label(share >= 0.5)
    total = np.bincount(frames, sizes, minlength=t)
    pieces = np.bincount(frames[sizes >= 0.1 * total[frames]], minlength=t)
    return Track(share, area, center, left, right, top, bottom, pieces)


def measure_slant(share: np.ndarray) -> float:
    """Measures how far from upright the sides of what fills share[h, w] are.

    The slope of a side is the median of those between rows that are a quarter of all rows apart.

    Returns:
      Pixels to the side for one down, of the side that is more upright.
    """
    rows = np.flatnonzero((share >= 0.5).any(1))
    apart = max(len(rows) // 4, 2)
    if len(rows) <= apart:
        return math.inf
    sides = _find_extent(share[rows])
    return min(abs(float(np.median(side[apart:] - side[:-apart]))) / apart for side in sides)


def _label(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels the connected parts of each frame of bool[t, h, w], over corners too.

    Returns:
      labels int[t, h, w], 0 outside; of label i + 1 the frame int[n], and its pixels int[n].
    """
    in_frame = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    labels, count = label_parts(mask, in_frame)
    pixels = np.flatnonzero(labels)
    own, frames = labels.ravel()[pixels] - 1, np.zeros(count, int)
    frames[own] = pixels // labels[0].size
    return labels, frames, np.bincount(own, minlength=count)


def _find_extent(profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where profiles [t, n] of shares first and last pass 1 / 2, to a part of a pixel."""
    n = profile.shape[1]
    full = profile >= 0.5
    padded = np.pad(profile, ((0, 0), (1, 1)))
    rows = np.arange(len(profile))
    first, last = full.argmax(1), n - 1 - full[:, ::-1].argmax(1)
    start = first + 1 - padded[rows, first + 1] - padded[rows, first]
    stop = last + padded[rows, last + 1] + padded[rows, last + 2]
    there = full.any(1)
    return np.where(there, start, np.nan), np.where(there, stop, np.nan)


def spread(mask: np.ndarray, reach: int) -> np.ndarray:
    """Returns which pixels of bool[t, h, w] are within `reach` rows and columns of a mask's."""
    for axis in (1, 2):
        done = 0
        while done < reach:
            step = min(2 * done + 1, reach - done)  # leaves no gaps
            low = (slice(None),) * axis + (slice(None, -step),)
            high = (slice(None),) * axis + (slice(step, None),)
            wider = mask.copy()
            wider[low] |= mask[high]
            wider[high] |= mask[low]
            mask, done = wider, done + step
    return mask


def find_solids(hues: np.ndarray, wall: str) -> list[list[tuple[int, np.ndarray, bool]]]:
    """Lists the saturated things other than the wall in each frame.

    Lines of up to two pixels do not count: they are mixtures of two colours.

    Returns:
      for each frame (index of the hue, middle (x, y), whether it reaches the wall or the sides of
      the frame).
    """
    wall_hue = NAMES.index(wall)
    found: list[list[tuple[int, np.ndarray, bool]]] = [[] for _ in hues]
    rim = spread(hues == wall_hue, REACH)
    rim[:, :, :REACH] = rim[:, :, -REACH:] = True
    for hue in np.flatnonzero(np.bincount(hues.ravel() + 1)[1:]):
        if hue == wall_hue:
            continue
        mask = hues == hue
        core = ~spread(~mask, 1)
        if not core.any():
            continue
        labels, frames, sizes = _label(mask)
        pixels = np.flatnonzero(labels)
        own = labels.ravel()[pixels] - 1
        y, x = np.divmod(pixels % labels[0].size, labels.shape[2])
        middles = np.stack([np.bincount(own, v, len(sizes)) for v in (x, y)], -1) / sizes[:, None]
        hidden = np.zeros(len(sizes), bool)
        hidden[labels[rim & mask] - 1] = True
        for i in np.flatnonzero(np.bincount(labels[core] - 1, minlength=len(sizes))):
            found[frames[i]].append((int(hue), middles[i] + 0.5, bool(hidden[i])))
    return found
