"""Small synthetic films for the tests of ingest."""

import cv2
import numpy as np

from sora_jax import media


def scene(seed, frames, height=90, width=160, speed=2):
    """A shot: soft colours that move to the left by `speed` pixels a frame."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (7, 12 + frames * speed // 16, 3), np.uint8)
    wide = cv2.resize(small, (width + frames * speed, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, t * speed : t * speed + width] for t in range(frames)])


def film(lengths, first=0, **options):
    """Shots one after the other, of seeds first, first + 1 and so on."""
    return np.concatenate([scene(first + i, n, **options) for i, n in enumerate(lengths)])


def resized(frames, height, width):
    """The film at another size."""
    size = width, height
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def boxed(frames, top=0, left=0):
    """The film between black bars of so many pixels."""
    return np.pad(frames, ((0, 0), (top, top), (left, left), (0, 0)))


def write(path, frames, fps=24, crf=16):
    """Writes a film as H.264 in mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(media.video_bytes(frames, fps, crf))
    return path
