"""Fits the laws' path, one speed and turns at known ends, to how far a camera has come."""

import dataclasses
import math

import numpy as np

from sora_jax.laws import orbit as laws


@dataclasses.dataclass(frozen=True)
class Path:
    """A path of one speed that turns round at the laws' ends, fitted to u.

    Attributes:
      rate: u a second, signed; degrees or units.
      u: [t], the path from its start, degrees or units, absolute.
      misses: [t], absolute difference of u from the path, 0 where u was not measured.
    """

    rate: float
    u: np.ndarray
    misses: np.ndarray


def fit_path(motion: str, u: np.ndarray, known: np.ndarray, fps: float, distance: float) -> Path:
    """Fits the speed and the start of the laws' path to u, by least absolute differences.

    Args:
      motion: one of `laws.MOTIONS`.
      u: [t], relative to the first frame; degrees or units.
      known: bool[t], the frames whose u was measured; the others do not count.
      fps: frames per second.
      distance: the camera's middle distance to the target.
    """
    times = np.arange(len(u)) / fps
    slowest = laws.SPEEDS[motion]["slow"][0] / 4
    fastest = laws.SPEEDS[motion]["very quick"][1] * 2.2
    low, high = laws.path_ends(motion, distance)
    starts = np.array([0.0]) if math.isinf(high) else np.linspace(low, high, 31)

    def paths(starts, rates):
        free = starts[:, None, None] + rates[:, None] * times
        return laws.follow_path(free, low, high)

    def misses(path):
        difference = (u - path)[..., known]
        return np.abs(difference - np.median(difference, -1)[..., None])

    if not known.any():
        return Path(0.0, 0 * u, 0 * u)
    rates = np.geomspace(slowest, fastest, 60)
    rates = np.concatenate([-rates, [0.0], rates])
    best_start, best_rate = 0.0, 0.0
    spread_start = 0.0 if math.isinf(high) else (high - low) / 30
    for zoom in range(4):
        if zoom:
            width = 1 + 0.09 / 3 ** (zoom - 1)
            rates = best_rate * np.geomspace(1 / width, width, 17)
            reach = spread_start * np.linspace(-1, 1, 13) / 3 ** (zoom - 1)
            starts = np.clip(best_start + reach, low, high) if spread_start else starts
        all_paths = paths(starts, rates)
        total = misses(all_paths).mean(-1)
        i, j = np.unravel_index(total.argmin(), total.shape)
        best_start, best_rate = starts[i], rates[j]
    path = paths(np.array([best_start]), np.array([best_rate]))[0, 0]
    all_misses = np.zeros(len(u))
    all_misses[known] = misses(path)
    return Path(float(best_rate), path, all_misses)
