"""The diffusion transformer on packed spacetime patches (arXiv:2212.09748; block of Wan 2.1).

Patches, noise levels and captions are embedded, go through the blocks of `models.dit_block` and a
modulated output layer. The conditioning is computed once per entry of a row's table of levels and
gathered by `level_ids`. Our presets start as the identity: gates and the output of cross-attention
are zero.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sora_jax.models.dit_block import Block, Conditioning, gather_levels, modulate
from sora_jax.models.dit_config import REMAT, DiTConfig
from sora_jax.models.functional import Network
from sora_jax.models.layers import Linear, apply_blocks, sinusoid, stack
from sora_jax.models.rope import rope_angles, rotation
from sora_jax.models.text_encoder import TextEncoder, segment_positions
from sora_jax.rows import PackedBatch
from sora_jax.sharding import SHARDING as S
from sora_jax.types import Params

POSITION_EMBED_DIM = 32
"""Width of the sinusoidal embedding of one distance; see `embed_clip_positions`."""


def segment_means(states: Float[Array, "b s d"], batch: PackedBatch) -> Float[Array, "b e d"]:
    """Mean text state of each entry's segment (see `rows`), in float32; entry 0 has zeros."""
    one_hot = jax.nn.one_hot(batch.text_segment_ids - 1, batch.weights.shape[1])
    states, exact = states.astype(jnp.float32), jax.lax.Precision.HIGHEST
    total = jnp.einsum("bsg,bsd->bgd", one_hot, states, precision=exact, out_sharding=S.act_bed)
    means = total / jnp.maximum(jnp.sum(one_hot, 1), 1)[..., None]
    return jnp.pad(jnp.concatenate([means, means], 1), ((0, 0), (1, 0), (0, 0)))


def padding_bias(segments: Int[Array, "b s"], length: int) -> Float[Array, "b s"]:
    """Logit bias by which captions count as filled up to `length` states with their last one.

    The last of a caption's n states gets log(length + 1 - n), so that it counts that many times;
    all others get 0.
    """
    next_segments = jnp.pad(segments, ((0, 0), (0, 1)), constant_values=-1)[:, 1:]
    count = jnp.where(next_segments != segments, length - segment_positions(segments), 1)
    return jnp.log(jnp.maximum(count, 1e-9))


def embed_clip_positions(batch: PackedBatch) -> Float[Array, "b l waves"]:
    """Sinusoidal embeddings of each token's distances to both ends of its clip, by axis."""
    distances = jnp.concatenate([batch.positions, batch.remaining], -1)
    waves = [sinusoid(distances[..., i], POSITION_EMBED_DIM, period=100.0) for i in range(6)]
    return jnp.concatenate(waves, -1)


class DiT(nnx.Module):
    """Predicts each patch from packed noisy patches, their noise levels and captions."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        d, p = config.width, config.patch_width
        self.config = config
        if not config.text_embed_dim:
            self.text_encoder = TextEncoder(config.text, rngs)
        self.text_up = Linear((config.text_width,), (d,), S.w_dm, S.act_bsm, rngs)
        self.text_down = Linear((d,), (d,), S.w_md, S.act_bsd, rngs)
        self.patch_in = Linear((p,), (d,), S.w_pd, S.act_bld, rngs)
        if config.absolute_positions:
            self.position_in = Linear((6 * POSITION_EMBED_DIM,), (d,), S.w_pd, S.act_bld, rngs)
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
        """Predicts from noisy patches `x` at `batch.levels`, in float32.

        Training sets what is predicted, one of `diffusion.predictions.PREDICTIONS`. The values of
        `batch.patches` and `batch.weights` are not read.
        """
        c, text_bias = self.config, None
        dtype = jnp.dtype(c.dtype)
        if c.text_embed_dim:
            states = batch.text.astype(dtype)
        else:
            states = self.text_encoder(
                batch.text, batch.text_segment_ids, batch.weights.shape[1], dtype, c.unroll
            )
        text = self.text_down(jax.nn.gelu(self.text_up(states)))
        # As in Wan, the embedding sees 1000 x the noise level.
        time = sinusoid(1000.0 * batch.levels, c.time_embed_dim)
        time = self.time_out(jax.nn.silu(self.time_in(time)))
        if c.pooled_text:
            time = time + self.pooled_in(segment_means(states, batch))
        if c.padded_text_length:
            text_bias = padding_bias(batch.text_segment_ids, c.padded_text_length)
        angles = rope_angles(batch.positions, c.width // c.heads, c.rope_base, c.rope_stretch)
        row = Conditioning(
            modulation=self.time_table(jax.nn.silu(time)),
            level_ids=batch.level_ids,
            segment_ids=batch.segment_ids,
            text=text,
            text_segment_ids=batch.text_segment_ids,
            text_bias=text_bias,
            rotation=rotation(angles),
            max_segments=batch.weights.shape[1],
        )
        noisy, x = x, self.patch_in(x.astype(dtype))
        if c.absolute_positions:
            x = x + self.position_in(embed_clip_positions(batch).astype(dtype))
        x = apply_blocks(self.blocks, x, row, policy=REMAT[c.remat], unroll=c.unroll)
        head = self.head_modulation[...][None, None] + time[:, :, None]
        shift, scale = (gather_levels(head[:, :, i], batch.level_ids, dtype) for i in range(2))
        x = modulate(x, shift, scale)
        out = self.patch_out(x)
        if c.input_skip:
            out = out + noisy * self.skip_gate(x)
        return out.astype(jnp.float32)


NETWORK = Network(DiT)
init_params, shapes = NETWORK.init_params, NETWORK.shapes


def apply(config: DiTConfig, params: Params, x: Array, batch: PackedBatch) -> Float[Array, "b l p"]:
    """`DiT.__call__` as a function of the parameters."""
    return NETWORK.bind(config, params)(x, batch)
