"""TPU splash attention over packed segments that visits no block without a pair to attend.

Splash (JAX's Pallas kernel; a blocked softmax as arXiv:2205.14135) masks by segment, yet multiplies
every block of queries by every block of keys: L^2 for a row of L tokens. Here the lists of blocks
that it visits are built at run time from the segments. Block i of queries needs block j of keys

    only if  max(least q_i, least k_j) <= min(largest q_i, largest k_j)

over the segment ids in them. Ids ascend along a row, so this finds just the blocks where a segment
touches both, about sum n^2 / block^2 of them. What no query of a block needs is not read either:
a NaN there stays there. The rows of a batch are one sequence to the kernel, so that they share a
grid; blocks of other rows are never visited.
"""

from typing import Any

import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as lists
from jaxtyping import Array, Bool, Float, Int

LANES = 128
"""Blocks are multiples of it."""
BLOCK = 512
"""Tokens in a block, at most."""
SCALAR_MEMORY = 1 << 18
"""Most blocks of queries times blocks of keys whose lists fit; beyond, every block is visited."""
PADDING, FILL = (1 << 20) - 2, (1 << 20) - 1
"""Ids of padding (0 elsewhere) and of what fills the last block: they end a row."""


def splash_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    interpret: bool = False,
) -> Float[Array, "b q n K"]:
    """As `attention.attention`, on the tensors of one device, of queries that are already scaled.

    Args:
      interpret: run as plain JAX, on any device.
    """
    rows, length = q.shape[:2]
    q_block, kv_block = (_block(x.shape[1]) for x in (q, k))
    blocks = -(-length // q_block) * -(-k.shape[1] // kv_block)
    if rows > 1 and rows * blocks > SCALAR_MEMORY:
        rest = (k, v, q_segments, kv_segments)
        each = (
            splash_attention(q[i : i + 1], *(x[i : i + 1] for x in rest), interpret=interpret)
            for i in range(rows)
        )
        return jnp.concatenate(list(each))
    q, k, v = (_heads_first(x, n) for x, n in ((q, q_block), (k, kv_block), (v, kv_block)))
    q_ids, kv_ids = _ids(q_segments, q_block), _ids(kv_segments, kv_block)
    live = live_blocks(q_ids, kv_ids, q_block, kv_block)
    by_query, by_key = _visits(live), _visits(jnp.swapaxes(live, 1, 2), turned=True)
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
        residual_checkpoint_name=None,
        mask_function=None,
        interpret=interpret,
    )
    out = attend(q, k, v, kernel.SegmentIds(q_ids.reshape(-1), kv_ids.reshape(-1)))
    if by_query.data_next is not None:  # a block that visits none is 0 / 0
        seen = jnp.repeat(jnp.any(live, -1).reshape(-1), q_block)
        out = jnp.where(seen[None, :, None], out, 0)
    return out.reshape(out.shape[0], rows, -1, out.shape[-1])[:, :, :length].transpose(1, 2, 0, 3)


def live_blocks(
    q_ids: Int[Array, "b q"], kv_ids: Int[Array, "b v"], q_block: int, kv_block: int
) -> Bool[Array, "b i j"]:
    """Whether block i of a row's queries may attend to block j of its keys."""
    q, k = q_ids.reshape(len(q_ids), -1, q_block), kv_ids.reshape(len(kv_ids), -1, kv_block)
    least = jnp.maximum(q.min(-1)[:, :, None], k.min(-1)[:, None])
    return least <= jnp.minimum(q.max(-1)[:, :, None], k.max(-1)[:, None])


def _visits(live: Bool[Array, "b i j"], turned: bool = False) -> lists.MaskInfo:
    """The kernel's lists for the blocks (row, i): which block comes at each step, and if it counts.

    Those that count come first; the last of them stays loaded while the others are passed over.
    Lists that do not fit are left out.

    Args:
      turned: the steps are the lists' first axis.
    """
    b, i, j = live.shape
    if b * i * j > SCALAR_MEMORY:
        return lists.MaskInfo(None, None, None, None, None)
    order = jnp.argsort(~live, axis=-1, stable=True).astype(jnp.int32)
    count = jnp.sum(live, -1, keepdims=True, dtype=jnp.int32)
    step = jnp.arange(j, dtype=jnp.int32)[None, None]
    block = jnp.take_along_axis(order, jnp.minimum(step, jnp.maximum(count - 1, 0)), -1)
    block = block + j * jnp.arange(b, dtype=jnp.int32)[:, None, None]
    # Small integers take less of that memory; 2^15 blocks would be 16 million tokens.
    block, counts = (
        x.reshape(1, b * i, j).swapaxes(1, 2 if turned else 1)
        for x in (block.astype(jnp.int16), (step < count).astype(jnp.int8))
    )
    return lists.MaskInfo(block, None, counts, None, None)


def _block(length: int) -> int:
    """Tokens in a block: `BLOCK`, or fewer where fewer hold the whole length."""
    return min(BLOCK, -(-length // LANES) * LANES)


def _heads_first(x: Float[Array, "b l n k"], block: int) -> Float[Array, "n bl k"]:
    """Rows one after the other, each filled up to whole blocks."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0)))
    return x.transpose(2, 0, 1, 3).reshape(x.shape[2], -1, x.shape[3])


def _ids(segments: Int[Array, "b l"], block: int) -> Int[Array, "b L"]:
    """Ids that ascend along each row and are its own."""
    ids = jnp.where(segments == 0, PADDING, segments).astype(jnp.int32)
    ids = jnp.pad(ids, ((0, 0), (0, -ids.shape[1] % block)), constant_values=FILL)
    return ids + (FILL + 1) * jnp.arange(len(ids), dtype=jnp.int32)[:, None]
