"""The loss of packed segments.

    loss = sum_g w_g / N_g sum_{l in g} mean_p (output - target)^2  /  sum_g w_g

over segments g with N_g tokens to predict (known patches and padding do not count).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.rows import PackedBatch
from sora_jax.sharding import SHARDING as S

LEVEL_BINS = 4
"""Equal intervals of noise levels in which the loss is told."""


def segment_errors(
    output: Float[Array, "b l p"], target: Float[Array, "b l p"], batch: PackedBatch
) -> Float[Array, "b g"]:
    """Mean squared error of each segment's unknown patches; 0 for an absent segment."""
    error = jnp.mean((output - target) ** 2, -1)
    segments = batch.segment_ids * (~batch.known)
    member = jax.nn.one_hot(segments - 1, batch.weights.shape[1], dtype=error.dtype)
    exact = jax.lax.Precision.HIGHEST  # a TPU's products round float32 to bfloat16 otherwise
    total = jnp.einsum("bl,blg->bg", error, member, precision=exact, out_sharding=S.act_bs)
    count = jnp.sum(member, 1)
    return total / jnp.maximum(count, 1)


def packed_loss(
    output: Float[Array, "b l p"],
    target: Float[Array, "b l p"],
    batch: PackedBatch,
    total_weight: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """The equation above.

    Args:
      total_weight: sum of the weights of the batch that `batch` is a part of, in place of its own
        sum; the losses of all parts then add up to that of the whole.
    """
    total = jnp.sum(batch.weights) if total_weight is None else total_weight
    return jnp.sum(level_sums(output, target, batch)[0]) / jnp.maximum(total, 1e-6)


def level_sums(
    output: Float[Array, "b l p"], target: Float[Array, "b l p"], batch: PackedBatch
) -> Float[Array, "2 k"]:
    """Numerator and denominator of the loss, cut by the segments' noise levels.

    Entry [0, i] is the sum of w_g times the error of segment g, and [1, i] that of w_g, over the
    segments whose level lies in [i, i + 1) / `LEVEL_BINS`.
    """
    errors = segment_errors(output, target, batch)
    levels = batch.levels[:, 1 : 1 + errors.shape[1]]
    number = jnp.clip(jnp.floor(levels * LEVEL_BINS), 0, LEVEL_BINS - 1).astype(jnp.int32)
    in_bin = jax.nn.one_hot(number, LEVEL_BINS, dtype=errors.dtype)
    pairs = jnp.stack([errors * batch.weights, batch.weights])
    return jnp.sum(pairs[..., None] * in_bin[None], (1, 2))
