"""The one entry point of attention over packed segments; the mesh's platform picks the backend.

o_q = sum_v softmax_v(q . k_v / sqrt(k) + bias_v) value_v   over the v with segment_v = segment_q
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.kernels import cudnn
from sora_jax.kernels.reference import reference_attention
from sora_jax.kernels.splash import splash_attention
from sora_jax.kernels.tiled import tiled_attention
from sora_jax.sharding import axis_size, platform


def attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n k"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    kv_bias: Float[Array, "b v"] | None = None,
    max_segments: int | None = None,
) -> Float[Array, "b q n k"]:
    """Attends from each query to the keys of its own segment; softmax in float32.

    Queries may be sharded along the row, keys and values may not. For a query whose segment has no
    key it returns unspecified values, finite if all inputs are: give every segment a key.

    Args:
      kv_bias: added to the logits of each key; log(n) makes the key count n times.
      max_segments: maximum number of segments in a row. GPUs need it for cuDNN's kernel: without
        it, with a bias or in float32, they run the reference. CPUs choose the size of blocks by it.

    Raises:
      ValueError: keys are sharded along the row.
    """
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    if kv_bias is not None:
        q, k = _append_bias(q, k, kv_bias)
    kernel = reference_attention
    match platform():
        case "tpu":
            kernel = splash_attention
        case "cpu":
            kernel = functools.partial(tiled_attention, max_segments=max_segments)
        case "gpu" if max_segments is not None and cudnn.supports(q, v):
            kernel = functools.partial(cudnn.cudnn_attention, max_segments=max_segments)
    specs = tuple(jax.typeof(x).sharding.spec for x in (q, k, v, q_segments, kv_segments))
    if axis_size(specs[1][1]) > 1:
        raise ValueError(f"keys are cut over {specs[1][1]}: reshard them to whole rows first")
    run = jax.shard_map(kernel, in_specs=specs, out_specs=specs[0], check_vma=False)
    return run(q, k, v, q_segments, kv_segments)


def _append_bias(
    q: Float[Array, "b q n k"], k: Float[Array, "b v n k"], bias: Float[Array, "b v"]
) -> tuple[Float[Array, "b q n K"], Float[Array, "b v n K"]]:
    """Widens queries and keys so that their products are q . k plus the keys' bias.

    The bias becomes three columns of the keys, each of them the rounding error in bfloat16 of the
    sum of those before, as factors of products may be rounded to it in any dtype: alone it would
    round log(500) by 0.015, and its key's weight by 1.5 per cent.
    """
    remainder, columns = bias.astype(jnp.float32)[:, :, None, None], []
    for _ in range(3):
        part = remainder.astype(jnp.bfloat16)
        columns.append(jnp.zeros_like(k[..., :1]) + part.astype(k.dtype))
        remainder = remainder - part.astype(jnp.float32)
    return (
        jnp.concatenate([q, jnp.ones_like(q[..., :3])], -1),
        jnp.concatenate([k, *columns], -1),
    )
