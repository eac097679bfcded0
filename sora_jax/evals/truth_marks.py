"""Where a simulator's objects are in the pixels of a video, to mark them on a page."""

import numpy as np
from jaxtyping import Float

from sora_jax.evals.worlds.base import Expected
from sora_jax.laws import phyworld


def find_marks(
    world: str, expected: Expected, height: int, width: int
) -> Float[np.ndarray, "t n 2"] | None:
    """The true centres (x, y) in pixels of a clip's objects, nan where out of the frame.

    Args:
      world: name of the world.
      expected: the clip's truth.
      height, width: of the video in pixels.

    Returns:
      The centres; None for worlds whose truth has no positions in the picture.
    """
    find = _FINDERS.get(world)
    points = find(expected.truth, height, width) if find else None
    if points is None:
        return None
    inside = ((points >= 0) & (points < (width, height))).all(-1, keepdims=True)
    return np.where(inside, points, np.nan)


def _find_flat(truth, height: int, width: int) -> np.ndarray:
    """Positions in units of the short side."""
    return np.asarray(truth["position"], np.float64) * min(height, width)


def _find_phyworld(truth, height: int, width: int) -> np.ndarray:
    """Positions in a square in the middle, y up; see equation 1 of `laws.phyworld`."""
    side = min(height, width)
    position = np.asarray(truth["position"], np.float64) * (side - 1) / phyworld.SIDE
    corner = np.array([(width - side) // 2, (height - side) // 2])
    x, y = position[..., 0], side - 1 - position[..., 1]
    return np.stack([x, y], -1) + 0.5 + corner


def _find_orbit(truth, height: int, width: int) -> np.ndarray:
    """Centres of solids through the pinhole camera; see `data_pipelines.worlds.orbit`."""
    pose, k = (np.asarray(truth[name], np.float64) for name in ("pose", "intrinsics"))
    offset = np.asarray(truth["positions"], np.float64) - pose[:, None, :3, 3]
    seen = np.einsum("tji,tnj->tni", pose[:, :3, :3], offset)  # the camera looks along -z
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.stack([seen[..., 0], -seen[..., 1]], -1) / -seen[..., 2:]
    pixels = flat * np.diag(k)[:2] + k[:2, 2]
    return np.where(seen[..., 2:] < 0, pixels, np.nan)


def _find_eater(truth, height: int, width: int) -> np.ndarray:
    """Centres of the bites that were taken so far."""
    centers = np.asarray(truth["bite_centers"], np.float64) * min(height, width)
    taken = np.arange(len(centers)) < np.asarray(truth["bites"])[:, None]
    return np.where(taken[..., None], centers, np.nan)


_FINDERS = {
    "ballistics": _find_flat,
    "phyworld": _find_phyworld,
    "orbit": _find_orbit,
    "eater": _find_eater,
}
