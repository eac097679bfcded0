"""A small transformer encoder of captions, trained jointly with the diffusion transformer.

It runs on packed rows of captions; positions count from 0 within each caption, so that a
caption's states do not depend on its neighbours. Blocks are pre-norm:

    x = x + attention(norm(x)),   x = x + W2 gelu(W1 norm(x))
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sora_jax.config import check_minimum
from sora_jax.kernels.attention import attention
from sora_jax.models.layers import LayerNorm, Linear, apply_blocks, sinusoid, stack
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig:
    """Sizes of the caption encoder.

    Attributes:
      vocabulary: number of token ids, at least the tokenizer's pieces.
      width: width of the embeddings, even and a multiple of `heads`.
      depth: number of transformer blocks.
      heads: number of attention heads.
    """

    vocabulary: int = 512
    width: int = 128
    depth: int = 2
    heads: int = 4

    def __post_init__(self):
        check_minimum(self, heads=1, width=2)
        if self.width % 2:
            raise ValueError(f"width is {self.width}: give it an even number")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")


class TextBlock(nnx.Module):
    """One transformer block; see the module's docstring."""

    def __init__(self, config: TextEncoderConfig, rngs: nnx.Rngs):
        d, n = config.width, config.heads
        k = d // n
        self.norm1, self.norm2 = LayerNorm(d), LayerNorm(d)
        self.query = Linear((d,), (n, k), S.w_dnk, S.act_bsnk, rngs)
        self.key = Linear((d,), (n, k), S.w_dnk, S.act_bsnk, rngs)
        self.value = Linear((d,), (n, k), S.w_dnk, S.act_bsnk, rngs)
        self.out = Linear((n, k), (d,), S.w_nkd, S.act_bsd, rngs)
        self.up = Linear((d,), (4 * d,), S.w_dm, S.act_bsm, rngs)
        self.down = Linear((4 * d,), (d,), S.w_md, S.act_bsd, rngs)

    def __call__(
        self, x: Float[Array, "b s d"], segments: Int[Array, "b s"], max_segments: int
    ) -> Float[Array, "b s d"]:
        y = self.norm1(x)
        q, k, v = self.query(y), self.key(y), self.value(y)
        x = x + self.out(attention(q, k, v, segments, segments, max_segments=max_segments))
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class TextEncoder(nnx.Module):
    """Maps caption tokens to states; see the module's docstring."""

    def __init__(self, config: TextEncoderConfig, rngs: nnx.Rngs):
        init = jax.nn.initializers.normal(1.0)
        shape = (config.vocabulary, config.width)
        self.table = nnx.Param(init(rngs.params(), shape, jnp.float32, out_sharding=P(None, None)))
        self.blocks = stack(functools.partial(TextBlock, config), config.depth, rngs)
        self.norm = LayerNorm(config.width)
        self.width = config.width

    def __call__(
        self,
        tokens: Int[Array, "b s"],
        segments: Int[Array, "b s"],
        max_segments: int,
        dtype: jnp.dtype,
        unroll: bool = False,
    ) -> Float[Array, "b s d"]:
        """States of packed captions.

        Args:
          max_segments: maximum number of captions in a row (static).
          unroll: see `DiTConfig.unroll`.
        """
        positions = segment_positions(segments).astype(jnp.float32)
        x = self.table[...].at[tokens].get(out_sharding=S.act_bsd)
        x = (x + sinusoid(positions, self.width)).astype(dtype)
        return self.norm(apply_blocks(self.blocks, x, segments, max_segments, unroll=unroll))


def segment_positions(segments: Int[Array, "b s"]) -> Int[Array, "b s"]:
    """Each token's index within its segment, for segments that are contiguous in the row."""
    index = jnp.arange(segments.shape[1], dtype=jnp.int32)[None]
    previous = jnp.pad(segments, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    starts = jnp.where(previous != segments, index, 0)
    return index - jax.lax.cummax(starts, axis=1)
