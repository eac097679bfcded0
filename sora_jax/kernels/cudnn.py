"""GPU attention over packed segments: cuDNN's fused kernel with its packed layout.

JAX's public `jax.nn.dot_product_attention` has no segments, and its cuDNN path would attend across
them. The function under it takes where each segment starts and how long it is; cuDNN then runs each
segment by itself, so that the cost is sum n^2. That function is JAX's own business (jax._src), its
arguments are the same from JAX 0.10 to 0.12, and it wants compute capability 9.0 (H100) or newer.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

DTYPES = (jnp.bfloat16, jnp.float16)
WIDEST = 256
"""Numbers in a head, at most; a multiple of 8."""
CAPABILITY = (9, 0)


def supports(q: Float[Array, "b q n k"], v: Float[Array, "b v n K"]) -> bool:
    """Whether cuDNN's packed layout takes such tensors on this machine's GPU."""
    width = q.shape[-1]
    fits = q.dtype in DTYPES and width == v.shape[-1] and width % 8 == 0 and width <= WIDEST
    return fits and _capability() >= CAPABILITY


def _capability() -> tuple[int, ...]:
    device = jax.local_devices(backend="gpu")[0]
    return tuple(int(n) for n in device.compute_capability.split("."))


def cudnn_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    count: int,
) -> Float[Array, "b q n K"]:
    """As `attention.attention`, on the tensors of one device, of queries that are already scaled.

    Args:
      count: segments of a row, at most.
    """
    from jax._src.cudnn import fused_attention_stablehlo

    fused: Any = fused_attention_stablehlo
    count = max(count, 2)  # of one, JAX takes another layout
    q_lengths, kv_lengths = (_lengths(s, count) for s in (q_segments, kv_segments))
    present = (q_lengths > 0) & (kv_lengths > 0)
    # What cuDNN does not visit it does not write either, gradients included.
    q_seen, kv_seen = (_seen(s, present)[..., None, None] for s in (q_segments, kv_segments))
    q, k, v = jnp.where(q_seen, q, 0), jnp.where(kv_seen, k, 0), jnp.where(kv_seen, v, 0)
    out = fused.dot_product_attention(
        q,
        k,
        v,
        q_seqlen=jnp.where(present, q_lengths, -1),
        kv_seqlen=jnp.where(present, kv_lengths, -1),
        q_offsets=_offsets(q_segments, present),
        kv_offsets=_offsets(kv_segments, present),
        mask_type=fused.MaskType.PADDING,
    )
    return jnp.where(q_seen, out, 0)


def _lengths(segments: Int[Array, "b l"], count: int) -> Int[Array, "b g"]:
    """Tokens of the segments 1 to `count`."""
    numbers = jnp.arange(1, count + 1)
    return jnp.sum(segments[:, None] == numbers[None, :, None], -1, dtype=jnp.int32)


def _offsets(segments: Int[Array, "b l"], present: Bool[Array, "b g"]) -> Int[Array, "b g1"]:
    """The first token of each segment; -1 for absent ones, and one more at the end."""
    numbers = jnp.arange(1, present.shape[1] + 1)
    first = jnp.argmax(segments[:, None] == numbers[None, :, None], -1).astype(jnp.int32)
    return jnp.pad(jnp.where(present, first, -1), ((0, 0), (0, 1)), constant_values=-1)


def _seen(segments: Int[Array, "b l"], present: Bool[Array, "b g"]) -> Bool[Array, "b l"]:
    """Whether a token's segment is among the present ones."""
    padded = jnp.pad(present, ((0, 0), (1, 0)))  # segment 0 is padding
    return jnp.take_along_axis(padded, segments, 1)
