"""The block of the diffusion transformer (arXiv:2212.09748; block of Wan 2.1).

With x the patches' states, e a segment's time embedding and m the block's own table (adaLN),

    (shift_a, scale_a, gate_a, shift_m, scale_m, gate_m) = m + W silu(e)
    x = x + gate_a * self_attention(norm(x) (1 + scale_a) + shift_a)
    x = x + cross_attention(norm(x), text)
    x = x + gate_m * mlp(norm(x) (1 + scale_m) + shift_m)

Queries and keys are RMS-normalised across all heads, then rotated by (t, h, w) in self-attention.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sora_jax.kernels.attention import attention
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.layers import LayerNorm, Linear, RMSNorm, layer_norm
from sora_jax.models.rope import Rotation, rotate
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P, auto_axes, axis_size, platform


class Conditioning(NamedTuple):
    """What every block is told about its rows, beside the states of the patches.

    Attributes:
      modulation: shift, scale and gate of self-attention, then of the MLP, for each entry of the
        row's table of noise levels; float32. Each block adds a table of its own.
      level_ids: each video token's entry in `modulation`.
      segment_ids, text_segment_ids: the segments of video and text tokens.
      text: text states, projected to the model's width.
      text_bias: added to the logits of each text state in cross-attention; None is 0.
      rotation: of each pair of a head in self-attention.
      max_segments: maximum number of segments in a row (static).
    """

    modulation: Float[Array, "b e 6 d"]
    level_ids: Int[Array, "b l"]
    segment_ids: Int[Array, "b l"]
    text: Float[Array, "b s d"]
    text_segment_ids: Int[Array, "b s"]
    text_bias: Float[Array, "b s"] | None
    rotation: Rotation
    max_segments: int


class Attention(nnx.Module):
    """Multi-head projections; queries and keys are normalised across the whole width."""

    def __init__(self, config: DiTConfig, key_sharding: P, zero_output: bool, rngs: nnx.Rngs):
        d, n = config.width, config.heads
        k = d // n
        self.query = Linear((d,), (n, k), S.w_dnk, S.act_blnk, rngs)
        self.key = Linear((d,), (n, k), S.w_dnk, key_sharding, rngs)
        self.value = Linear((d,), (n, k), S.w_dnk, key_sharding, rngs)
        self.out = Linear((n, k), (d,), S.w_nkd, S.act_bld, rngs, zeros=zero_output)
        self.query_norm = RMSNorm((n, k), S.w_nk)
        self.key_norm = RMSNorm((n, k), S.w_nk)


class SelfAttention(Attention):
    """Each video token attends to the video tokens of its segment.

    Over the context axis heads are spread and tokens gathered (Ulysses, arXiv:2309.14509).
    Where heads do not divide, keys and values are gathered and queries stay (arXiv:2407.21783,
    3.3.2): a chip then sends as much as in ring attention, and holds the row's keys.
    """

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        super().__init__(config, S.act_blnk, False, rngs)

    def __call__(self, x: Float[Array, "b l d"], row: Conditioning) -> Float[Array, "b l d"]:
        q = rotate(self.query_norm(self.query(x)), row.rotation)
        k, v = rotate(self.key_norm(self.key(x)), row.rotation), self.value(x)
        key_segments = jax.sharding.reshard(row.segment_ids, S.attn_bl)
        if q.shape[2] % axis_size(("tensor", "context")) == 0:
            q, k, v = (jax.sharding.reshard(a, S.attn_blnk) for a in (q, k, v))
            query_segments = key_segments
        else:
            k, v = (jax.sharding.reshard(a, S.keys_bvnk) for a in (k, v))
            query_segments = row.segment_ids
        y = attention(q, k, v, query_segments, key_segments, max_segments=row.max_segments)
        return self.out(jax.sharding.reshard(y, S.act_blnk))


class CrossAttention(Attention):
    """Each video token attends to the text tokens of its segment."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        super().__init__(config, S.act_bsnk, True, rngs)

    def __call__(self, x: Float[Array, "b l d"], row: Conditioning) -> Float[Array, "b l d"]:
        q, k = self.query_norm(self.query(x)), self.key_norm(self.key(row.text))
        segments = row.segment_ids, row.text_segment_ids
        v = self.value(row.text)
        return self.out(attention(q, k, v, *segments, row.text_bias, row.max_segments))


class Block(nnx.Module):
    """One transformer block; see the module's docstring."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        d, m = config.width, config.mlp_dim
        self.modulation = nnx.Param(jnp.zeros((6, d), jnp.float32, out_sharding=S.w_6d))
        self.self_attention = SelfAttention(config, rngs)
        self.cross_norm = LayerNorm(d)
        self.cross_attention = CrossAttention(config, rngs)
        self.up = Linear((d,), (m,), S.w_dm, S.act_blm, rngs)
        self.down = Linear((m,), (d,), S.w_md, S.act_bld, rngs)

    def __call__(self, x: Float[Array, "b l d"], row: Conditioning) -> Float[Array, "b l d"]:
        table = row.modulation + self.modulation[...][None, None]
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            gather_levels(table[:, :, i], row.level_ids, x.dtype) for i in range(6)
        )
        y = self.self_attention(modulate(x, shift_a, scale_a), row)
        x = x + gate_a.astype(x.dtype) * y
        x = x + self.cross_attention(self.cross_norm(x), row)
        y = self.down(jax.nn.gelu(self.up(modulate(x, shift_m, scale_m))))
        return x + gate_m.astype(x.dtype) * y


def modulate(
    x: Float[Array, "b l d"], shift: Float[Array, "b l d"], scale: Float[Array, "b l d"]
) -> Float[Array, "b l d"]:
    """Adaptive layer norm: `norm(x) (1 + scale) + shift`, computed in float32."""
    return (layer_norm(x) * (1 + scale) + shift).astype(x.dtype)


def gather_levels(
    table: Float[Array, "b e d"], level_ids: Int[Array, "b l"], dtype: jnp.dtype
) -> Float[Array, "b l d"]:
    """Gives each token its entry of the row's table.

    As a product with one-hot rows in `dtype`, that of activations: TPUs round factors to bfloat16
    in any case, and write half as much. On GPUs by index and in float32, so that XLA fuses the
    gather into the operations that read it.
    """
    if platform() == "gpu":
        return take_levels(table, level_ids)
    # One product for all vectors of a block would not be fused with what reads them: of a v5e's
    # step it takes 3 % more cycles and 14 % more temporaries.
    one_hot = jax.nn.one_hot(level_ids, table.shape[1], dtype=dtype)
    return jnp.einsum("ble,bed->bld", one_hot, table.astype(dtype), out_sharding=S.act_bld)


@jax.custom_vjp
def take_levels(
    table: Float[Array, "b e d"], level_ids: Int[Array, "b l"]
) -> Float[Array, "b l d"]:
    """`gather_levels` by index; its gradient is a product with one-hot rows, in bfloat16.

    A gradient by index would add the tokens of an entry one after the other.
    """

    def take(table: Array, level_ids: Array) -> Array:
        return jnp.take_along_axis(table, level_ids[..., None], axis=1)

    return auto_axes(take, out_sharding=S.act_bld)(table, level_ids)


def _take_levels_forward(table: Array, level_ids: Array):
    return take_levels(table, level_ids), (table, level_ids)


def _take_levels_backward(saved: tuple[Array, Array], gradient: Array):
    table, level_ids = saved
    one_hot = jax.nn.one_hot(level_ids, table.shape[1], dtype=jnp.bfloat16)
    by_table = jnp.einsum(
        "ble,bld->bed",
        one_hot,
        gradient.astype(jnp.bfloat16),
        preferred_element_type=table.dtype,
        out_sharding=S.act_bed,
    )
    return by_table, None


take_levels.defvjp(_take_levels_forward, _take_levels_backward)
