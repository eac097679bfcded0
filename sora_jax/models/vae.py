"""A video autoencoder, causal in time (arXiv:1312.6114; network of Wan 2.1, arXiv:2503.20314).

    z ~ N(mean(x), exp(log_variance(x)));   x' = decode(z)
    latent = (mean(x) - m) / s              m, s: mean and deviation of each channel over data

An image is a video of one frame. 1 + 4k frames become 1 + k latent frames (for two temporal
strides of 2). Pixels are in [-1, 1], layout `b t h w c`. With `patch` > 1, squares of pixels
become channels before the first convolution (as in Wan 2.2's autoencoder).
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalConv, Downsample, Upsample
from sora_jax.models.layers import RMSNorm
from sora_jax.sharding import P

FIRST_LOG_VARIANCE = -6.0
"""Where training starts: latents that are nearly free of noise, so that decoding learns at once."""


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of the autoencoder.

    Attributes:
      patch: side of the squares of pixels that become channels.
      channels: width of each stage, outermost first.
      strides: (time, space) stride between each two stages; each is 1 or 2.
      blocks: residual blocks in an encoder stage; a decoder stage has one more.
      principal: add the network's outputs to those of `PrincipalAxes`, so that training starts
        from the best linear autoencoder; False is the plain network (as in Wan).
    """

    latent_channels: int = 16
    patch: int = 4
    channels: tuple[int, ...] = (64, 128, 128)
    strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 1))
    blocks: int = 1
    principal: bool = False
    dtype: str = "float32"

    @property
    def temporal(self) -> int:
        """Frames for each latent frame after the first."""
        return math.prod(time for time, _ in self.strides)

    @property
    def spatial(self) -> int:
        """Pixels of height or width for each latent."""
        return self.patch * math.prod(space for _, space in self.strides)


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents, not normalised per channel."""

    mean: Float[Array, "b t h w c"]
    log_variance: Float[Array, "b t h w c"]

    def sample(self, key: Array) -> Float[Array, "b t h w c"]:
        """mean + deviation * standard normal noise."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise

    def kl(self) -> Float[Array, "b t h w c"]:
        """Divergence from the standard normal of each latent, in nats (arXiv:1312.6114, B)."""
        return 0.5 * (self.mean**2 + jnp.exp(self.log_variance) - 1 - self.log_variance)


class ResidualBlock(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1x1 convolution where widths differ."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.norm1, self.norm2 = RMSNorm((inputs,), P(None)), RMSNorm((outputs,), P(None))
        self.conv1 = CausalConv(inputs, outputs, (3, 3, 3), rngs)
        self.conv2 = CausalConv(outputs, outputs, (3, 3, 3), rngs, gain=0.1)
        self.shortcut = nnx.data(
            CausalConv(inputs, outputs, (1, 1, 1), rngs) if inputs != outputs else None
        )

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w o"]:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class FrameAttention(nnx.Module):
    """Single-head attention among the positions of each frame, added to its input."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.norm = RMSNorm((channels,), P(None))
        self.qkv = CausalConv(channels, 3 * channels, (1, 1, 1), rngs)
        self.out = CausalConv(channels, channels, (1, 1, 1), rngs, gain=0.1)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        b, t, h, w, c = x.shape
        q, k, v = jnp.split(self.qkv(self.norm(x)).reshape(b * t, h * w, 3 * c), 3, -1)
        scores = jnp.einsum("fqc,fvc->fqv", q * c**-0.5, k).astype(jnp.float32)
        y = jnp.einsum("fqv,fvc->fqc", jax.nn.softmax(scores, -1).astype(x.dtype), v)
        return x + self.out(y.reshape(x.shape))


class Middle(nnx.Module):
    """Residual block, attention per frame, residual block."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.before = ResidualBlock(channels, channels, rngs)
        self.attention = FrameAttention(channels, rngs)
        self.after = ResidualBlock(channels, channels, rngs)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        return self.after(self.attention(self.before(x)))


class Network(nnx.Module):
    """A convolution, a list of layers, norm, silu and a convolution.

    Beside principal axes the last convolution starts at zero and moves slowly.
    """

    def __init__(
        self, first, layers: list, width: int, outputs: int, principal: bool, rngs: nnx.Rngs
    ):
        self.first, self.layers = first, nnx.List(layers)
        self.scale, gain = (0.25, 0.0) if principal else (1.0, 1.0)
        # The norms would drop the brightness of a flat patch if it reached them without an offset.
        first.bias.set_value(jax.random.normal(rngs.params(), first.bias[...].shape))
        self.norm = RMSNorm((width,), P(None))
        self.last = CausalConv(width, outputs, (3, 3, 3), rngs, gain=gain)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b u y x o"]:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.scale * self.last(jax.nn.silu(self.norm(x)))


class VAE(nnx.Module):
    """Encoder and decoder; see the module's docstring."""

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        self.config = config
        pixels, z = 3 * config.patch**2, config.latent_channels
        width = config.channels[0]
        layers: list[nnx.Module] = []
        for i, channels in enumerate(config.channels):
            for _ in range(config.blocks):
                layers.append(ResidualBlock(width, channels, rngs))
                width = channels
            if i < len(config.strides):
                layers.append(Downsample(width, config.strides[i], rngs))
        first = CausalConv(pixels, config.channels[0], (3, 3, 3), rngs)
        self.encoder = Network(
            first, [*layers, Middle(width, rngs)], width, 2 * z, config.principal, rngs
        )
        self.posterior_conv = CausalConv(2 * z, 2 * z, (1, 1, 1), rngs)
        bias = self.posterior_conv.bias
        bias.set_value(bias[...].at[z:].set(FIRST_LOG_VARIANCE))

        width = config.channels[-1]
        layers: list[nnx.Module] = [Middle(width, rngs)]
        for i, channels in reversed(list(enumerate(config.channels))):
            for _ in range(config.blocks + 1):
                layers.append(ResidualBlock(width, channels, rngs))
                width = channels
            if i > 0:
                layers.append(up := Upsample(width, config.strides[i - 1], rngs))
                width = up.outputs(width)
        self.latent_conv = CausalConv(z, z, (1, 1, 1), rngs)
        first = CausalConv(z, config.channels[-1], (3, 3, 3), rngs)
        self.decoder = Network(first, layers, width, pixels, config.principal, rngs)

    def posterior(self, pixels: Float[Array, "b t h w 3"]) -> Posterior:
        """Distribution of the latents of videos in [-1, 1], 1 + 4k frames, sides of whole cells.

        Raises:
          ValueError: the duration or a side does not divide.
        """
        b, t, h, w, _ = pixels.shape
        r, k = self.config.patch, self.config.temporal
        if (t - 1) % k or h % self.config.spatial or w % self.config.spatial:
            raise ValueError(
                f"a clip of {t} frames, {h}x{w}, does not divide into latents of {k} frames and "
                f"{self.config.spatial} pixels: pad it with media.fit_canvas"
            )
        x = pixels.astype(self.config.dtype).reshape(b, t, h // r, r, w // r, r, 3)
        x = x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, t, h // r, w // r, 3 * r * r)
        moments = self.posterior_conv(self.encoder(x)).astype(jnp.float32)
        mean, log_variance = jnp.split(moments, 2, -1)
        return Posterior(mean, jnp.clip(log_variance, -30.0, 20.0))

    def decode_raw(self, latents: Float[Array, "b t h w c"]) -> Float[Array, "b u y x 3"]:
        """Videos of latents that are not normalised; pixels may leave [-1, 1] a little."""
        x = self.decoder(self.latent_conv(latents.astype(self.config.dtype)))
        b, t, h, w, _ = x.shape
        r = self.config.patch
        x = x.reshape(b, t, h, w, r, r, 3).transpose(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(b, t, h * r, w * r, 3).astype(jnp.float32)


def to_cells(
    pixels: Float[Array, "b t h w c"], temporal: int, spatial: int
) -> Float[Array, "b u y x n"]:
    """The n = temporal * spatial^2 * c numbers behind each latent, in the order (t, h, w, c).

    The first frame stands alone: it fills its cell `temporal` times over.
    """
    pixels = jnp.concatenate([jnp.repeat(pixels[:, :1], temporal, 1), pixels[:, 1:]], 1)
    b, t, h, w, c = pixels.shape
    u, y, x = t // temporal, h // spatial, w // spatial
    cells = pixels.reshape(b, u, temporal, y, spatial, x, spatial, c)
    return cells.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, u, y, x, -1)


def from_cells(
    cells: Float[Array, "b u y x n"], temporal: int, spatial: int
) -> Float[Array, "b t h w c"]:
    """Inverse of `to_cells`."""
    b, u, y, x, _ = cells.shape
    cells = cells.reshape(b, u, y, x, temporal, spatial, spatial, -1)
    pixels = cells.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return pixels.reshape(b, u * temporal, y * spatial, x * spatial, -1)[:, temporal - 1 :]


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
        self, pixels: Float[Array, "b t h w 3"], config: VAEConfig
    ) -> Float[Array, "b u y x c"]:
        """Coefficients of each cell."""
        cells = to_cells(pixels, config.temporal, config.spatial)
        return jnp.einsum("buyxn,nc->buyxc", cells, self.encoder)

    def decode(
        self, latents: Float[Array, "b u y x c"], config: VAEConfig
    ) -> Float[Array, "b t h w 3"]:
        """Pixels of coefficients."""
        cells = jnp.einsum("buyxc,nc->buyxn", latents, self.decoder)
        return from_cells(cells, config.temporal, config.spatial)


class LatentStatistics(NamedTuple):
    """Mean and mean square of each latent channel over data; data, not parameters."""

    mean: Float[Array, "c"]
    square: Float[Array, "c"]

    @classmethod
    def initial(cls, channels: int) -> "LatentStatistics":
        """Mean 0 and deviation 1."""
        return cls(
            jnp.zeros(channels, out_sharding=P(None)), jnp.ones(channels, out_sharding=P(None))
        )

    def update(self, mean: Float[Array, "b t h w c"], rate: float) -> "LatentStatistics":
        """Moves a share `rate` towards the statistics of a batch of posterior means."""
        mean = mean.reshape(-1, mean.shape[-1])
        new = LatentStatistics(mean.mean(0), (mean**2).mean(0))
        return jax.tree.map(lambda old, now: old + rate * (now - old), self, new)

    def normalise(self, latents: Float[Array, "*b t h w c"]) -> Float[Array, "*b t h w c"]:
        """To mean 0 and deviation 1 per channel."""
        m, s = self._broadcast(latents.ndim)
        return (latents - m) / s

    def restore(self, latents: Float[Array, "*b t h w c"]) -> Float[Array, "*b t h w c"]:
        """Inverse of `normalise`."""
        m, s = self._broadcast(latents.ndim)
        return latents * s + m

    def _broadcast(self, ndim: int):
        deviation = jnp.sqrt(jnp.maximum(self.square - self.mean**2, 1e-8))
        return (jnp.expand_dims(a, tuple(range(ndim - 1))) for a in (self.mean, deviation))
