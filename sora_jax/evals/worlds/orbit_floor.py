"""Reads the floor of `orbit`: in which frames it has its colours, and how its brightness flickers.

The floor is what has no colour and is away from solids, in the lower half of the frame.
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from sora_jax.evals.worlds.morphology import find_blots
from sora_jax.evals.worlds.orbit_sight import Sight
from sora_jax.laws import orbit as laws
from sora_jax.laws import scene

MAX_MISS = 14.0  # distance in RGB of a pixel of the lit floor from its colours
MIN_LIT = 0.4  # share of the floor that must have its colours; the rest may be shadows
MIN_SHARE = 0.05  # of a frame from which on its floor is read
MAX_CHROMA = 60.0  # of a floor's pixel
DARK = 0.7  # of the floor's shadows: what is darker, and grey, is none
SKY = 0.5  # of a row's pixels from which on it may show the sky
MAX_LIT = 60.0  # levels above the floor in full light: what is brighter, and grey, is none


@dataclasses.dataclass(frozen=True)
class Floor:
    """What a video shows of a stated floor.

    Attributes:
      shown: bool[t], whether a frame's floor has the stated colours rather than another floor's.
      flicker: median second difference of its brightness, of itself; inf if it is not seen.
    """

    shown: np.ndarray
    flicker: float


def read_floor(video: np.ndarray, sight: Sight, stated: str) -> Floor:
    """Reads the floor of a video; `sight` is of all colours."""
    t, h, w, _ = video.shape
    low = h // 2
    solid = sight.masks[:, :, low:].any(0).view(np.uint8)
    floor = ndimage.maximum_filter(solid, (1, 5, 5)) == 0
    floor &= sight.chroma[:, low:] < MAX_CHROMA
    pixels = video[:, low:].astype(np.float32)
    size = floor.sum((1, 2))
    read = size >= MIN_SHARE * h * w
    few, some = pixels[:, ::2, ::2], floor[:, ::2, ::2]
    lit = {name: (_find_lit(few, *tiles) & some).sum((1, 2)) for name, tiles in laws.FLOORS.items()}
    most = np.max(list(lit.values()), axis=0)
    shown = read & (lit[stated] == most) & (lit[stated] >= MIN_LIT * some.sum((1, 2)))
    means = (pixels.mean(-1) * floor).sum((1, 2))[read] / size[read]
    if not len(means):
        return Floor(shown, math.inf)
    change = np.abs(np.diff(means, 2)) if len(means) > 2 else np.zeros(1)
    return Floor(shown, float(np.median(change) / max(np.mean(means), 1)))


def find_grey_blots(video: np.ndarray, sight: Sight, stated: str) -> bool:
    """Returns whether two frames show grey things darker than the floor can be.

    On a dark floor, things brighter than it can be count too, in rows that show no sky.

    Args:
      sight: of all colours of the video. stated: name of the floor.
    """
    bright, (light, dark) = video.mean(-1), (np.mean(tile) for tile in laws.FLOORS[stated])
    lit = bright > light + MAX_LIT
    lit &= lit.mean(2, keepdims=True) < SKY  # the sky is as wide as the picture
    odd = (bright < DARK * scene.AMBIENT * dark) | lit
    return bool(find_blots(odd & (sight.chroma < MAX_CHROMA)).sum() > 1)


def _find_lit(pixels: np.ndarray, *tiles: tuple[int, int, int]) -> np.ndarray:
    """Returns where pixels [..., 3] have colours between those of lit tiles."""
    first, second = (laws.FLOOR_LIGHT * np.array(tile, np.float32) for tile in tiles)
    axis = second - first
    along = np.clip((pixels - first) @ axis / (axis @ axis), 0, 1)
    miss = pixels - first - along[..., None] * axis
    return (miss**2).sum(-1) <= MAX_MISS**2
