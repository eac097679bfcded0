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
    loss: Callable[..., tuple[Float[Array, ""], Any]], params: Params, batch: Any, parts: int
) -> tuple[tuple[Float[Array, ""], Any], Params]:
    """The sums of micro-batches' losses and of what they return besides, and the loss's gradient.

    There is one accumulator of the size of `params`.

    Args:
      loss: of parameters and a batch: the loss, and a tree of small arrays.
      batch: a tree of arrays whose first axis is rows.
      parts: number of micro-batches.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        return differentiate(params, batch)

    def add(total: Any, micro_batch: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, differentiate(params, micro_batch)), None

    micro_batches = split_rows(batch, parts)
    first = jax.tree.map(lambda array: array[0], micro_batches)
    values = jax.eval_shape(loss, params, first)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), values)
    start = zeros, jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, start, micro_batches)[0]


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
