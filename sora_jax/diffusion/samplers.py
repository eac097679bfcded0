"""Samplers: integration of the probability flow from noise (level 1) to data (level 0).

All have one signature. They integrate packed rows, whose segments may each be at a level of its
own: levels are tables [b, e], and token i of a row is at entry `level_ids[i]`. An entry that stays
at one level leaves its tokens as they are, as those of known patches do.

    Euler:  x_{t'} = x_t + (t' - t) velocity(x_t, t)                       first order
    Heun:   x_{t'} = x_t + (t' - t) (velocity(x_t, t) + velocity(euler, t')) / 2    second order,
            with two velocities a step, but for the last step (arXiv:2206.00364, algorithm 1)
    DPM-Solver++(2M):  x_{t'} = t'/t x_t + ((1 - t') - (1 - t) t'/t) d          second order,
            with one velocity a step (arXiv:2211.01095, algorithm 2), where x0 = x_t - t velocity,
            d = x0 + h / (2 h_before) (x0 - x0_before), and h is the change of log((1 - t) / t); the
            first and the last step, where h has no bound, have d = x0
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.rows import token_levels

Velocity = Callable[[Float[Array, "b l p"], Float[Array, "b e"]], Float[Array, "b l p"]]
"""The velocity of patches at a table of noise levels."""


class Sampler(Protocol):
    """What every sampler is called with.

    Args:
      velocity: gives the velocity.
      noise: patches at the first table of levels.
      levels: tables of falling noise levels, one for each end of a step.
      level_ids: each token's entry in the tables.

    Returns:
      Patches at the last table of levels.
    """

    def __call__(
        self,
        velocity: Velocity,
        noise: Float[Array, "b l p"],
        levels: Float[Array, "levels b e"],
        level_ids: Int[Array, "b l"],
    ) -> Float[Array, "b l p"]: ...


def euler(velocity, noise, levels, level_ids):
    """Euler's method; see `Sampler`."""

    def step(x, ends):
        level, next_level = ends
        return x + token_levels(next_level - level, level_ids) * velocity(x, level), None

    return jax.lax.scan(step, noise, (levels[:-1], levels[1:]))[0]


def heun(velocity, noise, levels, level_ids):
    """Heun's method; see `Sampler`."""

    def step(x, ends):
        level, next_level = ends
        change = token_levels(next_level - level, level_ids)
        slope = velocity(x, level)
        return x + change * (slope + velocity(x + change * slope, next_level)) / 2, None

    x = jax.lax.scan(step, noise, (levels[:-2], levels[1:-1]))[0]
    return euler(velocity, x, levels[-2:], level_ids)


def dpm(velocity, noise, levels, level_ids):
    """DPM-Solver++(2M); see `Sampler`."""

    def step(carry, ends):
        x, x0_before, change_before = carry
        level, next_level = (token_levels(table, level_ids) for table in ends)
        x0 = x - level * velocity(x, ends[0])
        change = _log_ratio(next_level) - _log_ratio(level)
        bounded = jnp.isfinite(change) & jnp.isfinite(change_before)
        slope = jnp.where(bounded, change / (2 * change_before), 0)
        ratio = jnp.where(level > 0, next_level / level, 1)
        ahead = x0 + slope * (x0 - x0_before)
        x = ratio * x + ((1 - next_level) - (1 - level) * ratio) * ahead
        return (x, x0, change), None

    level = token_levels(levels[0], level_ids)
    start = noise, jnp.zeros_like(noise * level), jnp.full_like(level, jnp.inf)
    return jax.lax.scan(step, start, (levels[:-1], levels[1:]))[0][0]


def _log_ratio(level: Float[Array, "b l 1"]) -> Float[Array, "b l 1"]:
    """Logarithm of the shares of data and noise; infinite at both ends."""
    return jnp.log1p(-level) - jnp.log(level)


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "dpm": dpm}
"""All samplers by the name that `sora-jax sample --sampler` has."""


def classifier_free_guidance(
    conditional: Float[Array, "*x"], unconditional: Float[Array, "*x"], scale: float | Array
) -> Float[Array, "*x"]:
    """Velocities moved away from those without a caption (arXiv:2207.12598); scale 1 means none."""
    return unconditional + scale * (conditional - unconditional)
