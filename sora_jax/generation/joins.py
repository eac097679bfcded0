"""Given pixels in a generated video: they stay, and what the codec loses of them fades out."""

import numpy as np
from jaxtyping import UInt8

from sora_jax.generation.canvas import Given

FADE = 8
"""Frames in which the codec's error at a given frame fades out of those around it."""
MOVED = 24
"""Levels of 0 to 255 from which on a pixel no longer shows what it showed there."""


def join_given(video: UInt8[np.ndarray, "t h w 3"], given: Given) -> UInt8[np.ndarray, "t h w 3"]:
    """The video with the given pixels in it, and no step at their edges in time.

    A codec returns given pixels g as d, without their finest detail, which would be gone all at
    once where the model's frames begin. There, k frames from the nearest given one on each side,
    the same pixel x of the video shows

        x + w (g - d)        w = (1 - k / FADE) max(0, 1 - |x - d| / MOVED)

    so that what stands still keeps its detail for a while, and what moves leaves none behind. Where
    both sides' weights exceed 1 together, they are divided by their sum.
    """
    made = np.where(given.known[..., None], given.video, video)
    for t in np.flatnonzero(~given.known.all((1, 2))):
        added = np.zeros(video.shape[1:], np.float32)
        weights = np.zeros(video.shape[1:3], np.float32)
        for side in (-1, 1):
            seen = given.known[t]
            for k in range(1, FADE):
                s = t + side * k
                if not 0 <= s < len(video):
                    break
                nearest = given.known[s] & ~seen
                if nearest.any():
                    change = np.abs(video[t].astype(np.float32) - video[s]).max(-1)
                    w = (1 - k / FADE) * np.maximum(0, 1 - change / MOVED) * nearest
                    added += w[..., None] * (given.video[s].astype(np.float32) - video[s])
                    weights += w
                seen = seen | given.known[s]
        if weights.any():
            added /= np.maximum(weights, 1)[..., None]
            faded = np.rint(np.clip(video[t] + added, 0, 255)).astype(np.uint8)
            made[t] = np.where(given.known[t][..., None], made[t], faded)
    return made
