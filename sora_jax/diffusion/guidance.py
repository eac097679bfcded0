"""Classifier-free guidance (arXiv:2207.12598), within an interval of levels, and rescaled.

    v = unconditional + scale (conditional - unconditional)

Outside of an interval of noise levels t, as the model sees them after any shift, the scale is 1
(arXiv:2404.07724, whose sigma is t / (1 - t)); both velocities are computed all the same. Large
scales move clean predictions x0 = x - t v away from the data's contrast; rescaling moves their
deviation towards that of the conditional ones by a share phi (arXiv:2305.08891, equations 15, 16):

    x0' = (1 - phi + phi deviation(conditional x0) / deviation(guided x0)) (guided x0)

where deviations are those of a segment's values, over its patches.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sora_jax.rows import PackedBatch, segment_means, token_values


class Guidance(NamedTuple):
    """How predictions with and without a caption are put together.

    Attributes:
      scale: 1 means without guidance.
      lowest, highest: noise levels within which it applies.
      rescale: the share phi, from 0 to 1.
    """

    scale: float | Float[Array, ""] = 1.0
    lowest: float | Float[Array, ""] = 0.0
    highest: float | Float[Array, ""] = 1.0
    rescale: float | Float[Array, ""] = 0.0


def guide(
    guidance: Guidance,
    batch: PackedBatch,
    x: Float[Array, "b l p"],
    level: Float[Array, "b l 1"],
    conditional: Float[Array, "b l p"],
    unconditional: Float[Array, "b l p"],
) -> Float[Array, "b l p"]:
    """The guided velocity.

    Args:
      batch: says which patches are of one segment, and known; these have no part in deviations.
      x: patches at their levels.
      level: of each patch.
      conditional: velocity with the captions.
      unconditional: velocity without.
    """
    inside = (guidance.lowest <= level) & (level <= guidance.highest)
    scale = jnp.where(inside, guidance.scale, 1)
    guided = unconditional + scale * (conditional - unconditional)
    moving = (level > 0) & ~batch.known[..., None]
    wanted, found = (
        _deviation(batch, x - level * velocity, moving) for velocity in (conditional, guided)
    )
    ratio = jnp.where(found > 0, wanted / found, 1)
    share = guidance.rescale * moving * (ratio - 1)
    # x0 + share x0 = x - t v for the velocity v below.
    return guided - share * (x / jnp.where(level > 0, level, 1) - guided)


def _deviation(
    batch: PackedBatch, values: Float[Array, "b l p"], counted: Bool[Array, "b l 1"]
) -> Float[Array, "b l 1"]:
    """Standard deviation of the counted values of each patch's segment."""

    def mean(x: Float[Array, "b l p"]) -> Float[Array, "b l 1"]:
        means = segment_means(batch, x.mean(-1), counted[..., 0])
        return token_values(means, batch)

    centred = values - mean(values)
    return jnp.sqrt(mean(centred**2))
