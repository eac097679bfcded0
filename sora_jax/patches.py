"""Spacetime patches of latents: cutting a latent video into tokens, and their positions.

Patches are flattened in one order, (pt, ph, pw, c), for every use. An image has one frame.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, Num

POSITIONS_PER_SECOND = 16.0
"""Temporal positions are latent indices times this over the frame rate (Wan 2.1's 16 fps)."""


def patch_grid(latent_shape: Sequence[int], patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """Number of patches along time, height and width of latents [t, h, w, ...]."""
    t, h, w = (n // p for n, p in zip(latent_shape[:3], patch, strict=True))
    return t, h, w


def patchify(
    latents: Num[Array | np.ndarray, "t h w c"], patch: tuple[int, int, int]
) -> Num[Array | np.ndarray, "l p"]:
    """Cuts latents into patches, ordered by time, then height, then width.

    Works on JAX and numpy arrays.

    Raises:
      ValueError: a side is not a multiple of the patch's.
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
    """Inverse of `patchify`; `grid` is the `patch_grid` of the latents."""
    (gt, gh, gw), (pt, ph, pw) = grid, patch
    x = patches.reshape(gt, gh, gw, pt, ph, pw, -1)
    return x.transpose(0, 3, 1, 4, 2, 5, 6).reshape(gt * pt, gh * ph, gw * pw, -1)


def grid_positions(
    grid: tuple[int, int, int], patch_frames: int, fps: float
) -> Float[np.ndarray, "l 3"]:
    """Positions (t, h, w) of the patches of a grid, float32.

    h and w count patches. t is latent index * 16 / fps, so that it keeps its meaning in seconds
    whatever the frame rate, and is Wan 2.1's at 16 fps.
    """
    t, h, w = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid), indexing="ij")
    t = t * patch_frames * POSITIONS_PER_SECOND / fps
    return np.stack([t, h, w], -1).reshape(-1, 3)
