"""The diffusion transformer on packed spacetime patches (arXiv:2212.09748; block of Wan 2.1).

With x the patches' states, e a segment's time embedding and m the block's own table,

    (shift_a, scale_a, gate_a, shift_f, scale_f, gate_f) = m + W silu(e)
    x = x + gate_a * self_attention(norm(x) (1 + scale_a) + shift_a)
    x = x + cross_attention(norm(x), text)
    x = x + gate_f * mlp(norm(x) (1 + scale_f) + shift_f)

Queries and keys are RMS-normalised across all heads, then rotated by (t, h, w) in self-attention.
The conditioning is computed once per entry of a row's table of levels and gathered by `level_ids`.
Our presets start as the identity: gates and the output of cross-attention are zero.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sora_jax.kernels.attention import attention
from sora_jax.models.dit_config import REMAT, DiTConfig
from sora_jax.models.functional import Network
from sora_jax.models.layers import (
    LayerNorm,
    Linear,
    RMSNorm,
    layer_norm,
    scan_blocks,
    sinusoid,
    stack,
)
from sora_jax.models.rope import rope_angles, rotate
from sora_jax.models.text_encoder import TextEncoder, segment_positions
from sora_jax.rows import PackedBatch
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import axis_size
from sora_jax.types import Params

PLACE = 32
"""Width of the sinusoids of one distance; see `absolute`."""


class Attention(nnx.Module):
    """Multi-head attention with queries and keys normalised across the whole width."""

    def __init__(self, config: DiTConfig, cross: bool, rngs: nnx.Rngs):
        d, n = config.width, config.heads
        k = d // n
        keys = S.act_bsnk if cross else S.act_blnk
        self.query = Linear((d,), (n, k), S.w_dnk, S.act_blnk, rngs)
        self.key = Linear((d,), (n, k), S.w_dnk, keys, rngs)
        self.value = Linear((d,), (n, k), S.w_dnk, keys, rngs)
        self.out = Linear((n, k), (d,), S.w_nkd, S.act_bld, rngs, zeros=cross)
        self.query_norm = RMSNorm((n, k), S.w_nk)
        self.key_norm = RMSNorm((n, k), S.w_nk)

    def across(self, x, text, x_segments, text_segments, text_bias, count):
        """Each token attends to the text of its segment."""
        q, k = self.query_norm(self.query(x)), self.key_norm(self.key(text))
        v = self.value(text)
        return self.out(attention(q, k, v, x_segments, text_segments, text_bias, count))

    def within(self, x, segments, angles, count):
        """Each token attends to the tokens of its segment.

        Over the context axis heads are spread and tokens gathered (Ulysses, arXiv:2309.14509).
        Where heads do not divide, keys and values are gathered and queries stay (arXiv:2407.21783,
        3.3.2): a chip then sends as much as in ring attention, and holds the row's keys.
        """
        q = rotate(self.query_norm(self.query(x)), angles)
        k, v = rotate(self.key_norm(self.key(x)), angles), self.value(x)
        everywhere = jax.sharding.reshard(segments, S.attn_bl)
        if q.shape[2] % axis_size(("tensor", "context")) == 0:
            q, k, v = (jax.sharding.reshard(a, S.attn_blnk) for a in (q, k, v))
            y = attention(q, k, v, everywhere, everywhere, count=count)
        else:
            k, v = (jax.sharding.reshard(a, S.keys_bvnk) for a in (k, v))
            y = attention(q, k, v, segments, everywhere, count=count)
        return self.out(jax.sharding.reshard(y, S.act_blnk))


class Block(nnx.Module):
    """One transformer block; see the module's docstring."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        d, m = config.width, config.mlp_dim
        self.modulation = nnx.Param(jnp.zeros((6, d), jnp.float32, out_sharding=S.w_6d))
        self.self_attention = Attention(config, False, rngs)
        self.cross_norm = LayerNorm(d)
        self.cross_attention = Attention(config, True, rngs)
        self.up = Linear((d,), (m,), S.w_dm, S.act_blm, rngs)
        self.down = Linear((m,), (d,), S.w_md, S.act_bld, rngs)

    def __call__(
        self, x, table, level_ids, segments, text, text_segments, text_bias, angles, count
    ):
        table = table + self.modulation[...][None, None]
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (
            gather_levels(table[:, :, i], level_ids) for i in range(6)
        )
        y = modulate(x, shift_a, scale_a)
        x = x + gate_a.astype(x.dtype) * self.self_attention.within(y, segments, angles, count)
        y = self.cross_norm(x)
        x = x + self.cross_attention.across(y, text, segments, text_segments, text_bias, count)
        y = self.down(jax.nn.gelu(self.up(modulate(x, shift_f, scale_f))))
        return x + gate_f.astype(x.dtype) * y


def modulate(x, shift, scale):
    """Layer norm, then a shift and a scale per token."""
    return (layer_norm(x) * (1 + scale) + shift).astype(x.dtype)


def gather_levels(
    table: Float[Array, "b e d"], level_ids: Int[Array, "b l"]
) -> Float[Array, "b l d"]:
    """The row's entry for each token; TPUs round it to bfloat16, as they do products of float32."""
    chosen = jax.nn.one_hot(level_ids, table.shape[1], dtype=table.dtype)
    return jnp.einsum("ble,bed->bld", chosen, table, out_sharding=S.act_bld)


def segment_means(states: Float[Array, "b s d"], batch: PackedBatch) -> Float[Array, "b e d"]:
    """Mean of the text states of each segment, at the segment's number; float32."""
    member = jax.nn.one_hot(batch.text_segment_ids - 1, batch.weights.shape[1])
    states, exact = states.astype(jnp.float32), jax.lax.Precision.HIGHEST
    total = jnp.einsum("bsg,bsd->bgd", member, states, precision=exact, out_sharding=S.act_bed)
    means = total / jnp.maximum(jnp.sum(member, 1), 1)[..., None]
    return jnp.pad(means, ((0, 0), (1, 0), (0, 0)))


def padding_bias(segments: Int[Array, "b s"], length: int) -> Float[Array, "b s"]:
    """log of how often each text state counts: the last of a caption of n fills it to `length`.

    It counts length + 1 - n times, all others once.
    """
    after = jnp.pad(segments, ((0, 0), (0, 1)), constant_values=-1)[:, 1:]
    count = jnp.where(after != segments, length - segment_positions(segments), 1)
    return jnp.log(jnp.maximum(count, 1e-9))


def place_embedding(batch: PackedBatch) -> Float[Array, "b l waves"]:
    """Sinusoids of each token's distance to both ends of its clip, by axis."""
    places = jnp.concatenate([batch.positions, batch.remaining], -1)
    waves = [sinusoid(places[..., i], PLACE, period=100.0) for i in range(6)]
    return jnp.concatenate(waves, -1)


class DiT(nnx.Module):
    """Packed noisy patches, noise levels and captions to a prediction for each patch."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        d, p = config.width, config.patch_width
        self.config = config
        if not config.text_embed_dim:
            self.text_encoder = TextEncoder(config.text, rngs)
        self.text_up = Linear((config.text_width,), (d,), S.w_dm, S.act_bsm, rngs)
        self.text_down = Linear((d,), (d,), S.w_md, S.act_bsd, rngs)
        self.patch_in = Linear((p,), (d,), S.w_pd, S.act_bld, rngs)
        if config.absolute_positions:
            self.place_in = Linear((6 * PLACE,), (d,), S.w_pd, S.act_bld, rngs)
        if config.pooled_text:
            self.pooled_in = Linear((config.text_width,), (d,), S.w_pd, S.act_bed, rngs)
        self.time_in = Linear((config.time_embed_dim,), (d,), S.w_pd, S.act_bed, rngs)
        self.time_out = Linear((d,), (d,), S.w_dp, S.act_bed, rngs)
        self.time_table = Linear((d,), (6, d), S.w_d6d, S.act_be6d, rngs, zeros=True)
        self.blocks = stack(functools.partial(Block, config), config.depth, rngs)
        self.head_modulation = nnx.Param(jnp.zeros((2, d), jnp.float32, out_sharding=S.w_6d))
        self.patch_out = Linear((d,), (p,), S.w_dp, S.act_bld, rngs, zeros=True)
        if config.input_skip:
            self.skip_gate = Linear((d,), (p,), S.w_dp, S.act_bld, rngs, zeros=True)

    def __call__(self, x: Float[Array, "b l p"], batch: PackedBatch) -> Float[Array, "b l p"]:
        """Predicts from noisy patches `x`; `batch.patches` and `batch.weights` are not read.

        The meaning of the prediction is one of `diffusion.process.PREDICTIONS`; float32.
        """
        dtype = jnp.dtype(self.config.dtype)
        if self.config.text_embed_dim:
            states = batch.text.astype(dtype)
        else:
            states = self.text_encoder(batch.text, batch.text_segment_ids, dtype)
        text = self.text_down(jax.nn.gelu(self.text_up(states)))
        # As in Wan, the embedding sees 1000 x the noise level.
        time = sinusoid(1000.0 * batch.levels, self.config.time_embed_dim)
        time = self.time_out(jax.nn.silu(self.time_in(time)))
        if self.config.pooled_text:
            time = time + self.pooled_in(segment_means(states, batch))
        table = self.time_table(jax.nn.silu(time))
        c = self.config
        angles = rope_angles(batch.positions, c.width // c.heads, c.rope_base, c.rope_stretch)
        text_bias = (
            padding_bias(batch.text_segment_ids, c.padded_text_length)
            if c.padded_text_length
            else None
        )
        noisy, x = x, self.patch_in(x.astype(dtype))
        if self.config.absolute_positions:
            x = x + self.place_in(place_embedding(batch).astype(dtype))
        x = scan_blocks(
            self.blocks,
            x,
            *(table, batch.level_ids, batch.segment_ids),
            *(text, batch.text_segment_ids, text_bias, angles, batch.weights.shape[1]),
            policy=REMAT[self.config.remat],
        )
        head = self.head_modulation[...][None, None] + time[:, :, None]
        shift, scale = (gather_levels(head[:, :, i], batch.level_ids) for i in range(2))
        x = modulate(x, shift, scale)
        out = self.patch_out(x)
        if self.config.input_skip:
            out = out + noisy * self.skip_gate(x)
        return out.astype(jnp.float32)


NETWORK = Network(DiT)
init_params, shapes = NETWORK.init_params, NETWORK.shapes


def apply(config: DiTConfig, params: Params, x: Array, batch: PackedBatch) -> Float[Array, "b l p"]:
    """`DiT.__call__` as a function of the parameters."""
    return NETWORK.bind(config, params)(x, batch)
