"""Spacetime patches of latents, and rows packed with the patches of several clips.

Patches are flattened in one order, (pt, ph, pw, c), for every use.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Num

from sora_jax.types import PackedBatch

POSITION_RATE = 16.0
"""Temporal positions count latent frames at this many pixel frames per second (Wan's rate)."""


def grid_of(latent_shape: Sequence[int], patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """Patches along time, height and width of latents [t, h, w, ...]."""
    t, h, w = (n // p for n, p in zip(latent_shape[:3], patch, strict=True))
    return t, h, w


def patchify(
    latents: Num[Array | np.ndarray, "t h w c"], patch: tuple[int, int, int]
) -> Num[Array | np.ndarray, "l p"]:
    """Cuts latents into patches, ordered by time, then height, then width.

    Works on JAX and numpy arrays.

    Raises:
      ValueError: a side is no multiple of the patch's.
    """
    t, h, w, c = latents.shape
    pt, ph, pw = patch
    if t % pt or h % ph or w % pw:
        raise ValueError(
            f"latents of {t}x{h}x{w} do not divide into patches of {pt}x{ph}x{pw}: "
            "pad the clip with media.fit_canvas"
        )
    x = latents.reshape(t // pt, pt, h // ph, ph, w // pw, pw, c)
    return x.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, pt * ph * pw * c)


def unpatchify(
    patches: Num[Array | np.ndarray, "l p"], grid: tuple[int, int, int], patch: tuple[int, int, int]
) -> Num[Array | np.ndarray, "t h w c"]:
    """Inverse of `patchify`; `grid` counts patches along time, height and width."""
    (gt, gh, gw), (pt, ph, pw) = grid, patch
    x = patches.reshape(gt, gh, gw, pt, ph, pw, -1)
    return x.transpose(0, 3, 1, 4, 2, 5, 6).reshape(gt * pt, gh * ph, gw * pw, -1)


@dataclasses.dataclass(frozen=True)
class Segment:
    """What a row holds of one clip: patches [l, p], positions [l, 3], text [s], known [l].

    Text may be states [s, d] in place of tokens, in all segments of a row or in none.
    """

    patches: np.ndarray
    positions: np.ndarray
    text: np.ndarray
    known: np.ndarray
    weight: float


def grid_positions(grid: tuple[int, int, int], patch_frames: int, fps: float) -> np.ndarray:
    """Positions (t, h, w) of a grid of patches, float32 [l, 3]; see `PackedBatch.positions`."""
    t, h, w = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid), indexing="ij")
    t = t * patch_frames * POSITION_RATE / fps
    return np.stack([t, h, w], -1).reshape(-1, 3)


def make_segment(
    latent: np.ndarray,
    fps: float,
    text: Sequence[int] | np.ndarray,
    patch: tuple[int, int, int],
    power: float,
) -> Segment:
    """A clip's latent [t, h, w, c], nothing of it known, with its caption's tokens or states."""
    patches, text = np.asarray(patchify(latent.astype(np.float32), patch)), np.asarray(text)
    return Segment(
        patches,
        grid_positions(grid_of(latent.shape, patch), patch[0], fps),
        text if text.ndim == 2 else text.astype(np.int32),
        np.zeros(len(patches), bool),
        len(patches) ** power,
    )


def pack_row(
    segments: list[Segment], capacity: tuple[int, int, int], patch_width: int
) -> PackedBatch:
    """One row (no batch axis) of `capacity` video tokens, text tokens and segments.

    The segments stand in the given order, which must fit; levels are left at 0.
    """
    l, s, g = capacity
    text = segments[0].text if segments else np.zeros(0, np.int32)
    fields: dict[str, Any] = dict(
        patches=np.zeros((l, patch_width), np.float32),
        segment_ids=np.zeros(l, np.int32),
        positions=np.zeros((l, 3), np.float32),
        remaining=np.zeros((l, 3), np.float32),
        known=np.zeros(l, bool),
        levels=np.zeros(g + 1, np.float32),
        level_ids=np.zeros(l, np.int32),
        text=np.zeros((s, *text.shape[1:]), text.dtype),
        text_segment_ids=np.zeros(s, np.int32),
        weights=np.zeros(g, np.float32),
    )
    row = PackedBatch(**fields)
    at, text_at = 0, 0
    for number, segment in enumerate(segments, 1):
        here = slice(at, at := at + len(segment.patches))
        there = slice(text_at, text_at := text_at + len(segment.text))
        row.patches[here], row.positions[here] = segment.patches, segment.positions
        row.remaining[here] = segment.positions.max(0) - segment.positions
        row.segment_ids[here], row.known[here] = number, segment.known
        row.level_ids[here] = np.where(segment.known, 0, number)
        row.text[there], row.text_segment_ids[there] = segment.text, number
        row.weights[number - 1] = segment.weight
    return row
