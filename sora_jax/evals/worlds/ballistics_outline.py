"""Area, centre, outline and edge of the regions of one colour in the ballistics world.

With the share a of each pixel that an object covers and z = x + i y from its centroid, the outline
is told by the harmonic moments

    q_m = |sum a z^m| / (A (A / pi)^(m / 2)),  A = sum a,

which are 0 of a disc, and of which a square has the 4th, a triangle the 3rd and a star the 5th one
first. Blur by a round kernel changes none of them, as z^m is harmonic. The edge's width is
sum 4 a (1 - a) over the perimeter: 2/3 of a pixel if the edge is as sharp as pixels can show.
"""

import functools
import math

import numpy as np
from scipy import ndimage

from sora_jax.laws import ballistics as laws

HARMONICS = {"square": 4, "triangle": 3, "star": 5}


def measure_regions(labels, largest, share, owner, index, active, t) -> dict[str, np.ndarray]:
    """Measures the largest region of each frame, in pixels; area 0 where there is none."""
    core = (labels == largest[:, None, None]) & (largest[:, None, None] > 0)
    _, h, w = labels.shape
    near = grow(core, 2)
    foreign = (owner >= 0) & (owner != index)
    crowded = grow(foreign, 1)
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


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Grows a mask [t, h, w] by some pixels to all sides, over corners too."""
    grown = mask.view(np.uint8)
    for axis in (1, 2):
        grown = ndimage.maximum_filter1d(grown, 2 * pixels + 1, axis, mode="constant")
    return grown.astype(bool)
