"""What stands beside an autoencoder's network and is data, not parameters.

Principal axes, the best linear autoencoder of the pixels behind each latent, and the running
statistics by which latents are normalised.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax.sharding import P


def space_to_depth(
    pixels: Float[Array, "b t h w c"], temporal: int, spatial: int, first: bool = True
) -> Float[Array, "b u y x n"]:
    """The n = temporal * spatial^2 * c numbers behind each latent, in the order (t, h, w, c).

    The first frame of a clip stands alone: it fills its cell `temporal` times over. `first` is
    False for a chunk that goes on with a clip.
    """
    if first:
        pixels = jnp.concatenate([jnp.repeat(pixels[:, :1], temporal, 1), pixels[:, 1:]], 1)
    b, t, h, w, c = pixels.shape
    u, y, x = t // temporal, h // spatial, w // spatial
    cells = pixels.reshape(b, u, temporal, y, spatial, x, spatial, c)
    return cells.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, u, y, x, -1)


def depth_to_space(
    cells: Float[Array, "b u y x n"], temporal: int, spatial: int, first: bool = True
) -> Float[Array, "b t h w c"]:
    """Inverse of `space_to_depth`."""
    b, u, y, x, _ = cells.shape
    cells = cells.reshape(b, u, y, x, temporal, spatial, spatial, -1)
    pixels = cells.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    pixels = pixels.reshape(b, u * temporal, y * spatial, x * spatial, -1)
    return pixels[:, temporal - 1 :] if first else pixels


class PrincipalAxes(NamedTuple):
    """The best linear autoencoder of cells (Karhunen-Loeve transform), beside the network.

    With the second moments of cells = V diag(s) V', the columns of `encoder` are v_i / sqrt(s_i)
    and those of `decoder` v_i sqrt(s_i) for the largest s_i, so that latents have unit scale. The
    network learns what they miss, as in residual autoencoding (arXiv:2410.10733). Like
    `LatentStatistics` they are data, not parameters.
    """

    encoder: Float[Array, "n c"]
    decoder: Float[Array, "n c"]

    @classmethod
    def fit(cls, moments: Float[np.ndarray, "n n"], channels: int) -> "PrincipalAxes":
        """From the second moments E[x x'] of cells."""
        values, vectors = np.linalg.eigh(moments)
        values, vectors = values[::-1][:channels], vectors[:, ::-1][:, :channels]
        scale = np.sqrt(np.maximum(values, 1e-6))
        return cls(jnp.float32(vectors / scale), jnp.float32(vectors * scale))

    def encode(
        self, pixels: Float[Array, "b t h w 3"], temporal: int, spatial: int, first: bool = True
    ) -> Float[Array, "b u y x c"]:
        """Coefficients of each cell."""
        cells = space_to_depth(pixels, temporal, spatial, first)
        return jnp.einsum("buyxn,nc->buyxc", cells, self.encoder)

    def decode(
        self, latents: Float[Array, "b u y x c"], temporal: int, spatial: int, first: bool = True
    ) -> Float[Array, "b t h w 3"]:
        """Pixels of coefficients."""
        cells = jnp.einsum("buyxc,nc->buyxn", latents, self.decoder)
        return depth_to_space(cells, temporal, spatial, first)


class LatentStatistics(NamedTuple):
    """Mean and variance of each latent channel over data; data, not parameters."""

    mean: Float[Array, "c"]
    variance: Float[Array, "c"]

    @classmethod
    def initial(cls, channels: int) -> "LatentStatistics":
        """Mean 0 and deviation 1."""
        return cls(
            jnp.zeros(channels, out_sharding=P(None)), jnp.ones(channels, out_sharding=P(None))
        )

    def update(self, mean: Float[Array, "b t h w c"], rate: float) -> "LatentStatistics":
        """The statistics of a mixture: a share `rate` of it is a batch of posterior means.

        A mean square in float32 would lose deviations far below the mean, so, with r the rate,

            variance = (1 - r) variance + r variance_batch + r (1 - r) (mean_batch - mean)^2.
        """
        mean = mean.reshape(-1, mean.shape[-1])
        moved, spread = mean.mean(0) - self.mean, mean.var(0)
        between = rate * (1 - rate) * moved**2
        variance = self.variance + rate * (spread - self.variance) + between
        return LatentStatistics(self.mean + rate * moved, variance)

    def normalise(self, latents: Float[Array, "*b t h w c"]) -> Float[Array, "*b t h w c"]:
        """To mean 0 and deviation 1 per channel."""
        m, s = self._broadcast(latents.ndim)
        return (latents - m) / s

    def restore(self, latents: Float[Array, "*b t h w c"]) -> Float[Array, "*b t h w c"]:
        """Inverse of `normalise`."""
        m, s = self._broadcast(latents.ndim)
        return latents * s + m

    def _broadcast(self, ndim: int):
        deviation = jnp.sqrt(jnp.maximum(self.variance, 1e-8))
        return (jnp.expand_dims(a, tuple(range(ndim - 1))) for a in (self.mean, deviation))
