"""Where training and sampling place the noise level t in [0, 1] (0 clean, 1 pure noise).

logit-normal:  t = 1 / (1 + exp(-u)),  u ~ N(location, scale)        (arXiv:2403.03206, 3.1)
shift:         t' = s t / (1 + (s - 1) t)                            (arXiv:2403.03206, 5.3.2)
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class NoiseLevels:
    """The distribution of training's noise levels, then shifted; `scale=0` means uniform."""

    location: float = 0.0
    scale: float = 1.0
    shift: float = 1.0

    def draw(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
        """One independent level for each entry."""
        if self.scale == 0:
            return shifted(jax.random.uniform(key, shape), self.shift)
        normal = self.location + self.scale * jax.random.normal(key, shape)
        return shifted(jax.nn.sigmoid(normal), self.shift)


def shifted(noise_level: Float[Array, "*x"], shift: float) -> Float[Array, "*x"]:
    """Moves levels towards noise for shift > 1; keeps 0 and 1."""
    return shift * noise_level / (1 + (shift - 1) * noise_level)


def sampling_levels(steps: int, shift: float = 1.0) -> Float[Array, "{steps}+1"]:
    """Levels from 1 down to 0, evenly spaced before the shift."""
    return shifted(jnp.linspace(1.0, 0.0, steps + 1), shift)
