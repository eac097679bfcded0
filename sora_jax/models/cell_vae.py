"""A video autoencoder of cells: its cost is matrix products at the resolution of latents.

A cell is the pixels of one latent, n = 4 x 8 x 8 x 3 numbers for the usual strides (see
`latents.space_to_depth`). Encoder and decoder are stacks of blocks on the grid of cells: a causal
depthwise convolution over 2 x 3 x 3 cells mixes neighbours, and an MLP mixes channels, in the way
of ConvNeXt (arXiv:2201.03545). Both add to the linear maps of `PrincipalAxes`:

    mean(x) = E x + f(x)            E, D: principal axes, so that latents have unit scale
    x'(z)   = D z + g(z) / 4        f, g: networks, zero at first
    log_variance = 2 log noise

The deviation of the posterior is the same for all latents: latents that differ by less than
`noise` decode to the same pixels, and noise that a sampler leaves below it is not seen.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalCache
from sora_jax.models.latents import Posterior, depth_to_space, space_to_depth
from sora_jax.models.layers import Linear, RMSNorm
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.sharding import P

TAPS = (2, 3, 3)
"""Extent of the depthwise convolution in time, height and width, in cells."""
DECODED_SCALE = 0.25
"""Scale of the decoder network's pixels, which are a residual of the linear map's."""
CELLS = P(None, None, None, None, None)


class DepthwiseConv(nnx.Module):
    """Depthwise convolution of `TAPS`, causal in time and zero-padded: one sum over shifted inputs.

    y[t, i, j] = sum_{a, b, c} w[a, b, c] x[t + a - 1, i + b - 1, j + c - 1]
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        kernel = jax.random.normal(rngs.params(), (*TAPS, channels)) / math.sqrt(math.prod(TAPS))
        self.kernel = nnx.Param(0.5 * kernel)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b t h w c"]:
        _, t, h, w, _ = x.shape
        kernel = self.kernel[...].astype(x.dtype)
        x = jnp.pad(
            cache.extend(cache.within(x), TAPS[0] - 1), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))
        )
        y = jnp.zeros((), x.dtype)
        for a, b, c in itertools.product(*map(range, TAPS)):
            y += kernel[a, b, c][None, None, None, None] * x[:, a : a + t, b : b + h, c : c + w]
        return y


class CellBlock(nnx.Module):
    """x + conv(norm(x)), then x + W gelu(V norm(x)) with four times the width inside."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.norm1, self.norm2 = (RMSNorm((width,), P(None)) for _ in range(2))
        self.mix = DepthwiseConv(width, rngs)
        self.up = make_linear(width, 4 * width, rngs)
        self.down = make_linear(4 * width, width, rngs)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b t h w c"]:
        x = x + self.mix(self.norm1(x), cache)
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class CellTrunk(nnx.Module):
    """A linear map, blocks, a norm and a linear map that starts at zero."""

    def __init__(self, inputs: int, width: int, outputs: int, blocks: int, rngs: nnx.Rngs):
        self.first = make_linear(inputs, width, rngs)
        self.blocks = nnx.List([CellBlock(width, rngs) for _ in range(blocks)])
        self.norm = RMSNorm((width,), P(None))
        self.last = make_linear(width, outputs, rngs, zeros=True)

    def __call__(
        self, x: Float[Array, "b t h w i"], cache: CausalCache
    ) -> Float[Array, "b t h w o"]:
        x = self.first(x)
        for block in self.blocks:
            x = block(x, cache)
        return self.last(self.norm(x))


def make_linear(inputs: int, outputs: int, rngs: nnx.Rngs, zeros: bool = False) -> Linear:
    """A linear map of the channels of cells; its weight is replicated."""
    return Linear((inputs,), (outputs,), P(None, None), CELLS, rngs, zeros)


class CellVAE(nnx.Module):
    """The networks f and g, without the principal axes; see the module's docstring."""

    def __init__(self, config: CellVAEConfig, rngs: nnx.Rngs):
        self.config = config
        n, c, width = config.cell_size, config.latent_channels, config.width
        self.encoder = CellTrunk(n, width, c, config.encoder_blocks, rngs)
        self.decoder = CellTrunk(c, width, n, config.decoder_blocks, rngs)

    def posterior(self, pixels: Float[Array, "b t h w 3"], cache: CausalCache) -> Posterior:
        """Encodes videos in [-1, 1], of a shape that divides into cells."""
        strides = self.config.temporal_stride, self.config.spatial_stride
        cells = space_to_depth(pixels.astype(self.config.dtype), *strides, cache.is_first_chunk)
        mean = self.encoder(cells, cache).astype(jnp.float32)
        return Posterior(mean, jnp.full_like(mean, 2 * math.log(self.config.noise)))

    def decode(
        self, latents: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b u y x 3"]:
        """Decodes latents that are not normalised; pixels may slightly exceed [-1, 1]."""
        strides = self.config.temporal_stride, self.config.spatial_stride
        cells = DECODED_SCALE * self.decoder(latents.astype(self.config.dtype), cache)
        return depth_to_space(cells.astype(jnp.float32), *strides, cache.is_first_chunk)
