"""Where training and sampling place the noise level t in [0, 1] (0 clean, 1 pure noise).

logit-normal:  t = 1 / (1 + exp(-u)),  u ~ N(location, scale)        (arXiv:2403.03206, 3.1)
shift:         t' = s t / (1 + (s - 1) t)                            (arXiv:2403.03206, 5.3.2)

The logit-normal in EDM's letters: sigma = t / (1 - t) makes ln sigma = u. So EDM's training
distribution, ln sigma ~ N(-1.2, 1.2^2) (arXiv:2206.00364, table 1), is location -1.2, scale 1.2.

A large clip shows through noise that hides a small one, by the average of its tokens: with
`reference_tokens`, a segment of n tokens has the shift s sqrt(n / reference_tokens) (there,
equation 23).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax.config import check_minimum


@dataclasses.dataclass(frozen=True)
class NoiseLevels:
    """The distribution of training's noise levels, and the shift of those of sampling.

    Attributes:
      location: mean of the logit-normal's logarithm of odds.
      scale: its standard deviation; 0 means levels that are uniform in [0, 1].
      shift: the shift s, above 0; larger values move levels towards noise.
      reference_tokens: size of a segment whose shift is `shift`; 0: all segments have that.
    """

    location: float = 0.0
    scale: float = 1.0
    shift: float = 1.0
    reference_tokens: int = 0

    def __post_init__(self):
        check_minimum(self, scale=0, reference_tokens=0)
        if not self.shift > 0:
            raise ValueError(f"shift is {self.shift}: give it more than 0")

    def shifts(self, sizes: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The shift of segments of these numbers of tokens."""
        if not self.reference_tokens:
            return jnp.full_like(sizes, self.shift)
        return self.shift * jnp.sqrt(jnp.maximum(sizes, 1) / self.reference_tokens)

    def sample(self, key: Array, sizes: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Independent noise levels, one for each segment of these numbers of tokens."""
        if self.scale == 0:
            levels = jax.random.uniform(key, sizes.shape)
        else:
            normal = self.location + self.scale * jax.random.normal(key, sizes.shape)
            levels = jax.nn.sigmoid(normal)
        return shift_noise_level(levels, self.shifts(sizes))


def shift_noise_level(
    noise_level: Float[Array, "*#x"], shift: Float[Array, "*#x"]
) -> Float[Array, "*x"]:
    """Moves levels towards noise for shifts above 1; keeps 0 and 1."""
    # At most 1, which rounding may leave.
    return jnp.minimum(shift * noise_level / (1 + (shift - 1) * noise_level), 1.0)


def timesteps(steps: int, repeats: int = 1) -> Float[Array, "levels"]:
    """Noise levels from 1 down to 0, evenly spaced, before the shift.

    Args:
      repeats: times that each step is made: above 1, levels rise again in between, but from 0.
    """
    order = [0]
    for end in range(1, steps + 1):
        order += [end] + [end - 1, end] * (repeats - 1 if end < steps else 0)
    return jnp.linspace(1.0, 0.0, steps + 1)[np.array(order)]
