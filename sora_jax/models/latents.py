"""Cells and latents of the autoencoders; their non-trained state: principal axes and statistics.

Axes and statistics are fitted to data and stored as data: as parameters they would be trained. The
pixels of one latent, n = temporal * spatial^2 * c numbers, are called its cell; `b u y x` are the
sizes of latents where `b t h w` are those of pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax.sharding import P


def space_to_depth(
    pixels: Float[Array, "b t h w c"], temporal: int, spatial: int, is_first_chunk: bool = True
) -> Float[Array, "b u y x n"]:
    """Gathers the pixels of each latent in one vector, in the order (t, h, w, c).

    Args:
      temporal, spatial: frames and side, in pixels, of a latent.
      is_first_chunk: the first frame begins the clip; it is repeated `temporal` times, as it has a
        latent frame of its own.
    """
    if is_first_chunk:
        pixels = jnp.concatenate([jnp.repeat(pixels[:, :1], temporal, 1), pixels[:, 1:]], 1)
    b, t, h, w, c = pixels.shape
    u, y, x = t // temporal, h // spatial, w // spatial
    cells = pixels.reshape(b, u, temporal, y, spatial, x, spatial, c)
    return cells.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, u, y, x, -1)


def depth_to_space(
    cells: Float[Array, "b u y x n"], temporal: int, spatial: int, is_first_chunk: bool = True
) -> Float[Array, "b t h w c"]:
    """Inverse of `space_to_depth`."""
    b, u, y, x, _ = cells.shape
    cells = cells.reshape(b, u, y, x, temporal, spatial, spatial, -1)
    pixels = cells.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    pixels = pixels.reshape(b, u * temporal, y * spatial, x * spatial, -1)
    return pixels[:, temporal - 1 :] if is_first_chunk else pixels


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents that are not normalised per channel."""

    mean: Float[Array, "b t h w c"]
    log_variance: Float[Array, "b t h w c"]

    def sample(self, key: Array) -> Float[Array, "b t h w c"]:
        """mean + deviation * standard normal noise."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise

    def kl(self) -> Float[Array, "b t h w c"]:
        """KL divergence of each latent from the standard normal, in nats (arXiv:1312.6114, B)."""
        return 0.5 * (self.mean**2 + jnp.exp(self.log_variance) - 1 - self.log_variance)


class PrincipalAxes(NamedTuple):
    """The best linear autoencoder of cells (Karhunen-Loeve transform), added to the network.

    With the second moments of cells = V diag(s) V', the columns of `encoder` are v_i / sqrt(s_i)
    and those of `decoder` v_i sqrt(s_i) for the c largest s_i, so that latents have unit scale. The
    network learns the residual, as in residual autoencoding (arXiv:2410.10733).
    """

    encoder: Float[Array, "n c"]
    decoder: Float[Array, "n c"]

    @classmethod
    def fit(cls, moments: Float[np.ndarray, "n n"], channels: int) -> "PrincipalAxes":
        """Fits axes for `channels` latent channels to the second moments E[x x'] of cells."""
        values, vectors = np.linalg.eigh(moments)
        values, vectors = values[::-1][:channels], vectors[:, ::-1][:, :channels]
        scale = np.sqrt(np.maximum(values, 1e-6))
        return cls(jnp.float32(vectors / scale), jnp.float32(vectors * scale))

    def encode(
        self,
        pixels: Float[Array, "b t h w 3"],
        temporal: int,
        spatial: int,
        is_first_chunk: bool = True,
    ) -> Float[Array, "b u y x c"]:
        """Projects each cell to latents; see `space_to_depth` for the arguments."""
        cells = space_to_depth(pixels, temporal, spatial, is_first_chunk)
        return jnp.einsum("buyxn,nc->buyxc", cells, self.encoder)

    def decode(
        self,
        latents: Float[Array, "b u y x c"],
        temporal: int,
        spatial: int,
        is_first_chunk: bool = True,
    ) -> Float[Array, "b t h w 3"]:
        """Reconstructs pixels from latents; see `space_to_depth` for the arguments."""
        cells = jnp.einsum("buyxc,nc->buyxn", latents, self.decoder)
        return depth_to_space(cells, temporal, spatial, is_first_chunk)


class ChannelStatistics(NamedTuple):
    """What `sora-jax encode` measures of the channels of the latents of a training split.

    Attributes:
      deviation: standard deviation of each channel; near 1, as the autoencoder's own statistics,
        by which latents are normalised, are of the crops and weights of its training.
      sensitivity: mean squared change of pixels if a channel is replaced by noise of its deviation.
    """

    deviation: Float[np.ndarray, "c"]
    sensitivity: Float[np.ndarray, "c"]


class LatentStatistics(NamedTuple):
    """Mean and variance of each latent channel over the data, by which latents are normalised."""

    mean: Float[Array, "c"]
    variance: Float[Array, "c"]

    @classmethod
    def initial(cls, channels: int) -> "LatentStatistics":
        """Mean 0 and variance 1, replicated."""
        return cls(
            jnp.zeros(channels, out_sharding=P(None)), jnp.ones(channels, out_sharding=P(None))
        )

    def update(self, mean: Float[Array, "b t h w c"], rate: float) -> "LatentStatistics":
        """Statistics of a mixture of the data so far and a batch of posterior means.

        `rate` is the batch's share. A running mean square in float32 would lose deviations far
        below the mean, so, with r the rate,

            variance = (1 - r) variance + r variance_batch + r (1 - r) (mean_batch - mean)^2.
        """
        mean = mean.reshape(-1, mean.shape[-1])
        shift, batch_variance = mean.mean(0) - self.mean, mean.var(0)
        between = rate * (1 - rate) * shift**2
        variance = self.variance + rate * (batch_variance - self.variance) + between
        return LatentStatistics(self.mean + rate * shift, variance)

    def normalise(self, latents: Float[Array, "*b t h w c"]) -> Float[Array, "*b t h w c"]:
        """Maps latents to mean 0 and standard deviation 1 per channel."""
        m, s = self._broadcast(latents.ndim)
        return (latents - m) / s

    def restore(self, latents: Float[Array, "*b t h w c"]) -> Float[Array, "*b t h w c"]:
        """Inverse of `normalise`."""
        m, s = self._broadcast(latents.ndim)
        return latents * s + m

    def _broadcast(self, ndim: int):
        deviation = jnp.sqrt(jnp.maximum(self.variance, 1e-8))
        return (jnp.expand_dims(a, tuple(range(ndim - 1))) for a in (self.mean, deviation))
