"""Attention over packed segments on a CPU: a few heads at a time, whose scores stay in its cache.

Forward (arXiv:2205.14135), with S = q k^T where segments are the same:
  L_q = log sum_v exp(S_qv),   P = exp(S - L),   O = P v
Backward, from O and L, with dO the gradient of O and D_q = dO_q . O_q:
  dv = P^T dO,   dS = P (dO v^T - D),   dq = dS k,   dk = dS^T q
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from sora_jax.kernels.reference import MASKED_LOGIT
from sora_jax.kernels.remat import OUTPUT

CHUNK_QUERIES = 512
TILE_SCORES = 1 << 20
"""Scores computed at a time, 4 MB: of several heads, or of a part of the queries of one."""


@jax.custom_vjp
def tiled_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
) -> Float[Array, "b q n K"]:
    """Computes `attention.attention` from queries that are already scaled."""
    return _forward(q, k, v, q_segments, kv_segments)[0]


def _forward(q: Array, k: Array, v: Array, q_segments: Array, kv_segments: Array):
    length, heads = q.shape[1:3]
    keys = k.shape[1]
    chunks = _chunks(q, keys), _chunks(q_segments, keys, heads)
    out, log_sum = _map_heads(_attend, *chunks, _heads(k), _heads(v), _heads(kv_segments, heads))
    out = checkpoint_name(_rows(out, heads, length), OUTPUT)
    log_sum = checkpoint_name(log_sum, OUTPUT)
    return out, (q, k, v, q_segments, kv_segments, out, log_sum)


def _backward(saved: tuple[Array, ...], gradient: Array):
    q, k, v, q_segments, kv_segments, out, log_sum = saved
    length, heads = q.shape[1:3]
    keys = k.shape[1]
    chunks = [_chunks(q, keys), _chunks(q_segments, keys, heads), _chunks(out, keys), log_sum]
    chunks.append(_chunks(gradient, keys))
    dq, dk, dv = _map_heads(
        _attend_backward, *chunks, _heads(k), _heads(v), _heads(kv_segments, heads)
    )
    return _rows(dq, heads, length), _rows(dk, heads), _rows(dv, heads), None, None


tiled_attention.defvjp(_forward, _backward)


def _attend(q: Array, q_segments: Array, k: Array, v: Array, kv_segments: Array):
    """Output and L of one head, a chunk of queries after the other."""

    def attend_chunk(chunk: tuple[Array, Array]) -> tuple[Array, Array]:
        q, segments = chunk
        scores = jnp.einsum("qk,vk->qv", q, k, preferred_element_type=jnp.float32)
        scores = jnp.where(segments[:, None] == kv_segments[None], scores, MASKED_LOGIT)
        most = jnp.max(scores, 1)
        weights = jnp.exp(scores - most[:, None])
        total = jnp.sum(weights, 1)
        out = jnp.einsum(
            "qv,vk->qk", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
        )
        return (out / total[:, None]).astype(v.dtype), most + jnp.log(total)

    return jax.lax.map(attend_chunk, (q, q_segments))


def _attend_backward(*arrays: Array):
    """Gradients of the queries, keys and values of one head."""
    *chunks, k, v, kv_segments = arrays

    def attend_chunk(sums: tuple[Array, Array], chunk: list[Array]):
        q, segments, out, log_sum, gradient = chunk
        # Keys come first: the products that sum over queries then need nothing transposed.
        scores = jnp.einsum("vk,qk->vq", k, q, preferred_element_type=jnp.float32)
        same = kv_segments[:, None] == segments[None]
        weights = jnp.where(same, jnp.exp(scores - log_sum[None]), 0)
        by_weights = jnp.einsum("vk,qk->vq", v, gradient, preferred_element_type=jnp.float32)
        along = jnp.sum(gradient.astype(jnp.float32) * out.astype(jnp.float32), 1)
        by_scores = (weights * (by_weights - along[None])).astype(q.dtype)
        dq = jnp.einsum("vq,vk->qk", by_scores, k)
        dk = jnp.einsum("vq,qk->vk", by_scores, q, preferred_element_type=jnp.float32)
        dv = jnp.einsum(
            "vq,qk->vk", weights.astype(v.dtype), gradient, preferred_element_type=jnp.float32
        )
        return (sums[0] + dk, sums[1] + dv), dq

    zeros = (jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32))
    (dk, dv), dq = jax.lax.scan(attend_chunk, zeros, chunks)
    return dq, dk.astype(k.dtype), dv.astype(v.dtype)


def _map_heads(function: Callable, q: Array, *arrays: Array) -> Any:
    """Applies a function of one head to all, as many at a time as `TILE_SCORES` admits."""
    heads, scores = len(q), q.shape[2] * arrays[-1].shape[1]
    most = max(TILE_SCORES // scores, 1)
    group = next(size for size in range(min(most, heads), 0, -1) if heads % size == 0)
    return jax.lax.map(lambda x: function(*x), (q, *arrays), batch_size=group)


def _heads(x: Array, heads: int | None = None) -> Array:
    """`b l n k` as `(b n) l k`, or `b l` as `(b n) l`."""
    if heads is not None:
        return jnp.repeat(x, heads, 0)
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _chunks(x: Array, keys: int, heads: int | None = None) -> Array:
    """`_heads` with queries in chunks, `(b n) c q ...`; the last is filled up with zeros."""
    x = _heads(x, heads)
    size = min(CHUNK_QUERIES, x.shape[1], max(TILE_SCORES // keys, 1))
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), *((0, 0),) * (x.ndim - 2)))
    return x.reshape(len(x), -1, size, *x.shape[2:])


def _rows(x: Array, heads: int, length: int | None = None) -> Array:
    """`(b n) l k` as `b l n k`, or `(b n) c q k` so, without what `_chunks` filled up."""
    x = x.reshape(-1, heads, x.size // (len(x) * x.shape[-1]), x.shape[-1])
    return x[:, :, :length].swapaxes(1, 2)
