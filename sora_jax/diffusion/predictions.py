"""What a model may predict of noisy data, and how each prediction gives the velocity.

In the letters of `diffusion.process`, with n the variance of x_t:

    velocity = eps - x0
    v        = (1 - t) eps - t x0                     (arXiv:2202.00512, unnormalised)
    edm      = -v / sqrt(n)

so that x_t and any one prediction give the velocity:

    velocity = (eps - x_t) / (1 - t) = (x_t - x0) / t = ((2 t - 1) x_t + v) / n

`edm` is the preconditioning of arXiv:2206.00364 (table 1), where x = x0 + sigma eps with
sigma = t / (1 - t), so that x_t = (1 - t) x. With sigma_data = 1 its denoiser is

    D = c_skip x + c_out F(c_in x) = x / (1 + sigma^2) + sigma F(...) / sqrt(1 + sigma^2)
      = (1 - t) x_t / n + t F(x_t / sqrt(n)) / sqrt(n)

and F is `edm`, of variance 1. Two things differ there: the network's embedding sees ln(sigma) / 4,
ours 1000 t; the sampler steps along sigma. Its noise levels are in `diffusion.noise_levels`, its
loss is that of `DiffusionExperiment.velocity_loss` = False.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from sora_jax.diffusion.process import variance

MIN_DIVISOR = 0.05
"""Lower bound of divisors (arXiv:2511.13720): at level 1, eps says nothing of x0."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One kind of prediction; all arrays broadcast against the data.

    Attributes:
      target: (x0, eps, noise level) -> what the model should return.
      to_velocity: (output, x_t, noise level) -> the velocity that the model's output stands for.
      loss_scale: noise level -> |d velocity / d output|: an error of the output times this is the
        velocity's error.
      input_scale: noise level -> factor of x_t before the model sees it; 1 at level 0.
    """

    target: Callable[[Array, Array, Array], Array]
    to_velocity: Callable[[Array, Array, Array], Array]
    loss_scale: Callable[[Array], Array]
    input_scale: Callable[[Array], Array] = jnp.ones_like


PREDICTIONS = {
    "velocity": Prediction(
        target=lambda x0, eps, t: eps - x0,
        to_velocity=lambda output, x_t, t: output,
        loss_scale=jnp.ones_like,
    ),
    "x0": Prediction(
        target=lambda x0, eps, t: x0,
        # At level 0 nothing moves, whatever the velocity.
        to_velocity=lambda output, x_t, t: (x_t - output) / jnp.maximum(t, 1e-6),
        # Bounded, or the loss would be that of the lowest levels alone.
        loss_scale=lambda t: 1 / jnp.maximum(t, MIN_DIVISOR),
    ),
    "eps": Prediction(
        target=lambda x0, eps, t: eps,
        to_velocity=lambda output, x_t, t: (output - x_t) / jnp.maximum(1 - t, MIN_DIVISOR),
        loss_scale=lambda t: 1 / jnp.maximum(1 - t, MIN_DIVISOR),
    ),
    "v": Prediction(
        target=lambda x0, eps, t: (1 - t) * eps - t * x0,
        to_velocity=lambda output, x_t, t: ((2 * t - 1) * x_t + output) / variance(t),
        loss_scale=lambda t: 1 / variance(t),
    ),
    "edm": Prediction(
        target=lambda x0, eps, t: -((1 - t) * eps - t * x0) / jnp.sqrt(variance(t)),
        to_velocity=lambda output, x_t, t: (
            (2 * t - 1) * x_t / variance(t) - output / jnp.sqrt(variance(t))
        ),
        loss_scale=lambda t: 1 / jnp.sqrt(variance(t)),
        input_scale=lambda t: 1 / jnp.sqrt(variance(t)),
    ),
}
"""All predictions by the name that `config.prediction` has."""
