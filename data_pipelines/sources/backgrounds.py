"""Drawn backgrounds in one or two named colours, and cut-outs put on them."""

import numpy as np
from PIL import Image

from data_pipelines.worlds.base import add_article, pick
from sora_jax.laws.palette import COLORS

PALETTE = COLORS | {
    "white": (240, 240, 240),
    "grey": (130, 130, 130),
    "black": (15, 15, 15),
    "brown": (120, 75, 40),
}
ASPECTS = (1, 1, 4 / 3, 3 / 4, 16 / 9, 9 / 16)  # width over height
PATTERNS = ("plain", "gradient", "checkers", "clouds")


def draw_background(h: int, w: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Draws uint8[h, w, 3] in one or two colours of the palette; also returns it in words."""
    names = [list(PALETTE)[i] for i in rng.choice(len(PALETTE), 2, replace=False)]
    colors = [np.clip(PALETTE[name] + rng.integers(-15, 16, 3), 0, 255) for name in names]
    pattern = pick(rng, PATTERNS)
    y, x = np.mgrid[:h, :w]
    if pattern == "plain":
        mix, words = np.zeros((h, w)), f"a plain {names[0]} background"
    elif pattern == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        mix = x * np.cos(angle) + y * np.sin(angle)
        words = f"a background that fades from {names[0]} to {names[1]}"
    elif pattern == "checkers":
        side = rng.integers(8, max(9, min(h, w) // 3))
        mix = (x // side + y // side) % 2
        words = f"{add_article(names[0])} and {names[1]} checkered background"
    else:
        noise = Image.fromarray(rng.random(rng.integers(3, 8, 2), np.float32))
        mix = np.asarray(noise.resize((w, h), Image.Resampling.BICUBIC))
        words = f"{names[0]} and {names[1]} clouds"
    mix = mix - mix.min()
    mix = (mix / max(mix.max(), 1e-6))[..., None]
    return np.rint((1 - mix) * colors[0] + mix * colors[1]).astype(np.uint8), words


def compose(
    frames: np.ndarray, height: int, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, str]]:
    """Puts frames uint8[t, h, w, 4] on a drawn background, at a drawn position and scale.

    Args:
      height: maximum of the shorter side in pixels.

    Returns:
      uint8[t, h, w, 3], and the attribute 'background'.
    """
    short = pick(rng, (height, height * 8 // 9))
    aspect = pick(rng, ASPECTS)
    h, w = round(short * max(1, 1 / aspect)), round(short * max(1, aspect))
    canvas, words = draw_background(h, w, rng)
    scale = short * rng.uniform(0.6, 1.2) / max(frames.shape[1:3])
    size = round(frames.shape[2] * scale), round(frames.shape[1] * scale)
    kernel = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    # An eighth of it may be out of view.
    left, top = (
        round(rng.uniform(-s / 8, n - s * 7 / 8)) for s, n in zip(size, (w, h), strict=True)
    )
    video = np.stack([canvas] * len(frames))
    for image, frame in zip(video, frames, strict=True):
        layer = Image.new("RGBA", (w, h))
        layer.paste(Image.fromarray(frame).resize(size, kernel), (left, top))
        pixels = np.asarray(layer, np.float32)
        alpha = pixels[..., 3:] / 255
        image[:] = np.rint(alpha * pixels[..., :3] + (1 - alpha) * image)
    return video, {"background": words}
