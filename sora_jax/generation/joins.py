"""Given pixels in a generated video: they stay, and what the codec loses of them fades out."""

import numpy as np
from jaxtyping import Bool, UInt8

FADE = 8
"""Frames from a given one at which nothing is left of the codec's error there."""
MOTION_THRESHOLD = 24
"""Difference of values of 0 to 255 from which on two pixels show different things."""


def join_given(
    video: UInt8[np.ndarray, "t h w 3"],
    given: UInt8[np.ndarray, "t h w 3"],
    known: Bool[np.ndarray, "t h w"],
    coded: Bool[np.ndarray, "t h w"],
) -> UInt8[np.ndarray, "t h w 3"]:
    """The video with the known pixels of a given one, and no step at their edges in time.

    A codec returns pixels g as d, without their finest detail, which would be gone all at once
    where the model's frames begin. There, k frames from the nearest frame of each side in which
    the pixel's latent is known, a pixel x of the video becomes

        x + w (g - d)        w = (1 - k / FADE) still(x - d) still(g - d)
                             still(z) = max(0, 1 - max |z| / MOTION_THRESHOLD)

    so that what stands still keeps its detail for a while, and what moves, or was lost as a whole,
    leaves nothing behind. If the weights of the two sides exceed 1 together, they are divided by
    their sum.

    Args:
      known: pixels that stay as given.
      coded: pixels whose latents are known, so that the video has them as the codec returns them.
    """
    made = np.where(known[..., None], given, video)
    for t in np.flatnonzero(~coded.all((1, 2))):
        added = np.zeros(video.shape[1:], np.float32)
        weights = np.zeros(video.shape[1:3], np.float32)
        for side in (-1, 1):
            found = coded[t]
            for k in range(1, FADE):
                s = t + side * k
                if not 0 <= s < len(video):
                    break
                nearest = coded[s] & ~found
                if nearest.any():
                    lost = given[s].astype(np.float32) - video[s]
                    change = video[t].astype(np.float32) - video[s]
                    w = nearest * (1 - k / FADE) * _still(change) * _still(lost)
                    added += w[..., None] * lost
                    weights += w
                found = found | coded[s]
        if weights.any():
            added /= np.maximum(weights, 1)[..., None]
            faded = np.rint(np.clip(video[t] + added, 0, 255)).astype(np.uint8)
            made[t] = np.where(known[t][..., None], made[t], faded)
    return made


def _still(change: np.ndarray) -> np.ndarray:
    """1 where no channel changes, down to 0 where one does by the threshold."""
    return np.maximum(0, 1 - np.abs(change).max(-1) / MOTION_THRESHOLD)
