"""The one entry point of attention over packed segments.

    o_q = sum_v softmax_v(q . k_v / sqrt(k)) value_v   over the v with segment_v = segment_q

The reference forms the whole score matrix; it is meant for short rows and as the truth that
other backends are tested against.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MASKED = -1e30


def attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n k"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
) -> Float[Array, "b q n k"]:
    """Attention of each query to the keys of its own segment; softmax in float32.

    A query whose segment has no key gets the mean of all values: give every segment a key.
    """
    scale = q.shape[-1] ** -0.5
    scores = jnp.einsum("bqnk,bvnk->bnqv", q * jnp.asarray(scale, q.dtype), k)
    same = q_segments[:, None, :, None] == kv_segments[:, None, None, :]
    weights = jax.nn.softmax(jnp.where(same, scores.astype(jnp.float32), MASKED), -1)
    return jnp.einsum("bnqv,bvnk->bqnk", weights.astype(v.dtype), v)
