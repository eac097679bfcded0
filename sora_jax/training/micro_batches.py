"""Gradients of a batch by micro-batches, one after another: activations of one take memory at once.

A loss that is a sum over the rows of a batch is the sum of its micro-batches' losses, and so is its
gradient. Whatever divides the sum, as the weight of the whole batch does, must not be computed of a
micro-batch alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.sharding import P, axis_size
from sora_jax.types import Params


def sum_gradients(
    loss: Callable[..., Float[Array, ""]], params: Params, batch: Any, parts: int
) -> tuple[Float[Array, ""], Params]:
    """The sum of micro-batches' losses and its gradient, one accumulator of the size of `params`.

    Args:
      loss: of parameters and a batch.
      batch: a tree of arrays whose first axis is rows.
      parts: number of micro-batches.
    """
    differentiate = jax.value_and_grad(loss)
    if parts == 1:
        return differentiate(params, batch)

    def add(total: Any, micro_batch: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, differentiate(params, micro_batch)), None

    start = jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, start, split_rows(batch, parts))[0]


def split_rows(batch: Any, parts: int) -> Any:
    """Each array [b, ...] as micro-batches [parts, b / parts, ...].

    Micro-batch k has the k-th part of each shard's rows: no row leaves its device.
    """

    def split(array: Array) -> Array:
        rows, *rest = jax.typeof(array).sharding.spec
        shards, shape = axis_size(rows), array.shape[1:]
        size = len(array) // (shards * parts)
        spread = P(rows, None, None, *rest)
        by_shard = jnp.reshape(array, (shards, parts, size, *shape), out_sharding=spread)
        by_part, spec = jnp.moveaxis(by_shard, 1, 0), P(None, rows, *rest)
        return jnp.reshape(by_part, (parts, shards * size, *shape), out_sharding=spec)

    return jax.tree.map(split, batch)
