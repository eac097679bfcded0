"""Samplers: from noise (level 1) to data (level 0), along the probability flow or at random.

All have one signature. They sample packed rows, whose segments may each be at a level of its own:
levels are tables [b, e], and token i of a row is at entry `level_ids[i]`. An entry that stays at
one level leaves its tokens as they are, as those of known patches do.

    Euler:  x_{t'} = x_t + (t' - t) velocity(x_t, t)                       first order
    Heun:   x_{t'} = x_t + (t' - t) (velocity(x_t, t) + velocity(euler, t')) / 2    second order,
            with two velocities a step, but for the last step (arXiv:2206.00364, algorithm 1)
    DPM-Solver++(2M):  x_{t'} = t'/t x_t + ((1 - t') - (1 - t) t'/t) d          second order,
            with one velocity a step (arXiv:2211.01095, algorithm 2), where x0 = x_t - t velocity,
            d = x0 + h / (2 h_before) (x0 - x0_before), and h is the change of log((1 - t) / t); the
            first, the second and the last step, where h or h_before has no bound, have d = x0
    ancestral, for t > t':  x_{t'} is drawn from q(x_{t'} | x_t, x0), as in DDPM (arXiv:2006.11239,
            equations 6 and 7), for the path's x_t = (1 - t) x0 + t eps: with
            a = (1 - t) / (1 - t') and s^2 = t^2 - a^2 t'^2, its mean is
            ((1 - t') s^2 x0 + a t'^2 x_t) / t^2 and its deviation s t' / t; first order. Where
            levels rise from t' to t, noise is added, x_t = a x_{t'} + s z: with
            `noise_levels.timesteps(repeats)` that is RePaint's resampling (arXiv:2201.09865)
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.rows import token_levels

Velocity = Callable[[Float[Array, "b l p"], Float[Array, "b e"]], Float[Array, "b l p"]]
"""The velocity of patches at a table of noise levels."""
Draw = Callable[[Int[Array, ""]], Float[Array, "b l p"]]
"""Standard normal noise for a step, by its number."""


class Sampler(Protocol):
    """What every sampler is called with.

    Args:
      velocity: gives the velocity.
      noise: patches at the first table of levels.
      levels: tables of noise levels, one for each end of a step; all fall from step to step, but
        for `ancestral`.
      level_ids: each token's entry in the tables.
      draw: gives the noise that `ancestral` adds.

    Returns:
      Patches at the last table of levels.
    """

    def __call__(
        self,
        velocity: Velocity,
        noise: Float[Array, "b l p"],
        levels: Float[Array, "levels b e"],
        level_ids: Int[Array, "b l"],
        draw: Draw,
    ) -> Float[Array, "b l p"]: ...


def euler(velocity, noise, levels, level_ids, draw):
    """Euler's method; see `Sampler`."""

    def step(x, ends):
        level, next_level = ends
        return x + token_levels(next_level - level, level_ids) * velocity(x, level), None

    return jax.lax.scan(step, noise, (levels[:-1], levels[1:]))[0]


def heun(velocity, noise, levels, level_ids, draw):
    """Heun's method; see `Sampler`."""

    def step(x, ends):
        level, next_level = ends
        change = token_levels(next_level - level, level_ids)
        slope = velocity(x, level)
        return x + change * (slope + velocity(x + change * slope, next_level)) / 2, None

    x = jax.lax.scan(step, noise, (levels[:-2], levels[1:-1]))[0]
    return euler(velocity, x, levels[-2:], level_ids, draw)


def dpm(velocity, noise, levels, level_ids, draw):
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


def ancestral(velocity, noise, levels, level_ids, draw):
    """Ancestral sampling; see `Sampler`."""

    def fall(x, z, table, level, next_level):
        x0 = x - level * velocity(x, table)
        ratio, variance = _transition(level, next_level)
        square = jnp.where(level > 0, level, 1) ** 2
        mean = (1 - next_level) * variance / square * x0 + ratio * next_level**2 / square * x
        moved = mean + jnp.sqrt(variance / square) * next_level * z
        return jnp.where(next_level < level, moved, x)

    def rise(x, z, table, level, next_level):
        ratio, variance = _transition(next_level, level)
        return ratio * x + jnp.sqrt(variance) * z

    def step(x, number_and_ends):
        number, table, next_table = number_and_ends
        level, next_level = (token_levels(t, level_ids) for t in (table, next_table))
        rises = jnp.any(next_table > table)
        return jax.lax.cond(rises, rise, fall, x, draw(number), table, level, next_level), None

    numbers = jnp.arange(len(levels) - 1)
    return jax.lax.scan(step, noise, (numbers, levels[:-1], levels[1:]))[0]


def _transition(
    level: Float[Array, "b l 1"], lower: Float[Array, "b l 1"]
) -> tuple[Float[Array, "b l 1"], Float[Array, "b l 1"]]:
    """a and s^2 of x_level = a x_lower + s z."""
    ratio = jnp.where(lower < 1, (1 - level) / jnp.where(lower < 1, 1 - lower, 1), 1)
    return ratio, jnp.maximum(level**2 - (ratio * lower) ** 2, 0)


def _log_ratio(level: Float[Array, "b l 1"]) -> Float[Array, "b l 1"]:
    """Logarithm of the shares of data and noise; infinite at both ends."""
    return jnp.log1p(-level) - jnp.log(level)


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "dpm": dpm, "ancestral": ancestral}
"""All samplers by the name that `sora-jax sample --sampler` has."""
