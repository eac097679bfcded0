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
from sora_jax.sharding import axis_size, platform


def attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n k"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    kv_bias: Float[Array, "b v"] | None = None,
    count: int | None = None,
) -> Float[Array, "b q n k"]:
    """Attention of each query to the keys of its own segment; softmax in float32.

    Keys are not to be cut over the mesh, queries may be. A query whose segment has no key gets
    numbers without meaning, finite where all inputs are: give every segment a key.

    Args:
      kv_bias: of each key; log(n) makes it count n times.
      count: segments of a row, at most. GPUs want it: without it, or with a bias or in float32,
        they get the reference.
    """
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    if kv_bias is not None:
        q, k = _with_bias(q, k, kv_bias)
    kernel = reference_attention
    match platform():
        case "tpu":
            kernel = splash_attention
        case "gpu" if count is not None and cudnn.supports(q, v):
            kernel = functools.partial(cudnn.cudnn_attention, count=count)
    specs = tuple(jax.typeof(x).sharding.spec for x in (q, k, v, q_segments, kv_segments))
    if axis_size(specs[1][1]) > 1:
        raise ValueError(f"keys are cut over {specs[1][1]}: reshard them to whole rows first")
    run = jax.shard_map(kernel, in_specs=specs, out_specs=specs[0], check_vma=False)
    return run(q, k, v, q_segments, kv_segments)


def _with_bias(
    q: Float[Array, "b q n k"], k: Float[Array, "b v n k"], bias: Float[Array, "b v"]
) -> tuple[Float[Array, "b q n K"], Float[Array, "b v n K"]]:
    """Wider queries and keys, whose products are those of q and k plus the keys' bias.

    The bias is three columns, each what the dtype lost of those before: bfloat16 alone would round
    log(500) by 0.015, and its key's weight by 1.5 per cent.
    """
    rest, columns = bias.astype(jnp.float32)[:, :, None, None], []
    for _ in range(3):
        columns.append(jnp.zeros_like(k[..., :1]) + rest.astype(k.dtype))
        rest = rest - rest.astype(k.dtype).astype(jnp.float32)
    return (
        jnp.concatenate([q, jnp.ones_like(q[..., :3])], -1),
        jnp.concatenate([k, *columns], -1),
    )
