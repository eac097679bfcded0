"""Tells the palette's colours apart in pixels by their hue.

Light multiplies a colour and a smooth edge mixes it with a floor that is nearly grey: both leave
its hue as it is. With p a pixel and m the mean of its channels, the hue is the direction of p - m,
and sqrt(3 / 2) |p - m| the chroma, which is 255 for pure red, green or blue.
"""

import math

import numpy as np

from sora_jax.laws.palette import COLORS

NAMES = tuple(COLORS)
_PALETTE = np.array(list(COLORS.values()), np.float32)
_PALETTE -= _PALETTE.mean(-1, keepdims=True)
_LENGTHS = np.linalg.norm(_PALETTE, axis=-1)
_SCALE = math.sqrt(1.5)
CHROMAS = _SCALE * _LENGTHS  # of the palette's colours in full light


def find_hues(video: np.ndarray, min_chroma: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the index in `NAMES` of the nearest hue of each pixel [t, h, w], and its chroma.

    The index is -1 where the chroma is less than `min_chroma`.
    """
    pixels = video.astype(np.float32)
    offset = pixels - (pixels @ np.full((3, 1), 1 / 3, np.float32))
    chroma = _SCALE * np.sqrt(np.einsum("...i,...i->...", offset, offset))
    index, colored = np.full(chroma.shape, -1), chroma >= min_chroma
    index[colored] = (offset[colored] @ (_PALETTE / _LENGTHS[:, None]).T).argmax(-1)
    return index, chroma
