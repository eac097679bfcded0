"""Objects of the ballistics world in pixels: place, area, outline and edge of each, in each frame.

A pixel belongs to the colour f of the palette whose line p = b + a (f - b) from the background b is
nearest; an object is the largest region with a >= 1/2, with the partly covered pixels around it.
With z = x + i y from the centroid, its outline is told by the harmonic moments

    q_m = |sum a z^m| / (A (A / pi)^(m / 2)),  A = sum a,

which are 0 of a disc, and of which a square has the 4th, a triangle the 3rd and a star the 5th one
first. Blur by a round kernel changes none of them, as z^m is harmonic. The edge's width is
sum 4 a (1 - a) over the perimeter: 2/3 of a pixel if the edge is as sharp as pixels can show.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import COLORS

MIN_AREA = 0.004  # units^2 of the smallest region that is an object; the smallest ball has 0.02
MIN_PIECE = 0.001  # units^2, and 4 pixels: a piece of an object beside it
OFF_LINE = 60.0  # levels, farthest from the line of a colour of the palette
NOISE = 8.0  # levels; pixels nearer to the background are background
WHOLE = 0.97  # area of an object that counts as whole, of its usual area
IN_PLANE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]).astype(bool)
HARMONICS = {"square": 4, "triangle": 3, "star": 5}


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
            found = _measure(labels, largest, shares[index], owner, index, active, t)
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


def _measure(labels, largest, share, owner, index, active, t) -> dict[str, np.ndarray]:
    """Measures the largest region of each frame, in pixels; area 0 where there is none."""
    core = (labels == largest[:, None, None]) & (largest[:, None, None] > 0)
    _, h, w = labels.shape
    near = _grow(core, 2)
    foreign = (owner >= 0) & (owner != index)
    crowded = _grow(foreign, 1)
    frame, row, column = np.nonzero(core | (near & active & ~crowded))
    a = share[frame, row, column].astype(float)
    x, y = column + 0.5, row + 0.5

    def total(values):
        return np.bincount(frame, values, t)

    area = total(a)
    safe = np.maximum(area, 1e-9)
    center = np.stack([total(a * x), total(a * y)], 1) / safe[:, None]
    z = (x - center[frame, 0]) + 1j * (y - center[frame, 1])
    scores = {}
    for name, order in HARMONICS.items():
        power = a * z**order
        size = np.hypot(total(power.real), total(power.imag))
        scores[name] = size / (safe * (safe / math.pi) ** (order / 2)) / _harmonic(name)
    table = np.array(list(scores.values()))
    shape = np.where(
        table.max(0) < 0.5, "ball", np.array(list(HARMONICS), dtype="<U8")[table.argmax(0)]
    )
    box = np.full((t, 2, 2), np.nan)
    rows, columns = core.any(2), core.any(1)
    seen = rows.any(1)
    for axis, line, length in ((0, columns, w), (1, rows, h)):
        box[:, axis, 0] = line.argmax(1)
        box[:, axis, 1] = length - line[:, ::-1].argmax(1)
    cut = seen & np.stack([rows[:, 0], rows[:, -1], columns[:, 0], columns[:, -1]]).any(0)
    soft = total(4 * a * (1 - a))
    return {"area": area, "center": center, "shape": shape, "box": box, "cut": cut, "soft": soft}


@functools.cache
def _harmonic(shape: str) -> float:
    """Returns q_m of a shape for its own m, by the exact integral over its triangles."""
    order = HARMONICS[shape]
    x, y = laws.outline(shape).T
    a = x + 1j * y
    b = np.roll(a, -1)
    # The integral of z^m over the triangle (0, a, b) is its area times
    # 2 / ((m + 1)(m + 2)) (a^m + a^(m-1) b + ... + b^m).
    areas = (a.conj() * b).imag / 2
    powers = sum(a**k * b ** (order - k) for k in range(order + 1))
    total = abs((areas * 2 / ((order + 1) * (order + 2)) * powers).sum())
    area = laws.area(shape)
    return float(total / (area * (area / math.pi) ** (order / 2)))


def _usual(area: np.ndarray, cut: np.ndarray) -> float:
    """Returns an object's usual area: the median where no edge cuts it, or else wherever seen."""
    for known in (area[(area > 0) & ~cut], area[area > 0]):
        if len(known):
            return float(np.median(known))
    return 0.0


def _grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Grows a mask [t, h, w] by some pixels to all sides, over corners too."""
    grown = mask.view(np.uint8)
    for axis in (1, 2):
        grown = ndimage.maximum_filter1d(grown, 2 * pixels + 1, axis, mode="constant")
    return grown.astype(bool)


def _measure_flicker(video, active) -> np.ndarray:
    t, h, w, _ = video.shape
    if t < 2:
        return np.zeros(0)
    moving = _grow(active, 2)
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
