"""Attention over packed segments on a CPU, a block of queries by a block of keys at a time.

Blocks that share no segment are passed over: a packed row costs what its clips cost, its padding
counted as one.
Forward (arXiv:2205.14135), with S = q k^T where segments are the same, for each block of queries
over the blocks of keys, then O = A / l and L = m + log l:
  m' = max(m, max_v S),   f = exp(m - m'),   W = exp(S - m'),   l' = f l + sum_v W,   A' = f A + W v
Backward, from O and L, with P = exp(S - L), dO the gradient of O and D_q = dO_q . O_q:
  dv = P^T dO,   dS = P (dO v^T - D),   dq = dS k,   dk = dS^T q
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from sora_jax.kernels.products import einsum
from sora_jax.kernels.reference import MASKED_LOGIT
from sora_jax.kernels.remat import OUTPUT

SMALLEST_BLOCK, LARGEST_BLOCK = 64, 512
"""Tokens of a block: large ones waste less time between products, small ones fewer pairs."""
TILE_SCORES = 1 << 21
"""Scores computed at a time, 8 MB: says how many heads are computed together."""
END = jnp.iinfo(jnp.int32).max
"""Stands for padding, segment 0 at the end of a row, so that ids are sorted."""
NOTHING = -1
"""The segment of keys that only fill up a block."""


class Blocks(NamedTuple):
    """Inputs of one row and a group of heads.

    Attributes:
      q, k, v: blocks of queries, keys and values, [blocks, heads, block, width].
      q_segments, kv_segments: their segments, [blocks, block].
      first, last: for each block of queries the first and one past the last block of keys that may
        share a segment with it.
    """

    q: Array
    k: Array
    v: Array
    q_segments: Array
    kv_segments: Array
    first: Array
    last: Array


def tiled_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    max_segments: int | None = None,
) -> Float[Array, "b q n K"]:
    """Computes `attention.attention` from queries that are already scaled."""
    # A row of one segment is best in large blocks; of several, in blocks of half their mean length.
    size, more = LARGEST_BLOCK, (max_segments or 1) - 1
    while size > SMALLEST_BLOCK and 2 * size * more > q.shape[1]:
        size //= 2
    return _attention(size, q, k, v, q_segments, kv_segments)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(size: int, *arrays: Array) -> Array:
    return _forward(size, *arrays)[0]


def _forward(size: int, *arrays: Array) -> tuple[Array, tuple[Array, ...]]:
    grouped = _group_heads(size, *arrays)
    out, log_sum = jax.lax.map(lambda row: _attend(_make_blocks(size, *row)), grouped)
    out = checkpoint_name(_ungroup_heads(out, arrays[0]), OUTPUT)
    return out, (*arrays, out, checkpoint_name(log_sum, OUTPUT))


def _backward(size: int, saved: tuple[Array, ...], gradient: Array):
    *arrays, out, log_sum = saved
    *grouped, out, gradient = _group_heads(size, *arrays, out, gradient)

    def of_row(row: tuple[Array, ...]):
        *inputs, out, gradient, log_sum = row
        out, gradient = _cut(out, size), _cut(gradient, size)
        return _attend_backward(_make_blocks(size, *inputs), out, log_sum, gradient)

    found = jax.lax.map(of_row, (*grouped, out, gradient, log_sum))
    dq, dk, dv = (_ungroup_heads(x, like) for x, like in zip(found, arrays, strict=False))
    return dq, dk, dv, None, None


_attention.defvjp(_forward, _backward)


def _attend(row: Blocks) -> tuple[Array, Array]:
    """O and L of every block of queries."""

    def of_queries(block: tuple[Array, ...]) -> tuple[Array, Array]:
        q, segments, first, last = block

        def add_keys(i: Array, sums: tuple[Array, Array, Array]):
            most, total, out = sums
            k, v, same = row.k[i], row.v[i], segments[:, None] == row.kv_segments[i][None]
            scores = jnp.where(same[None], einsum("nqk,nvk->nqv", q, k), MASKED_LOGIT)
            new = jnp.maximum(most, jnp.max(scores, 2))
            weights, fade = jnp.exp(scores - new[..., None]), jnp.exp(most - new)
            part = einsum("nqv,nvk->nqk", weights.astype(v.dtype), v)
            return new, total * fade + jnp.sum(weights, 2), out * fade[..., None] + part

        zeros = jnp.zeros(q.shape[:2], jnp.float32)
        sums = zeros + MASKED_LOGIT, zeros, jnp.zeros((*q.shape[:2], row.v.shape[3]), jnp.float32)
        most, total, out = jax.lax.fori_loop(first, last, add_keys, sums)
        total = jnp.where(total == 0, 1, total)  # of queries without any block of keys
        return (out / total[..., None]).astype(row.v.dtype), most + jnp.log(total)

    return jax.lax.map(of_queries, (row.q, row.q_segments, row.first, row.last))


def _attend_backward(row: Blocks, out: Array, log_sum: Array, gradient: Array):
    """Gradients of the blocks of queries, keys and values."""
    turned_keys = row.k.swapaxes(2, 3)

    def of_queries(sums: tuple[Array, Array], block: tuple[Array, ...]):
        q, segments, first, last, out, log_sum, gradient = block
        along = jnp.sum(gradient.astype(jnp.float32) * out.astype(jnp.float32), 2)

        # Every product sums along the last axis of its first factor, see `products`: keys come
        # before queries, and dq is made transposed.
        def add_keys(i: Array, sums: tuple[Array, Array, Array]):
            dk, dv, dq = sums
            k, v, same = row.k[i], row.v[i], row.kv_segments[i][:, None] == segments[None]
            scores = einsum("nvk,nqk->nvq", k, q)
            weights = jnp.where(same[None], jnp.exp(scores - log_sum[:, None]), 0)
            by_weights = einsum("nvk,nqk->nvq", v, gradient)
            by_scores = (weights * (by_weights - along[:, None])).astype(q.dtype)
            dk = dk.at[i].add(einsum("nvq,nqk->nvk", by_scores, q))
            dv = dv.at[i].add(einsum("nvq,nqk->nvk", weights.astype(v.dtype), gradient))
            return dk, dv, dq + einsum("nkv,nvq->nkq", turned_keys[i], by_scores)

        dq = jnp.zeros(q.swapaxes(1, 2).shape, jnp.float32)
        dk, dv, dq = jax.lax.fori_loop(first, last, add_keys, (*sums, dq))
        return (dk, dv), dq.swapaxes(1, 2).astype(q.dtype)

    zeros = jnp.zeros(row.k.shape, jnp.float32), jnp.zeros(row.v.shape, jnp.float32)
    queries = row.q, row.q_segments, row.first, row.last, out, log_sum, gradient
    (dk, dv), dq = jax.lax.scan(of_queries, zeros, queries)
    return dq, dk.astype(row.k.dtype), dv.astype(row.v.dtype)


def _make_blocks(
    size: int, q: Array, k: Array, v: Array, q_segments: Array, kv_segments: Array
) -> Blocks:
    """Cuts one row, [tokens, heads, width], and finds the keys that each block of queries needs."""
    q_segments, kv_segments = _cut(q_segments, size), _cut(kv_segments, size, NOTHING)
    (low, high), (key_low, key_high) = (
        (jnp.min(ids, 1), jnp.max(ids, 1))
        for ids in (jnp.where(x <= 0, END, x) for x in (q_segments, kv_segments))
    )
    may_share = (low[:, None] <= key_high[None]) & (key_low[None] <= high[:, None])
    first = jnp.argmax(may_share, 1)
    last = may_share.shape[1] - jnp.argmax(may_share[:, ::-1], 1)
    last = jnp.where(jnp.any(may_share, 1), last, first)
    q, k, v = (_cut(x, size) for x in (q, k, v))
    return Blocks(q, k, v, q_segments, kv_segments, first, last)


def _cut(x: Array, size: int, fill: int = 0) -> Array:
    """Blocks of a row, `l n k` as `c n size k` or `l` as `c size`, the last one filled up.

    A row that is shorter than a block is one.
    """
    size = min(size, len(x))
    padding = ((0, -len(x) % size), *((0, 0),) * (x.ndim - 1))
    x = jnp.pad(x, padding, constant_values=fill)
    x = x.reshape(-1, size, *x.shape[1:])
    return x.swapaxes(1, 2) if x.ndim > 2 else x


def _group_heads(size: int, *arrays: Array) -> Any:
    """`b l n k` as `(b groups) l heads k`, or `b l` as `(b groups) l`."""
    heads = arrays[0].shape[2]
    most = max(TILE_SCORES // size**2, 1)
    group = next(n for n in range(min(most, heads), 0, -1) if heads % n == 0)

    def of(x: Array) -> Array:
        if x.ndim == 2:
            return jnp.repeat(x, heads // group, 0)
        x = x.reshape(*x.shape[:2], -1, group, x.shape[3]).swapaxes(1, 2)
        return x.reshape(-1, *x.shape[2:])

    return [of(x) for x in arrays]


def _ungroup_heads(x: Array, like: Array) -> Array:
    """Blocks of groups of heads, `(b groups) c heads size k`, as `b l n k` of `like`'s b, l, n."""
    b, length, n, _ = like.shape
    x = x.reshape(b, -1, *x.shape[1:]).transpose(0, 2, 4, 1, 3, 5)  # b c size groups heads k
    return x.reshape(b, -1, n, x.shape[-1])[:, :length]
