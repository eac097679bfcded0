"""Blocks of the autoencoder's encoder and decoder; each hands its `CausalCache` to its layers."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalCache, CausalConv
from sora_jax.models.layers import RMSNorm
from sora_jax.sharding import P

NORM_EPSILON = 1e-12
"""Epsilon of RMS norms, which only guards against a zero denominator (as in Wan)."""
MAX_POSITIONS_AT_ONCE = 4096
"""Maximum h w of a frame for which attention computes all scores of the frame at once."""


class ResidualBlock(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1x1 convolution where widths differ."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.norm1, self.norm2 = RMSNorm((inputs,), P(None)), RMSNorm((outputs,), P(None))
        self.conv1 = CausalConv(inputs, outputs, (3, 3, 3), rngs)
        self.conv2 = CausalConv(outputs, outputs, (3, 3, 3), rngs, gain=0.1)
        self.shortcut = nnx.data(
            CausalConv(inputs, outputs, (1, 1, 1), rngs) if inputs != outputs else None
        )

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b t h w o"]:
        y = self.conv1(jax.nn.silu(self.norm1(x, NORM_EPSILON)), cache)
        y = self.conv2(jax.nn.silu(self.norm2(y, NORM_EPSILON)), cache)
        return y + (x if self.shortcut is None else self.shortcut(x, cache))


class FrameAttention(nnx.Module):
    """Single-head attention among the positions of each frame, added to its input."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.norm = RMSNorm((channels,), P(None))
        self.qkv = CausalConv(channels, 3 * channels, (1, 1, 1), rngs)
        self.out = CausalConv(channels, channels, (1, 1, 1), rngs, gain=0.1)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b t h w c"]:
        _, _, h, w, c = x.shape
        q, k, v = jnp.split(self.qkv(self.norm(x, NORM_EPSILON), cache), 3, -1)
        q = q * c**-0.5
        seen = None if cache.extent is None else cache.extent.mask(h, w)[:, None, None, None]

        def attend(q: Float[Array, "b t y w c"]) -> Float[Array, "b t y w c"]:
            """Attends from some lines of each frame to the whole frame."""
            scores = jnp.einsum("btyxc,bthwc->btyxhw", q, k, preferred_element_type=jnp.float32)
            weights = jax.nn.softmax(scores, (-2, -1), where=seen).astype(x.dtype)
            return jnp.einsum("btyxhw,bthwc->btyxc", weights, v)

        if h * w <= MAX_POSITIONS_AT_ONCE:
            y = attend(q)
        else:  # line by line: all scores of a 1920x1080 frame would take 4 GB
            lines = jax.lax.map(
                lambda line: attend(line[:, :, None])[:, :, 0], jnp.moveaxis(q, 2, 0)
            )
            y = jnp.moveaxis(lines, 0, 2)
        return x + self.out(y, cache)


class MidBlock(nnx.Module):
    """Residual block, attention per frame, residual block."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.before = ResidualBlock(channels, channels, rngs)
        self.attention = FrameAttention(channels, rngs)
        self.after = ResidualBlock(channels, channels, rngs)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b t h w c"]:
        return self.after(self.attention(self.before(x, cache), cache), cache)


class ConvTrunk(nnx.Module):
    """A convolution `first`, a list of layers, then norm, silu and a last convolution."""

    def __init__(
        self,
        first: CausalConv,
        layers: list[nnx.Module],
        width: int,
        outputs: int,
        rngs: nnx.Rngs,
    ):
        self.first, self.layers = first, nnx.List(layers)
        # The norms would drop the brightness of a flat patch if it reached them without an offset.
        first.bias.set_value(jax.random.normal(rngs.params(), first.bias[...].shape))
        self.norm = RMSNorm((width,), P(None))
        self.last = CausalConv(width, outputs, (3, 3, 3), rngs)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b u y x o"]:
        x = self.first(x, cache)
        for layer in self.layers:
            x = layer(x, cache)
        return self.last(jax.nn.silu(self.norm(x, NORM_EPSILON)), cache)
