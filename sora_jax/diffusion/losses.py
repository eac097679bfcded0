"""The loss of packed segments.

    loss = sum_g w_g / N_g sum_{l in g} mean_p (output - target)^2  /  sum_g w_g

over segments g with N_g tokens to predict (known patches and padding do not count).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sora_jax.rows import PackedBatch, segment_sizes
from sora_jax.sharding import SHARDING as S

LEVEL_BINS = 4
"""Equal intervals of noise levels in which the loss is told."""
SIZE_BINS = 6
"""Maximum number of octaves of segments' sizes in which the loss is told."""


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
    sums = level_sums(segment_errors(output, target, batch), batch)
    return jnp.sum(sums[0]) / jnp.maximum(total, 1e-6)


def level_sums(errors: Float[Array, "b g"], batch: PackedBatch) -> Float[Array, "2 k"]:
    """Numerator and denominator of the loss, cut by the segments' noise levels.

    Entry [0, i] is the sum of w_g times the error of segment g, and [1, i] that of w_g, over the
    segments whose level lies in [i, i + 1) / `LEVEL_BINS`.

    Args:
      errors: see `segment_errors`.
    """
    levels = batch.levels[:, 1 : 1 + errors.shape[1]]
    number = jnp.clip(jnp.floor(levels * LEVEL_BINS), 0, LEVEL_BINS - 1).astype(jnp.int32)
    return _sums(errors, batch, number, LEVEL_BINS)


def size_bins(tokens: int) -> list[tuple[int, int]]:
    """First and last number of tokens of each bin of sizes: octaves, the last one to a full row.

    There are at most `SIZE_BINS`; the first one has all smaller sizes too.

    Args:
      tokens: video tokens that a row holds, at least 1.
    """
    top = tokens.bit_length() - 1
    starts = [2**octave for octave in range(max(top - SIZE_BINS + 1, 0), top + 1)]
    lasts = [start - 1 for start in starts[1:]] + [tokens]
    return list(zip([1, *starts[1:]], lasts, strict=True))


def size_sums(errors: Float[Array, "b g"], batch: PackedBatch) -> Float[Array, "2 n"]:
    """As `level_sums`, cut by the segments' numbers of video tokens, known ones included.

    Args:
      errors: see `segment_errors`.

    Returns:
      Entries in the order of `size_bins` of the batch's rows.
    """
    bins = size_bins(batch.segment_ids.shape[1])
    starts = jnp.array([first for first, _ in bins[1:]], jnp.float32).reshape(1, 1, -1)
    number = jnp.sum(segment_sizes(batch)[..., None] >= starts, -1, dtype=jnp.int32)
    return _sums(errors, batch, number, len(bins))


def _sums(
    errors: Float[Array, "b g"], batch: PackedBatch, number: Int[Array, "b g"], bins: int
) -> Float[Array, "2 k"]:
    """Sums of w_g times the error and of w_g, over the segments of each number of a bin."""
    in_bin = jax.nn.one_hot(number, bins, dtype=errors.dtype)
    pairs = jnp.stack([errors * batch.weights, batch.weights])
    return jnp.sum(pairs[..., None] * in_bin[None], (1, 2))
