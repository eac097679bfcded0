"""The one entry point of attention over packed segments; the mesh's platform picks the backend.

    o_q = sum_v softmax_v(q . k_v / sqrt(k)) value_v   over the v with segment_v = segment_q
"""

import jax
from jaxtyping import Array, Float, Int

from sora_jax.kernels.reference import reference_attention
from sora_jax.kernels.splash import splash_attention
from sora_jax.sharding import platform


def attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n k"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
) -> Float[Array, "b q n k"]:
    """Attention of each query to the keys of its own segment; softmax in float32.

    Tokens are not to be cut over the mesh. A query whose segment has no key gets numbers without
    meaning, finite where all inputs are: give every segment a key.
    """
    if platform() != "tpu":
        return reference_attention(q, k, v, q_segments, kv_segments)
    specs = tuple(jax.typeof(x).sharding.spec for x in (q, k, v, q_segments, kv_segments))
    run = jax.shard_map(splash_attention, in_specs=specs, out_specs=specs[0], check_vma=False)
    return run(q, k, v, q_segments, kv_segments)
