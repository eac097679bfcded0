"""Attention over packed segments in plain JAX: the truth that other backends are tested against.

Scores are computed for `CHUNK_QUERIES` queries at a time, forward and backward: memory is linear in
the length of a row.
"""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from sora_jax.kernels.remat import OUTPUT

CHUNK_QUERIES = 512
MASKED_LOGIT = -1e30


def reference_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
) -> Float[Array, "b q n K"]:
    """Computes `attention.attention` from queries that are already scaled."""
    length = q.shape[1]
    if length <= CHUNK_QUERIES:
        return checkpoint_name(_attend(q, k, v, q_segments, kv_segments), OUTPUT)
    padding = -length % CHUNK_QUERIES
    q = jnp.pad(q, ((0, 0), (0, padding), (0, 0), (0, 0)))
    q_segments = jnp.pad(q_segments, ((0, 0), (0, padding)))
    chunks = tuple(
        x.reshape(len(x), -1, CHUNK_QUERIES, *x.shape[2:]).swapaxes(0, 1) for x in (q, q_segments)
    )

    @jax.checkpoint
    def attend_chunk(chunk):
        return _attend(chunk[0], k, v, chunk[1], kv_segments)

    out = jax.lax.map(attend_chunk, chunks).swapaxes(0, 1)
    out = out.reshape(len(q), -1, *out.shape[3:])[:, :length]
    return checkpoint_name(out, OUTPUT)


def _attend(q, k, v, q_segments, kv_segments):
    scores = jnp.einsum("bqnk,bvnk->bnqv", q, k, preferred_element_type=jnp.float32)
    same = q_segments[:, None, :, None] == kv_segments[:, None, None, :]
    weights = jax.nn.softmax(jnp.where(same, scores, MASKED_LOGIT), -1)
    return jnp.einsum("bnqv,bvnk->bqnk", weights.astype(v.dtype), v)
