"""Rectified flow (arXiv:2209.03003) and the predictions a model may make.

Noise level t runs from 0 (clean) to 1 (pure noise). With clean x0 and standard normal eps:

    (1)  x_t = (1 - t) x0 + t eps
    (2)  velocity = d x_t / d t = eps - x0
    (3)  v = (1 - t) eps - t x0                     (arXiv:2202.00512, unnormalised)
    (4)  edm = -v / sqrt(n),    n = (1 - t)^2 + t^2

so that from x_t and any one of velocity, x0, eps, v the others follow:

    x0 = x_t - t velocity      = (x_t - t eps) / (1 - t)      = ((1 - t) x_t - t v) / n
    velocity = (x_t - x0) / t                                 = ((2 t - 1) x_t + v) / n

Of normalised data, x_t has variance n and `edm` variance 1. It is the preconditioning of
arXiv:2206.00364 (table 1), where x = x0 + sigma eps with sigma = t / (1 - t), so x_t = (1 - t) x:
with sigma_data = 1 its denoiser is

    D = c_skip x + c_out F(c_in x) = x / (1 + sigma^2) + sigma F(...) / sqrt(1 + sigma^2)
      = (1 - t) x_t / n + t F(x_t / sqrt(n)) / sqrt(n)

and F is `edm`. Two things differ there: the network's embedding sees ln(sigma) / 4, ours 1000 t;
the sampler steps along sigma. Its noise levels are in `noise_levels`, its loss is that of
`config.DiffusionExperiment.velocity_loss` = False.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

MIN_DIVISOR = 0.05
"""Divisors are kept at least this large (arXiv:2511.13720): at level 1 eps says nothing of x0."""

PREDICTIONS = ("velocity", "x0", "eps", "v", "edm")


def variance(noise_level: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """n: the variance of x_t where that of x0 is 1."""
    return (1 - noise_level) ** 2 + noise_level**2


def corrupt(x0: Float[Array, "*x"], eps: Float[Array, "*x"], noise_level: Float[Array, "*#x"]):
    """Equation (1); `noise_level` in [0, 1] broadcasts against the data."""
    return (1 - noise_level) * x0 + noise_level * eps


def input_scale(prediction: str, noise_level: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """What x_t is multiplied by before the model sees it; 1 at level 0."""
    if prediction == "edm":
        return 1 / jnp.sqrt(variance(noise_level))
    return jnp.ones_like(noise_level)


def target(
    prediction: str,
    x0: Float[Array, "*x"],
    eps: Float[Array, "*x"],
    noise_level: Float[Array, "*#x"],
) -> Float[Array, "*x"]:
    """What a model with this kind of prediction should return."""
    match prediction:
        case "velocity":
            return eps - x0
        case "x0":
            return x0
        case "eps":
            return eps
        case "v":
            return (1 - noise_level) * eps - noise_level * x0
        case "edm":
            v = (1 - noise_level) * eps - noise_level * x0
            return -v / jnp.sqrt(variance(noise_level))
    raise ValueError(f"unknown prediction {prediction!r}: choose one of {', '.join(PREDICTIONS)}")


def to_x0(
    prediction: str,
    output: Float[Array, "*x"],
    x_t: Float[Array, "*x"],
    noise_level: Float[Array, "*#x"],
) -> Float[Array, "*x"]:
    """The clean data that a model's output stands for."""
    match prediction:
        case "velocity":
            return x_t - noise_level * output
        case "x0":
            return output
        case "eps":
            return (x_t - noise_level * output) / jnp.maximum(1 - noise_level, MIN_DIVISOR)
        case "v":
            return ((1 - noise_level) * x_t - noise_level * output) / variance(noise_level)
        case "edm":
            n = variance(noise_level)
            return (1 - noise_level) * x_t / n + noise_level * output / jnp.sqrt(n)
    raise ValueError(f"unknown prediction {prediction!r}: choose one of {', '.join(PREDICTIONS)}")


def to_velocity(
    prediction: str,
    output: Float[Array, "*x"],
    x_t: Float[Array, "*x"],
    noise_level: Float[Array, "*#x"],
) -> Float[Array, "*x"]:
    """Equation (2) from a model's output."""
    n = variance(noise_level)
    match prediction:
        case "velocity":
            return output
        case "v":
            return ((2 * noise_level - 1) * x_t + output) / n
        case "edm":
            return (2 * noise_level - 1) * x_t / n - output / jnp.sqrt(n)
        case "eps":
            return (output - x_t) / jnp.maximum(1 - noise_level, MIN_DIVISOR)
        case "x0":  # at level 0 nothing moves, whatever the velocity
            return (x_t - output) / jnp.maximum(noise_level, 1e-6)
    raise ValueError(f"unknown prediction {prediction!r}: choose one of {', '.join(PREDICTIONS)}")


def velocity_scale(prediction: str, noise_level: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """|d velocity / d output|: an error of the output times this is the velocity's error.

    For `x0` it stops growing below level `MIN_DIVISOR`, so that no loss is of these levels alone.
    """
    match prediction:
        case "velocity":
            return jnp.ones_like(noise_level)
        case "x0":
            return 1 / jnp.maximum(noise_level, MIN_DIVISOR)
        case "eps":
            return 1 / jnp.maximum(1 - noise_level, MIN_DIVISOR)
        case "v":
            return 1 / variance(noise_level)
        case "edm":
            return 1 / jnp.sqrt(variance(noise_level))
    raise ValueError(f"unknown prediction {prediction!r}: choose one of {', '.join(PREDICTIONS)}")
