"""Integration of the probability flow from noise (level 1) to data (level 0).

Euler:  x_{t'} = x_t + (t' - t) velocity(x_t, t),   first order in the step
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float


def euler(
    velocity: Callable[[Array, Array], Array],
    noise: Float[Array, "*x"],
    noise_levels: Float[Array, "levels"],
    at: Callable[[Array], Array] = lambda level: level,
) -> Float[Array, "*x"]:
    """Integrates `velocity(x, noise_level)` along falling levels, the first one `noise`'s.

    Args:
      at: a level to those of the single numbers of x, where they differ.
    """

    def step(x, levels):
        level, following = levels
        return x + (at(following) - at(level)) * velocity(x, level), None

    return jax.lax.scan(step, noise, (noise_levels[:-1], noise_levels[1:]))[0]


def classifier_free_guidance(
    conditional: Float[Array, "*x"], unconditional: Float[Array, "*x"], scale: float | Array
):
    """Classifier-free guidance (arXiv:2207.12598); scale 1 means none."""
    return unconditional + scale * (conditional - unconditional)
