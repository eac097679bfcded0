"""The pixel rule that names the colour of the object in a clip; fixed before any training.

It fits clips with one coloured object on an unsaturated background (white, grey, black, beige),
also when they are generated and blurred. A pixel votes if it is saturated and its chroma (the
largest minus the smallest of its RGB values, saturation * value) is high enough, with its chroma
as the weight, for the palette colour of the nearest hue.
"""

import numpy as np
from jaxtyping import Float, UInt8

SATURATION = 0.4  # of 1; beige has 0.14, and edges between a colour and white fall below
CHROMA = 0.25  # of 1; the palette has 0.5 and more, beige 0.13, and less is noise on dark grey
SHARE = 0.005  # of all pixels of the video must vote; the smallest object has 0.015


def dominant_color(
    video: UInt8[np.ndarray, "t h w 3"],
    palette: dict[str, tuple[int, int, int]],
    without: str | None = None,
) -> str | None:
    """Names the palette colour that most of the saturated pixels of a video have.

    Args:
      video: RGB frames; all of them vote.
      palette: names and RGB colours 0..255, of distinct hues.
      without: a colour whose votes do not count, such as that of a wall.

    Returns:
      A name from the palette, or None when fewer than 0.5 % of the pixels are saturated.
    """
    hue, saturation, value = _hsv(video.reshape(-1, 3))
    chroma = saturation * value
    votes = (saturation >= SATURATION) & (chroma >= CHROMA)
    names = list(palette)
    hues = _hsv(np.array([palette[name] for name in names], np.uint8))[0]
    distance = np.abs(hue[:, None] - hues[None, :])
    nearest = np.minimum(distance, 1 - distance).argmin(1)
    if without is not None:
        votes &= nearest != names.index(without)
    if votes.mean() < SHARE:
        return None
    return names[int(np.bincount(nearest[votes], chroma[votes], minlength=len(names)).argmax())]


def _hsv(pixels: UInt8[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n"], ...]:
    """Hue, saturation and value of RGB pixels, each in [0, 1]."""
    rgb = pixels.astype(np.float32) / np.float32(255)
    r, g, b = rgb.T
    value, low = rgb.max(1), rgb.min(1)
    chroma = value - low
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == r, (g - b) / safe % 6, np.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    return hue / 6, chroma / np.where(value > 0, value, 1), value
