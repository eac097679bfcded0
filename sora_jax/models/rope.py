"""Rotary position embedding over three axes (arXiv:2104.09864; split of the head as in Wan 2.1).

A head's k channels form k/2 pairs, channels i and i + k/2: slices of whole halves cost a TPU less
than every other channel (files hold pairs side by side, see `interop.rotary`). Time gets
k/2 - 2 (k // 6) pairs, height and width k // 6 each. At position x along an axis, its pair i of n
is rotated by

    angle = x * base^(-i / n),

so that the product of a query and a key depends on the difference of their positions only.

Positions are not normalised. h and w count patches; t is latent index x 16 / fps, which with
latents of 4 frames is 4 x seconds whatever the frame rate. On a canvas longer or larger than all of
training some differences are new. A pair whose period, 2 pi base^(i / n), lies within training's
range has seen every angle; a slower one meets new ones: things may repeat, or a layout fall apart.
Remedies:

    train:      on some clips of that size among the packed rows; all else is approximate
    base:       `DiTConfig.rope_base` near the training grids' size leaves few slow pairs
    stretch s:  base' = base s^(n / (n - 1)) for an axis s times as long as training's. The slowest
                pair slows by s, back to angles it knows; the fastest, which tells neighbours
                apart, stays (NTK-aware: arXiv:2309.00071, 3.1; by axis: arXiv:2402.12376)

Not offered: positions divided by s (arXiv:2306.15595) blur neighbours and need fine-tuning; along
time alone, the one pair whose period is that of the repetition may be slowed (arXiv:2502.15894).
`DiTConfig.absolute_positions` embeds distances to the clip's ends, which also grow with the canvas
and are not stretched.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


def rope_angles(
    positions: Float[Array, "b l 3"],
    head_width: int,
    base: float = 10_000.0,
    stretch: Sequence[float] = (1.0, 1.0, 1.0),
) -> Float[Array, "b l {head_width}//2"]:
    """Rotation angle of each pair of a head, in radians, float32.

    Args:
      positions: (t, h, w) of each token; t is latent index * 16 / fps, h and w in patches.
      stretch: by axis, the canvas's length divided by the maximum in training; 1 changes nothing.
    """
    side = head_width // 6
    pairs = (head_width // 2 - 2 * side, side, side)
    angles = []
    for axis, count in enumerate(pairs):
        stretched = base * stretch[axis] ** (count / max(count - 1, 1))
        frequencies = stretched ** (-jnp.arange(count, dtype=jnp.float32) / count)
        angles.append(positions[..., axis, None] * frequencies[None, None])
    return jnp.concatenate(angles, -1)


class Rotation(NamedTuple):
    """Cosine and sine of the angle of each pair of a head, float32."""

    cos: Float[Array, "b l k2"]
    sin: Float[Array, "b l k2"]


def rotation(angles: Float[Array, "b l k2"]) -> Rotation:
    """The rotation by these angles, to compute once for queries and keys of all blocks."""
    return Rotation(jnp.cos(angles), jnp.sin(angles))


def rotate(x: Float[Array, "b l n k"], by: Rotation) -> Float[Array, "b l n k"]:
    """Rotates pair (i, i + k/2) of each head by angle i; computes in float32."""
    cos, sin = (part[:, :, None] for part in by)
    first, second = jnp.split(x.astype(jnp.float32), 2, -1)
    rotated = [first * cos - second * sin, first * sin + second * cos]
    return jnp.concatenate(rotated, -1).astype(x.dtype)
