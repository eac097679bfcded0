"""Objects of the ballistics world in pixels: place, area, outline and edge of each, in each frame.

A pixel belongs to the colour f of the palette whose line p = b + a (f - b) from the background b is
nearest; an object is the largest region with a >= 1/2, with the partly covered pixels around it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.ballistics_outline import grow, measure_regions
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import COLORS

MIN_AREA = 0.004  # units^2 of the smallest region that is an object; the smallest ball has 0.02
MIN_PIECE = 0.001  # units^2, and 4 pixels: a piece of an object beside it
OFF_LINE = 60.0  # levels, farthest from the line of a colour of the palette
NOISE = 8.0  # levels; pixels nearer to the background are background
WHOLE = 0.97  # area of an object that counts as whole, of its usual area
IN_PLANE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]).astype(bool)


@dataclasses.dataclass(frozen=True)
class Regions:
    """Regions of one colour that are large enough to be objects, in all frames.

    Attributes:
      frame: [k], index of the frame of each.
      center: [k, 2], in units. at_edge: [k], whether it touches the frame's edge.
    """

    frame: np.ndarray
    center: np.ndarray
    at_edge: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The n expected objects, found by their colours, in t frames.

    Attributes:
      center: [t, n, 2], units; nan where an object is not seen.
      area: [t, n], units^2; 0 where it is not seen.
      pieces: [t, n], number of its regions.
      cut: [t, n], whether it touches the frame's edge.
      whole: [t, n], whether all of it is seen.
      shape: [t, n], name of its outline; "" where it is not whole.
      edge: [t, n], width of its edge in pixels; nan where it is not whole.
      extent: [n, 2, 2], how far it reaches from its centre to low and high x, and y, in units.
      room: width and height of the frame in units.
      regions: of each colour of the palette, and of all other colours as 'other'.
      flicker: [t - 1], root mean square change of the background from frame to frame, of means
        over blocks of 4 x 4 pixels, in levels of 255.
      background: RGB, the median of all pixels.
    """

    center: np.ndarray
    area: np.ndarray
    pieces: np.ndarray
    cut: np.ndarray
    whole: np.ndarray
    shape: np.ndarray
    edge: np.ndarray
    extent: np.ndarray
    room: np.ndarray
    regions: dict[str, Regions]
    flicker: np.ndarray
    background: np.ndarray


def find_objects(video: np.ndarray, colors: Sequence[str], shapes: Sequence[str]) -> Tracks:
    """Finds the objects of a video.

    Args:
      video: uint8[t, h, w, 3].
      colors, shapes: of the expected objects; shapes serve for the length of their edges only.
    """
    t, h, w, _ = video.shape
    unit, n = min(h, w), len(colors)
    background = np.median(video[:: max(t // 8, 1)].reshape(-1, 3), axis=0)
    owner, shares, active = _assign_pixels(video, background)
    regions, center = {}, np.full((t, n, 2), np.nan)
    area, pieces, cut = np.zeros((t, n)), np.zeros((t, n), int), np.zeros((t, n), bool)
    edge, shape = np.full((t, n), np.nan), np.full((t, n), "", dtype="<U8")
    box = np.full((t, n, 2, 2), np.nan)
    names = [*COLORS, "other"]
    empty = Regions(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0, bool))
    present = np.bincount(owner.ravel() + 1, minlength=len(names) + 1)[1:] > 0
    for index, name in enumerate(names):
        regions[name] = empty
        if not present[index]:
            continue
        labels = np.empty(owner.shape, np.int32)
        ndimage.label(owner == index, IN_PLANE, labels)
        regions[name], largest, parts = _list_regions(labels, unit)
        if name in colors:
            i = list(colors).index(name)
            pieces[:, i] = parts
            found = measure_regions(labels, largest, shares[index], owner, index, active, t)
            seen = found["area"] >= MIN_AREA * unit**2
            center[seen, i] = found["center"][seen] / unit
            area[seen, i] = found["area"][seen] / unit**2
            box[seen, i] = found["box"][seen] / unit
            cut[:, i] = found["cut"] & seen
            outline = laws.perimeter(shapes[i]) * np.sqrt(found["area"] / laws.area(shapes[i]))
            edge[seen, i] = (found["soft"] / np.maximum(outline, 1e-9))[seen]
            shape[seen, i] = found["shape"][seen]
    usual = np.array([_usual(area[:, i], cut[:, i]) for i in range(n)])
    whole = (area > 0) & (np.logical_not(cut) | (area >= WHOLE * usual))
    edge[~whole], shape[~whole] = np.nan, ""
    reach = np.stack([center - box[..., 0], box[..., 1] - center], -1)
    extent = np.zeros((n, 2, 2))
    for i in range(n):
        if whole[:, i].any():
            extent[i] = np.median(reach[whole[:, i], i], 0)
    return Tracks(
        center, area, pieces, cut, whole, shape, edge, extent, np.array([w, h]) / unit, regions,
        _measure_flicker(video, active), background,
    )  # fmt: skip


def _assign_pixels(video, background):
    """Returns the owner [t, h, w] of each covered pixel, the shares [color, t, h, w], and a mask.

    The owner is an index of the palette, or the number of its colours for any other colour, or
    -1 for background and pixels that are less than half covered. The mask is of all pixels that
    differ from the background.
    """
    offset = video.astype(np.float32) - background.astype(np.float32)
    red, green, blue = (np.abs(offset[..., channel]) > NOISE for channel in range(3))
    active = red | green | blue
    o = offset[active]
    owner = np.full(video.shape[:3], -1, np.int8)
    shares = np.zeros((len(COLORS), *video.shape[:3]), np.float32)
    flat, apart = np.empty((len(COLORS), len(o)), np.float32), np.empty((len(COLORS), len(o)))
    for i, color in enumerate(COLORS.values()):
        axis = np.array(color, np.float32) - background.astype(np.float32)
        flat[i] = np.clip(o @ axis / max(float(axis @ axis), 1.0), 0, 1)
        apart[i] = np.linalg.norm(o - flat[i][:, None] * axis, axis=1)
        shares[i][active] = flat[i]
    nearest, rows = apart.argmin(0), np.arange(len(o))
    known = apart[nearest, rows] < OFF_LINE
    best = np.where(known & (flat[nearest, rows] >= 0.5), nearest, -1)
    owner[active] = np.where(known, best, len(COLORS))
    return owner, shares, active


def _list_regions(labels, unit):
    """Lists the regions of a colour, with the largest label and number of pieces of each frame."""
    t, h, w = labels.shape
    largest, pieces = np.zeros(t, int), np.zeros(t, int)
    frames, centers, edges, best = [], [], [], np.zeros(t, int)
    sizes = np.bincount(labels.ravel())
    places = ndimage.find_objects(labels)
    for label in np.flatnonzero(sizes[1:] >= max(MIN_PIECE * unit**2, 4)) + 1:
        frame, rows, columns = places[label - 1][0].start, *places[label - 1][1:]
        size = int(sizes[label])
        pieces[frame] += 1
        if size > best[frame]:
            best[frame], largest[frame] = size, label
        if size >= MIN_AREA * unit**2:
            frames.append(frame)
            centers.append(((columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2))
            edges.append(
                rows.start == 0 or columns.start == 0 or rows.stop == h or columns.stop == w
            )
    regions = Regions(
        np.array(frames, int), np.array(centers).reshape(-1, 2) / unit, np.array(edges, bool)
    )
    return regions, largest, pieces


def _usual(area: np.ndarray, cut: np.ndarray) -> float:
    """Returns an object's usual area: the median where no edge cuts it, or else wherever seen."""
    for known in (area[(area > 0) & ~cut], area[area > 0]):
        if len(known):
            return float(np.median(known))
    return 0.0


def _measure_flicker(video, active) -> np.ndarray:
    t, h, w, _ = video.shape
    if t < 2:
        return np.zeros(0)
    moving = grow(active, 2)
    still = np.logical_not(np.logical_or(moving[1:], moving[:-1]))
    brightness = video.astype(np.float32) @ np.full(3, 1 / 3, np.float32)
    change = np.diff(brightness, axis=0)
    h4, w4 = h // 4 * 4, w // 4 * 4
    blocks = (t - 1, h4 // 4, 4, w4 // 4, 4)
    mean = change[:, :h4, :w4].reshape(blocks).mean((2, 4))
    clear = still[:, :h4, :w4].reshape(blocks).all((2, 4))
    count = clear.sum((1, 2))
    rms = np.sqrt((mean**2 * clear).sum((1, 2)) / np.maximum(count, 1))
    return np.where(count > 0, rms, 255.0)
