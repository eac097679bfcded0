"""Reads the pixels of a video of the shattering world: the ball, the target and its pieces.

Every pixel is the background, or lies between it and one colour of the scene (the ball's, the
target's, the stand's, the floor's): the nearest of the lines from the background to these colours
says which, and where on it, the covered share of the pixel. What is far from all lines is strange.
Nothing is read below the floor's surface.
"""

import math

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.evals.worlds.morphology import find_blots, label_parts
from sora_jax.evals.worlds.shatter_parts import find_parts
from sora_jax.evals.worlds.shatter_reading import Reading
from sora_jax.evals.worlds.tracking import MIN_AREA, TOLERANCE
from sora_jax.laws import shatter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS

LEVELS = 10.0  # of 0..441: pixels as near to the background count as it
GROUND = 40.0  # levels of a channel: pixels of the background, also if it flickers
STAND_MARGIN = 0.06  # units above the highest stand, within which its edge may be
RAISED = 0.03  # units above the floor, to which a floor that is not level reaches
OTHER = 45.0  # of 0..441: largest distance of a pixel from a colour that has no place in the clip


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video uint8[t, h, w, 3], see `base`; a short one stands still at its end."""
    frames, attributes = len(expected.truth["ball"]), expected.attributes
    video = video[np.minimum(np.arange(frames), len(video) - 1)]
    height, width = video.shape[1:3]
    unit = float(min(height, width))
    target_color = attributes["target_color"]
    background = np.array(BACKGROUNDS[attributes["background"]], np.float32)
    colors = [
        COLORS[attributes["color"]],
        laws.GLASS if target_color == "glass" else COLORS[target_color],
        laws.STAND_COLOR,
        laws.FLOOR_COLOR,
    ]
    offset = video.reshape(-1, 3).astype(np.float32) - background
    far = np.flatnonzero(_square(offset) > LEVELS**2)
    away, shares, distances = offset[far], [], []
    for color in colors:
        axis = np.array(color, np.float32) - background
        share = np.clip(away @ axis / (axis @ axis), 0, 1)
        distances.append(np.sqrt(_square(away - share[:, None] * axis)))
        shares.append(share)
    nearest, least = np.argmin(distances, 0), np.min(distances, 0)
    on_line = least <= TOLERANCE
    floor = math.ceil(height - laws.FLOOR * unit - 0.5)
    parts = []
    for k in (0, 1):
        share = np.zeros(len(offset), np.float32)
        own = on_line & (nearest == k)
        share[far[own]] = shares[k][own]
        share = share.reshape(video.shape[:3])
        share[:, floor:] = 0
        parts.append(find_parts(share, unit))
    strange = np.zeros(len(offset), bool)
    strange[far[~on_line]] = True
    # Wood that is higher than any stand belongs to nothing.
    odd = np.zeros(len(offset), bool)
    odd[far] = ~on_line | (nearest >= 2)
    odd = odd.reshape(video.shape[:3])
    stands = floor - math.ceil((laws.STAND_HEIGHTS[1] + STAND_MARGIN) * unit)
    odd[:, stands:] = strange.reshape(video.shape[:3])[:, stands:]
    raised = max(floor - max(round(RAISED * unit), 2), 0)
    wood = np.abs(video[:, raised:] - np.array(laws.FLOOR_COLOR, np.int16)).max(-1) < GROUND
    ledge, wood = wood[:, : floor - raised].all(1).mean(1), wood[:, floor - raised :]
    near = np.all(np.abs(offset) < GROUND, axis=1).reshape(video.shape[:3])
    return Reading(
        expected=expected,
        size=(width / unit, height / unit),
        unit=unit,
        ball=parts[0],
        target=parts[1],
        strange=strange.reshape(frames, -1).mean(1),
        others=_find_others(video, offset, far, background, attributes, unit),
        ground=near[:, :floor].mean((1, 2)),
        base=wood.mean((1, 2)),
        ledge=ledge,
        changes=_measure_changes(video, near),
        video=video,
        blots=find_blots(odd[:, :floor]),
    )


def _find_others(video, offset, far, background, attributes, unit) -> np.ndarray:
    """Says in which frames another colour of the palette covers a third of a small ball."""
    own = {attributes["color"], attributes["target_color"]}
    pixels, height, width = offset[far] + background, *video.shape[1:3]
    mask = np.zeros(len(offset), bool)
    for name, color in COLORS.items():
        if name not in own:
            mask[far] |= _square(pixels - np.array(color, np.float32)) < OTHER**2
    needed = max(math.pi * (laws.RADII[0] * unit) ** 2 / 3, MIN_AREA)
    found = np.zeros(len(video), bool)
    masks = mask.reshape(len(video), height, width)
    for t in np.flatnonzero(masks.sum((1, 2)) >= needed):
        labels, _ = label_parts(masks[t])
        found[t] = np.bincount(labels.ravel())[1:].max() >= needed
    return found


def _measure_changes(video: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Measures the mean change, [t - 1], of pixels that are `near` the background; 255 for none."""
    both = near[1:] & near[:-1]
    pairs = np.abs(np.diff(video.astype(np.int16), axis=0))
    change = np.einsum("thwc,thw->t", pairs, both, dtype=np.float32) / 3
    count = both.sum((1, 2))
    return np.where(count > 0, change / np.maximum(count, 1), 255.0)


def _square(vectors: np.ndarray) -> np.ndarray:
    """Returns the squared length of vectors [n, 3]."""
    return np.einsum("ij,ij->i", vectors, vectors)
