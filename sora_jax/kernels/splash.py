"""TPU splash attention over packed segments that visits no block without a pair to attend.

Splash (JAX's Pallas kernel; a blocked softmax as arXiv:2205.14135) masks by segment, yet multiplies
every block of queries by every block of keys: L^2 for a row of L tokens. Here the lists of blocks
that it visits are built at run time from the segments. Block i of queries needs block j of keys

    only if  max(min q_i, min k_j) <= min(max q_i, max k_j)

over the segment ids q_i and k_j in them. Ids ascend along a row, so these are just the pairs of
blocks that share a segment, about sum n^2 / block^2 of them. Blocks of keys that no query needs are
not read: a NaN in one does not spread. The rows of a batch are one sequence to the kernel, so that
they share a grid; blocks of other rows are never visited.
"""

from typing import Any

import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as lists
from jaxtyping import Array, Bool, Float, Int

from sora_jax.kernels.remat import OUTPUT

LANES = 128
"""Lengths of blocks are multiples of a TPU's vector lanes."""
MAX_BLOCK_TOKENS = 512
MAX_LISTED_BLOCKS = 1 << 18
"""Maximum blocks of queries times blocks of keys whose lists fit in scalar memory; beyond it, every
block is visited."""
PADDING_ID, FILL_ID = (1 << 20) - 2, (1 << 20) - 1
"""Segment ids in the kernel: of padding (elsewhere 0), of tokens that fill up the last block."""


def splash_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    interpret: bool = False,
) -> Float[Array, "b q n K"]:
    """Computes `attention.attention` on one device, from queries that are already scaled.

    Args:
      interpret: run the kernel as plain JAX, on any device.
    """
    rows, length = q.shape[:2]
    q_block, kv_block = (_block_tokens(x.shape[1]) for x in (q, k))
    blocks = -(-length // q_block) * -(-k.shape[1] // kv_block)
    if rows > 1 and rows * blocks > MAX_LISTED_BLOCKS:
        inputs = (q, k, v, q_segments, kv_segments)
        one_by_one = [
            splash_attention(*(x[i : i + 1] for x in inputs), interpret=interpret)
            for i in range(rows)
        ]
        return jnp.concatenate(one_by_one)
    q, k, v = (_heads_first(x, n) for x, n in ((q, q_block), (k, kv_block), (v, kv_block)))
    q_ids, kv_ids = _ids(q_segments, q_block), _ids(kv_segments, kv_block)
    live = live_blocks(q_ids, kv_ids, q_block, kv_block)
    by_query, by_key = _visit_lists(live), _visit_lists(jnp.swapaxes(live, 1, 2), steps_first=True)
    attend: Any = kernel.SplashAttentionKernel(
        by_query,
        by_query,
        by_key,
        block_sizes=kernel.BlockSizes(
            block_q=q_block,
            block_kv=kv_block,
            block_kv_compute=kv_block,
            block_q_dkv=q_block,
            block_kv_dkv=kv_block,
            block_kv_dkv_compute=kv_block,
            block_q_dq=q_block,
            block_kv_dq=kv_block,
        ),
        is_mqa=False,
        save_residuals=False,
        mask_value=kernel.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=OUTPUT,
        mask_function=None,
        interpret=interpret,
    )
    out = attend(q, k, v, kernel.SegmentIds(q_ids.reshape(-1), kv_ids.reshape(-1)))
    if by_query.data_next is not None:  # a block of queries without a live block of keys is 0 / 0
        has_keys = jnp.repeat(jnp.any(live, -1).reshape(-1), q_block)
        out = jnp.where(has_keys[None, :, None], out, 0)
    return out.reshape(out.shape[0], rows, -1, out.shape[-1])[:, :, :length].transpose(1, 2, 0, 3)


def live_blocks(
    q_ids: Int[Array, "b q"], kv_ids: Int[Array, "b v"], q_block: int, kv_block: int
) -> Bool[Array, "b i j"]:
    """Whether block i of a row's queries may attend to block j of its keys."""
    q, k = q_ids.reshape(len(q_ids), -1, q_block), kv_ids.reshape(len(kv_ids), -1, kv_block)
    low = jnp.maximum(q.min(-1)[:, :, None], k.min(-1)[:, None])
    return low <= jnp.minimum(q.max(-1)[:, :, None], k.max(-1)[:, None])


def _visit_lists(live: Bool[Array, "b i j"], steps_first: bool = False) -> lists.MaskInfo:
    """Lists for each block (row, i) which block j the kernel loads at each step, and if it is live.

    Live blocks come first; the last of them stays loaded while the other steps are skipped. All
    lists are None where they would not fit.

    Args:
      steps_first: the steps are the lists' first axis.
    """
    b, i, j = live.shape
    if b * i * j > MAX_LISTED_BLOCKS:
        return lists.MaskInfo(None, None, None, None, None)
    order = jnp.argsort(~live, axis=-1, stable=True).astype(jnp.int32)
    count = jnp.sum(live, -1, keepdims=True, dtype=jnp.int32)
    step = jnp.arange(j, dtype=jnp.int32)[None, None]
    block = jnp.take_along_axis(order, jnp.minimum(step, jnp.maximum(count - 1, 0)), -1)
    block = block + j * jnp.arange(b, dtype=jnp.int32)[:, None, None]
    # Small integers take less scalar memory; 2^15 blocks would be 16 million tokens.
    block, counts = (
        x.reshape(1, b * i, j).swapaxes(1, 2 if steps_first else 1)
        for x in (block.astype(jnp.int16), (step < count).astype(jnp.int8))
    )
    return lists.MaskInfo(block, None, counts, None, None)


def _block_tokens(length: int) -> int:
    """Tokens in a block: the maximum, or the fewest lanes that hold a shorter row."""
    return min(MAX_BLOCK_TOKENS, -(-length // LANES) * LANES)


def _heads_first(x: Float[Array, "b l n k"], block: int) -> Float[Array, "n bl k"]:
    """Lays rows one after the other along one axis, each padded to whole blocks."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0)))
    return x.transpose(2, 0, 1, 3).reshape(x.shape[2], -1, x.shape[3])


def _ids(segments: Int[Array, "b l"], block: int) -> Int[Array, "b L"]:
    """Segment ids that ascend along each row and are unique to it."""
    ids = jnp.where(segments == 0, PADDING_ID, segments).astype(jnp.int32)
    ids = jnp.pad(ids, ((0, 0), (0, -ids.shape[1] % block)), constant_values=FILL_ID)
    return ids + (FILL_ID + 1) * jnp.arange(len(ids), dtype=jnp.int32)[:, None]
