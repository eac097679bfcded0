"""Where a simulator's objects are in the pixels of a video, to mark them on a page."""

import numpy as np
from jaxtyping import Float

from sora_jax.evals.worlds import orbit_truth
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
      The centres; None for the builder, whose player stands in the middle of the picture.
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
    """Centres of the solids in the picture."""
    return np.moveaxis(orbit_truth.project(truth, height, width), 0, 1)


def _find_occlusion(truth, height: int, width: int) -> np.ndarray:
    """Middles of the objects' pictures, also behind the wall."""
    return np.moveaxis(np.asarray(truth["center"], np.float64), 0, 1)


def _find_ball(truth, height: int, width: int) -> np.ndarray:
    """The ball that flies at the target."""
    return np.asarray(truth["ball"], np.float64)[:, None] * min(height, width)


def _find_tip(truth, height: int, width: int) -> np.ndarray:
    """The tip of the brush."""
    return np.asarray(truth["tip"], np.float64)[:, None] * min(height, width)


def _find_eater(truth, height: int, width: int) -> np.ndarray:
    """Centres of the bites that were taken so far."""
    centers = np.asarray(truth["bite_centers"], np.float64) * min(height, width)
    taken = np.arange(len(centers)) < np.asarray(truth["bites"])[:, None]
    return np.where(taken[..., None], centers, np.nan)


_FINDERS = {
    "ballistics": _find_flat,
    "phyworld": _find_phyworld,
    "orbit": _find_orbit,
    "occlusion": _find_occlusion,
    "shatter": _find_ball,
    "painter": _find_tip,
    "eater": _find_eater,
}
