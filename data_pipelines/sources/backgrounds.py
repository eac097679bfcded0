"""Drawn backgrounds in one or two named colours."""

import numpy as np
from PIL import Image

from data_pipelines.worlds.base import COLORS, pick

PALETTE = COLORS | {
    "white": (240, 240, 240),
    "grey": (130, 130, 130),
    "black": (15, 15, 15),
    "brown": (120, 75, 40),
}
KINDS = ("plain", "gradient", "checkers", "clouds")


def draw(h: int, w: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Draws uint8[h, w, 3] in one or two colours of the palette, and says what it is."""
    names = [list(PALETTE)[i] for i in rng.choice(len(PALETTE), 2, replace=False)]
    colors = [np.clip(PALETTE[name] + rng.integers(-15, 16, 3), 0, 255) for name in names]
    kind = pick(rng, KINDS)
    y, x = np.mgrid[:h, :w]
    if kind == "plain":
        mix, words = np.zeros((h, w)), f"a plain {names[0]} background"
    elif kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        mix = x * np.cos(angle) + y * np.sin(angle)
        words = f"a background that fades from {names[0]} to {names[1]}"
    elif kind == "checkers":
        side = rng.integers(8, max(9, min(h, w) // 3))
        mix = (x // side + y // side) % 2
        words = f"a {names[0]} and {names[1]} checkered background"
    else:
        noise = Image.fromarray(rng.random(rng.integers(3, 8, 2), np.float32))
        mix = np.asarray(noise.resize((w, h), Image.Resampling.BICUBIC))
        words = f"{names[0]} and {names[1]} clouds"
    mix = mix - mix.min()
    mix = (mix / max(mix.max(), 1e-6))[..., None]
    return np.rint((1 - mix) * colors[0] + mix * colors[1]).astype(np.uint8), words
