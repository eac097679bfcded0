"""Where training and sampling place the noise level t in [0, 1] (0 clean, 1 pure noise).

logit-normal:  t = 1 / (1 + exp(-u)),  u ~ N(location, scale)        (arXiv:2403.03206, 3.1)
shift:         t' = s t / (1 + (s - 1) t)                            (arXiv:2403.03206, 5.3.2)

The logit-normal in EDM's letters: sigma = t / (1 - t) makes ln sigma = u. So EDM's training
distribution, ln sigma ~ N(-1.2, 1.2^2) (arXiv:2206.00364, table 1), is location -1.2, scale 1.2.

A large clip shows through noise that hides a small one, by the average of its tokens: with `tokens`
a segment of n of them has the shift s sqrt(n / tokens) (there, equation 23).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class NoiseLevels:
    """The distribution of training's noise levels, then shifted; `scale=0` means uniform.

    Attributes:
      tokens: size of a segment whose shift is `shift`; 0: all segments have that.
    """

    location: float = 0.0
    scale: float = 1.0
    shift: float = 1.0
    tokens: int = 0

    def shifts(self, sizes: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The shift of segments of so many tokens."""
        if not self.tokens:
            return jnp.full_like(sizes, self.shift)
        return self.shift * jnp.sqrt(jnp.maximum(sizes, 1) / self.tokens)

    def draw(self, key: Array, sizes: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """One independent level for each segment, of so many tokens."""
        if self.scale == 0:
            drawn = jax.random.uniform(key, sizes.shape)
        else:
            normal = self.location + self.scale * jax.random.normal(key, sizes.shape)
            drawn = jax.nn.sigmoid(normal)
        return shifted(drawn, self.shifts(sizes))


def shifted(
    noise_level: Float[Array, "*#x"] | Float[Array, ""], shift: Float[Array, "*#x"] | float
) -> Float[Array, "*x"]:
    """Moves levels towards noise for shift > 1; keeps 0 and 1."""
    return shift * noise_level / (1 + (shift - 1) * noise_level)


def timesteps(steps: int) -> Float[Array, "{steps}+1"]:
    """Levels from 1 down to 0, evenly spaced, before the shift."""
    return jnp.linspace(1.0, 0.0, steps + 1)
