"""Rotary position embedding over three axes (arXiv:2104.09864; split of the head as in Wan 2.1).

A head's k numbers form k/2 pairs. Time gets k - 4 (k // 6) numbers, height and width 2 (k // 6)
each. With position x of an axis and its pair i of n, the pair is rotated by

    angle = x * base^(-i / n),

so that the product of a query and a key depends on the difference of their positions only.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def rope_angles(
    positions: Float[Array, "b l 3"], head_width: int, base: float = 10_000.0
) -> Float[Array, "b l {head_width}//2"]:
    """The rotation angle of each pair of a head, in radians, float32."""
    side = head_width // 6
    pairs = (head_width // 2 - 2 * side, side, side)
    angles = []
    for axis, count in enumerate(pairs):
        frequencies = base ** (-jnp.arange(count, dtype=jnp.float32) / count)
        angles.append(positions[..., axis, None] * frequencies[None, None])
    return jnp.concatenate(angles, -1)


def rotate(x: Float[Array, "b l n k"], angles: Float[Array, "b l k2"]) -> Float[Array, "b l n k"]:
    """Turns the pairs (x0, x1), (x2, x3), ... of each head by `angles`; computes in float32."""
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    even, odd = (x[..., i::2].astype(jnp.float32) for i in (0, 1))
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
    return turned.reshape(x.shape).astype(x.dtype)
