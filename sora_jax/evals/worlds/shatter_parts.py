"""What a video of the shattering world shows in one colour, as components frame by frame.

Lengths are in units of `sora_jax.laws.shatter`, y down.
"""

import dataclasses
import functools

import numpy as np

from sora_jax.evals.worlds.tracking import cut_out, find_components


@dataclasses.dataclass(frozen=True)
class Part:
    """What a video shows in one colour.

    Attributes:
      share: [t, h, w], share of each pixel that it covers, of components of `MIN_AREA` pixels.
      centers: for each frame the centres [n, 2] of its components, largest first.
      areas: for each frame their areas [n], units^2.
      cut: bool[t], whether the largest one touches the frame's edge.
    """

    share: np.ndarray
    centers: list[np.ndarray]
    areas: list[np.ndarray]
    cut: np.ndarray

    @functools.cached_property
    def count(self) -> np.ndarray:
        """Number of components, [t]."""
        return np.array([len(areas) for areas in self.areas])

    @functools.cached_property
    def area(self) -> np.ndarray:
        """Area of all components, [t], units^2."""
        return np.array([areas.sum() for areas in self.areas])

    @functools.cached_property
    def middle(self) -> np.ndarray:
        """Centre of all components together, [t, 2]; nan without any."""
        middle = np.full((len(self.areas), 2), np.nan)
        for t, (centers, areas) in enumerate(zip(self.centers, self.areas, strict=True)):
            if len(areas):
                middle[t] = (centers * areas[:, None]).sum(0) / areas.sum()
        return middle


def find_parts(share: np.ndarray, unit: float) -> Part:
    """Finds the components of a colour that covers share[t, h, w], `unit` pixels a unit."""
    kept = np.zeros_like(share)
    centers, areas, cut = [], [], np.zeros(len(share), bool)
    for t, frame in enumerate(share):
        corner, part = cut_out(frame)
        components = find_components(part)
        for component in components:
            top, left = corner[1], corner[0]
            kept[t, top : top + part.shape[0], left : left + part.shape[1]] += component.coverage
        centers.append(np.array([c.center + corner for c in components]).reshape(-1, 2) / unit)
        areas.append(np.array([c.area for c in components]) / unit**2)
        cut[t] = bool(components) and components[0].cut
    return Part(kept, centers, areas, cut)
