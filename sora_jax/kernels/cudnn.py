"""GPU attention over packed segments: cuDNN's fused kernel with its packed layout.

JAX's public `jax.nn.dot_product_attention` has no segments, and its cuDNN path would attend across
them. The function under it takes the offset and the length of each segment; cuDNN then runs each
segment by itself, so that the cost is sum n^2. That function is private to JAX (jax._src); its
arguments are the same from JAX 0.10 to 0.12. It requires compute capability 9.0 (H100) or newer.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

DTYPES = (jnp.bfloat16, jnp.float16)
MAX_HEAD_WIDTH = 256
"""Maximum head width; widths must be multiples of 8."""
MIN_COMPUTE_CAPABILITY = (9, 0)


def supports(q: Float[Array, "b q n k"], v: Float[Array, "b v n K"]) -> bool:
    """Whether cuDNN's packed layout supports the width and dtype of these tensors on this GPU."""
    width = q.shape[-1]
    fits = q.dtype in DTYPES and width == v.shape[-1] and width % 8 == 0 and width <= MAX_HEAD_WIDTH
    return fits and _compute_capability() >= MIN_COMPUTE_CAPABILITY


def _compute_capability() -> tuple[int, ...]:
    device = jax.local_devices(backend="gpu")[0]
    return tuple(int(n) for n in device.compute_capability.split("."))


def cudnn_attention(
    q: Float[Array, "b q n k"],
    k: Float[Array, "b v n k"],
    v: Float[Array, "b v n K"],
    q_segments: Int[Array, "b q"],
    kv_segments: Int[Array, "b v"],
    max_segments: int,
) -> Float[Array, "b q n K"]:
    """Computes `attention.attention` on one device, from queries that are already scaled.

    Args:
      max_segments: maximum number of segments in a row.
    """
    from jax._src.cudnn import fused_attention_stablehlo

    fused: Any = fused_attention_stablehlo
    max_segments = max(max_segments, 2)  # JAX takes a maximum of one for another layout
    q_lengths, kv_lengths = (_lengths(s, max_segments) for s in (q_segments, kv_segments))
    present = (q_lengths > 0) & (kv_lengths > 0)
    # cuDNN does not write outputs and gradients of the tokens that it does not visit.
    q_live, kv_live = (_is_present(s, present)[..., None, None] for s in (q_segments, kv_segments))
    q, k, v = jnp.where(q_live, q, 0), jnp.where(kv_live, k, 0), jnp.where(kv_live, v, 0)
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
    return jnp.where(q_live, out, 0)


def _lengths(segments: Int[Array, "b l"], max_segments: int) -> Int[Array, "b g"]:
    """Number of tokens of each of the segments 1 to `max_segments`."""
    ids = jnp.arange(1, max_segments + 1)
    return jnp.sum(segments[:, None] == ids[None, :, None], -1, dtype=jnp.int32)


def _offsets(segments: Int[Array, "b l"], present: Bool[Array, "b g"]) -> Int[Array, "b g1"]:
    """Index of each segment's first token; -1 for absent segments and for one more at the end."""
    ids = jnp.arange(1, present.shape[1] + 1)
    first = jnp.argmax(segments[:, None] == ids[None, :, None], -1).astype(jnp.int32)
    return jnp.pad(jnp.where(present, first, -1), ((0, 0), (0, 1)), constant_values=-1)


def _is_present(segments: Int[Array, "b l"], present: Bool[Array, "b g"]) -> Bool[Array, "b l"]:
    """Whether a token's segment is among the present ones."""
    padded = jnp.pad(present, ((0, 0), (1, 0)))  # segment 0 is padding
    return jnp.take_along_axis(padded, segments, 1)
