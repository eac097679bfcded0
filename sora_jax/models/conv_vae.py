"""A convolutional video autoencoder, causal in time (the network of Wan 2.1, arXiv:2503.20314).

With `patch` > 1, squares of pixels become channels before the first convolution (as in Wan 2.2's
autoencoder). `models.vae` says what an autoencoder is and how this one is called.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalCache, CausalConv
from sora_jax.models.latents import Posterior
from sora_jax.models.resample import Downsample, Upsample
from sora_jax.models.vae_blocks import ConvTrunk, MidBlock, ResidualBlock
from sora_jax.models.vae_config import VAEConfig

FIRST_LOG_VARIANCE = -6.0
"""Initial log variance of the posterior: little noise, so that the decoder learns at once."""


class ConvVAE(nnx.Module):
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
        self.encoder = ConvTrunk(first, [*layers, MidBlock(width, rngs)], width, 2 * z, rngs)
        self.posterior_conv = CausalConv(2 * z, 2 * z, (1, 1, 1), rngs)
        bias = self.posterior_conv.bias
        bias.set_value(bias[...].at[z:].set(FIRST_LOG_VARIANCE))

        width = config.channels[-1]
        layers: list[nnx.Module] = [MidBlock(width, rngs)]
        for i, channels in reversed(list(enumerate(config.channels))):
            for _ in range(config.blocks + 1):
                layers.append(ResidualBlock(width, channels, rngs))
                width = channels
            if i > 0:
                layers.append(up := Upsample(width, config.strides[i - 1], rngs))
                width = up.output_channels(width)
        self.latent_conv = CausalConv(z, z, (1, 1, 1), rngs)
        first = CausalConv(z, config.channels[-1], (3, 3, 3), rngs)
        self.decoder = ConvTrunk(first, layers, width, pixels, rngs)

    def posterior(self, pixels: Float[Array, "b t h w 3"], cache: CausalCache) -> Posterior:
        """Encodes videos in [-1, 1], of a shape that `check_divides` accepts."""
        b, t, h, w, _ = pixels.shape
        r = self.config.patch
        x = pixels.astype(self.config.dtype).reshape(b, t, h // r, r, w // r, r, 3)
        x = x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, t, h // r, w // r, 3 * r * r)
        moments = self.posterior_conv(self.encoder(x, cache), cache).astype(jnp.float32)
        mean, log_variance = jnp.split(moments, 2, -1)
        return Posterior(mean, jnp.clip(log_variance, -30.0, 20.0))

    def decode(
        self, latents: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b u y x 3"]:
        """Decodes latents that are not normalised; pixels may slightly exceed [-1, 1]."""
        latents = latents.astype(self.config.dtype)
        x = self.decoder(self.latent_conv(latents, cache), cache)
        b, t, h, w, _ = x.shape
        r = self.config.patch
        x = x.reshape(b, t, h, w, r, r, 3).transpose(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(b, t, h * r, w * r, 3).astype(jnp.float32)
