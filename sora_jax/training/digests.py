"""Digests of arrays: 64 bits of each, the same on any mesh and in any number of processes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

LANES = (0x9E3779B9, 0x85EBCA6B)
"""What makes the two halves of a digest differ."""


@jax.jit
def digest(array: Array) -> UInt32[Array, "2"]:
    """Digest of an array's elements and their places.

    With the bits b_i of element i as a number and a bijection f of 32 bits that mixes them (the
    finalizer of MurmurHash3), lane j is

        d_j = sum_i f(b_i xor f(i + c_j))  mod 2^32.

    One changed element always changes it; of several, all changes cancel by chance alone. A sum
    needs no order: each device adds up what it holds, and only the sums travel.
    """
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
    if array.dtype == jnp.bool:
        bits = array.astype(jnp.uint32)
    else:
        bits = jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
    index = jnp.zeros((1,) * array.ndim, jnp.uint32)
    for axis, size in enumerate(array.shape):
        stride = int(np.prod(array.shape[axis + 1 :])) % 2**32
        steps = jnp.arange(size, dtype=jnp.uint32) * jnp.uint32(stride)
        index += steps.reshape((1,) * axis + (size,) + (1,) * (array.ndim - axis - 1))
    sums = [jnp.sum(_mix(bits ^ _mix(index + jnp.uint32(c))), dtype=jnp.uint32) for c in LANES]
    return jnp.stack(sums)


def _mix(x: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    """A bijection of 32 bits each of whose outputs depends on all of its inputs."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def digest_arrays(tree: Any) -> dict[str, str]:
    """Digests of a tree's arrays by their paths, as 16 hexadecimal digits.

    Of an array that several devices hold in full, each device digests its own copy.

    Raises:
      ValueError: two devices of this process hold other copies of an array.
    """
    digests = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        # Fetched one by one: XLA's collectives on CPUs deadlock where two programs meet.
        shards = digest(leaf).addressable_shards
        copies = {tuple(np.asarray(shard.data).tolist()): shard.device for shard in shards}
        if len(copies) > 1:
            raise ValueError(
                f"{name} is not the same on {' and '.join(map(str, copies.values()))}: one of them "
                "is faulty; go on from before without it"
            )
        ((a, b),) = copies
        digests[name] = f"{a:08x}{b:08x}"
    return digests
