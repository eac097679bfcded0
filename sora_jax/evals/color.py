"""A pixel rule that names the colour of the object in a clip; it was fixed before any training.

It is meant for clips with one coloured object on an unsaturated background (white, grey, black,
beige), also generated and blurred ones. A pixel votes for the palette colour of the nearest hue if
its saturation and chroma (maximum minus minimum of its RGB values) are high enough; the chroma is
the weight of its vote.
"""

import numpy as np
from jaxtyping import Float, UInt8

# Fractions: beige has a saturation of 0.14 and a chroma of 0.13, the palette a chroma of 0.5 and
# more, the smallest object 0.015 of the pixels. Edges between a colour and white are less saturated
# than the minimum; on dark grey, noise has less chroma than the minimum.
MIN_SATURATION = 0.4
MIN_CHROMA = 0.25
MIN_VOTING_FRACTION = 0.005  # of all pixels of the video


def dominant_color(
    video: UInt8[np.ndarray, "t h w 3"],
    palette: dict[str, tuple[int, int, int]],
    without: str | None = None,
) -> str | None:
    """Names the palette colour that wins the vote of a video's saturated pixels.

    Args:
      video: RGB frames; all of them vote.
      palette: names and RGB colours 0..255, of distinct hues.
      without: a colour whose votes do not count, such as that of a wall.

    Returns:
      A name from the palette, or None if fewer than 0.5 % of the pixels vote.
    """
    hue, saturation, value = _hsv(video.reshape(-1, 3))
    chroma = saturation * value
    votes = (saturation >= MIN_SATURATION) & (chroma >= MIN_CHROMA)
    names = list(palette)
    hues = _hsv(np.array([palette[name] for name in names], np.uint8))[0]
    distance = np.abs(hue[:, None] - hues[None, :])
    nearest = np.minimum(distance, 1 - distance).argmin(1)
    if without is not None:
        votes &= nearest != names.index(without)
    if votes.mean() < MIN_VOTING_FRACTION:
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
