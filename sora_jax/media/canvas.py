"""Pads videos of any size to a canvas, and converts levels of pixels to numbers and back."""

import dataclasses

import numpy as np
from jaxtyping import Array, Float, Float32, Shaped, UInt8
from PIL import Image

Video = UInt8[np.ndarray, "t h w 3"]
MIN_SIDE_PIXELS = 16  # H.264 works in blocks of 16x16, which is also the minimum canvas


def to_float(pixels: UInt8[np.ndarray | Array, "..."]) -> Float32[np.ndarray | Array, "..."]:
    """Maps 0..255 to float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(pixels: Float[np.ndarray | Array, "..."]) -> UInt8[np.ndarray, "..."]:
    """Maps [-1, 1] to 0..255, rounded; values outside [-1, 1] are clipped."""
    pixels = (np.asarray(pixels, np.float32) + 1) * 127.5
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def canvas_shape(t: int, h: int, w: int, temporal: int, spatial: int) -> tuple[int, int, int]:
    """Minimum canvas (t, h, w) for a video: 1 + temporal * k frames, sides multiples of spatial.

    Raises:
      ValueError: if t < 1, or a side is below 16 pixels.
    """
    if t < 1 or min(h, w) < MIN_SIDE_PIXELS:
        raise ValueError(
            f"a video of {t} frames of {h}x{w} is too small; "
            f"use 1 frame of {MIN_SIDE_PIXELS}x{MIN_SIDE_PIXELS} or more"
        )
    frames = 1 + -(-(t - 1) // temporal) * temporal
    return frames, -(-h // spatial) * spatial, -(-w // spatial) * spatial


@dataclasses.dataclass(frozen=True)
class Fit:
    """Shapes (t, h, w) of a video, in frames and pixels, before and after padding to its canvas."""

    original: tuple[int, int, int]
    padded: tuple[int, int, int]

    def crop(self, frames: Shaped[np.ndarray | Array, "*b T H W c"]) -> np.ndarray | Array:
        """Cuts a canvas [..., t, h, w, c] back to the original size.

        Raises:
          ValueError: if the frames are not of the padded shape.
        """
        if tuple(frames.shape[-4:-1]) != self.padded:
            raise ValueError(
                f"frames of shape {tuple(frames.shape)} are not on the canvas {self.padded}; "
                "crop with the Fit that fit_canvas returned for them"
            )
        t, h, w = self.original
        return frames[..., :t, :h, :w, :]


def fit_canvas(
    frames: Shaped[np.ndarray | Array, "*b t h w c"], temporal: int, spatial: int
) -> tuple[np.ndarray | Array, Fit]:
    """Pads a video (numpy or JAX, leading axes allowed) to its canvas: the one padding rule.

    Bottom and right edges are repeated up to multiples of `spatial` pixels, the last frame up to
    1 + temporal * k frames.

    Raises:
      ValueError: if t < 1, or a side is below 16 pixels.
    """
    t, h, w = original = frames.shape[-4], frames.shape[-3], frames.shape[-2]
    padded = canvas_shape(t, h, w, temporal, spatial)
    for axis, size, target in zip((-4, -3, -2), original, padded, strict=True):
        if target > size:
            index = (..., np.minimum(np.arange(target), size - 1)) + (slice(None),) * (-1 - axis)
            frames = frames[index]
    return frames, Fit(original, padded)


def cover(frames: Video, height: int, width: int) -> UInt8[np.ndarray, "t {height} {width} 3"]:
    """Frames scaled, as little as covers this size, and cut at both sides to it."""
    _, h, w, _ = frames.shape
    scale = max(height / h, width / w)
    if scale != 1:
        size = max(round(w * scale), width), max(round(h * scale), height)
        how = Image.Resampling.LANCZOS
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size, how)) for f in frames])
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]
