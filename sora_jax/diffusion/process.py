"""Rectified flow (arXiv:2209.03003): how clean data becomes noise.

Noise level t runs from 0 (clean) to 1 (pure noise). With clean x0 and standard normal eps:

    (1)  x_t = (1 - t) x0 + t eps
    (2)  velocity = d x_t / d t = eps - x0

If the data has variance 1, x_t has variance n = (1 - t)^2 + t^2.
"""

from jaxtyping import Array, Float


def corrupt(
    x0: Float[Array, "*x"], eps: Float[Array, "*x"], noise_level: Float[Array, "*#x"]
) -> Float[Array, "*x"]:
    """x_t of equation (1); the noise level, in [0, 1], broadcasts against the data."""
    return (1 - noise_level) * x0 + noise_level * eps


def variance(noise_level: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """The variance n of x_t for data of variance 1."""
    return (1 - noise_level) ** 2 + noise_level**2
