"""Convolutions that never look ahead in time.

    y_i = sum_j w_j x_{i - (taps - 1) + j},   x_{<0} = 0

so that frame i depends on frames up to i, and one frame alone is an ordinary image convolution.
Layout is `b t h w c`.

Every layer takes a `CausalCache`. A clip may come whole, or in chunks whose histories are handed on:
a first chunk of 1 + m k frames, then chunks of any multiple of k frames, with k the product of
the strides. Both give the same numbers, since whole is one first chunk.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.sharding import P

REPLICATED = P(None, None, None, None, None)
LARGE = 65536
"""Positions of an input from which its kernel's gradient is summed frame by frame on a CPU."""


class CausalCache:
    """The frames that causal layers keep of a clip between its chunks, in the order of calls.

    Attributes:
      first: whether this chunk begins the clip.
      kept: what the next chunk's cache is made from.
    """

    def __init__(self, before: Sequence[Array] | None = None):
        self.first = before is None
        self.kept: list[Array] = []
        self._before: Iterator[Array] = iter(before or ())

    def extend(self, x: Float[Array, "b t h w c"], frames: int) -> Float[Array, "b u h w c"]:
        """x behind the `frames` frames before it, zeros at the beginning; t may be 0 there."""
        if self.first:
            x = jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))
        else:
            x = jnp.concatenate([next(self._before), x], 1)
        self.kept.append(x[:, x.shape[1] - frames :])
        return x


class CausalConv(nnx.Module):
    """Convolution with a kernel of `size` = (time, height, width), stride 1, zero padding.

    Time is padded before the first frame only, height and width on both sides.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int, int],
        rngs: nnx.Rngs,
        gain: float = 1.0,
    ):
        init = jax.nn.initializers.variance_scaling(
            gain, "fan_in", "truncated_normal", in_axis=(0, 1, 2, 3), out_axis=4
        )
        shape = (*size, inputs, outputs)
        self.kernel = nnx.Param(init(rngs.params(), shape, jnp.float32, out_sharding=REPLICATED))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32, out_sharding=P(None)))

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b t h w o"]:
        taps = self.kernel[...].shape[0]
        return self.valid(x if taps == 1 else cache.extend(x, taps - 1))

    def valid(self, x: Float[Array, "b t h w c"], stride: int = 1) -> Float[Array, "b u h w o"]:
        """The convolution without padding in time, at every `stride`-th frame."""
        kernel, bias = (p[...].astype(x.dtype) for p in (self.kernel, self.bias))
        return conv3d_valid_time(x, kernel, stride) + bias[None, None, None, None]


def conv3d_valid_time(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int = 1
) -> Float[Array, "b u h w o"]:
    """`CausalConv.valid` without a bias, in the way that suits the platform."""
    cpu: Any = conv3d_as_2d_large if math.prod(x.shape[:-1]) >= LARGE else conv3d_as_2d
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: cpu(x, kernel, stride),
        default=lambda x, kernel: conv3d(x, kernel, stride),
    )


def conv3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int
) -> Float[Array, "b u h w o"]:
    """One 3D convolution, valid in time."""
    _, kh, kw, _, _ = kernel.shape
    padding = ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, 1, 1), padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def conv3d_as_2d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int
) -> Float[Array, "b u h w o"]:
    """A 2D convolution, or a matrix product, of all frames for each tap in time, summed.

    On a CPU faster than XLA's 3D convolution.
    """
    taps, kh, kw, c, o = kernel.shape
    b, t, h, w, _ = x.shape
    frames = (t - taps) // stride + 1
    y = None
    for i in range(taps):
        seen = x[:, i : i + (frames - 1) * stride + 1 : stride]
        if (kh, kw) == (1, 1):
            part = jnp.einsum("bthwc,co->bthwo", seen, kernel[i, 0, 0])
        else:
            part = image_conv(seen.reshape(b * frames, h, w, c), kernel[i], 1, "SAME")
            part = part.reshape(b, frames, h, w, o)
        y = part if y is None else y + part
    assert y is not None  # a kernel has a tap
    return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3d_as_2d_large(x: Array, kernel: Array, stride: int) -> Array:
    """`conv3d_as_2d`, with another way to the kernel's gradient, for large inputs."""
    return conv3d_as_2d(x, kernel, stride)


def _forward(x: Array, kernel: Array, stride: int):
    return conv3d_as_2d(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], slope: Array):
    """Of the kernel: a matrix product for each tap in time, height and width, frame by frame.

    XLA's convolution, whose windows are whole frames here, is much slower on a CPU.
    """
    x, kernel = kept
    (by_x,) = jax.linear_transpose(lambda x: conv3d_as_2d(x, kernel, stride), x)(slope)
    taps, kh, kw, c, o = kernel.shape
    _, frames, h, w, _ = slope.shape
    padded = jnp.pad(x, ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))

    def frame(total: Array, i: Array) -> tuple[Array, None]:
        to = jax.lax.dynamic_index_in_dim(slope, i, 1, keepdims=False).reshape(-1, o)
        products = []
        for tap in range(taps):
            seen = jax.lax.dynamic_index_in_dim(padded, i * stride + tap, 1, keepdims=False)
            for row, column in itertools.product(range(kh), range(kw)):
                window = seen[:, row : row + h, column : column + w]
                products.append(window.reshape(-1, c).T @ to)
        return total + jnp.stack(products).reshape(kernel.shape), None

    start = jnp.zeros_like(kernel, jnp.float32)
    by_kernel, _ = jax.lax.scan(frame, start, jnp.arange(frames))
    return by_x, by_kernel.astype(kernel.dtype)


conv3d_as_2d_large.defvjp(_forward, _backward)


def image_conv(x: Float[Array, "f h w c"], kernel: Float[Array, "y x c o"], stride: int, padding):
    """2D convolution of every frame, channels last."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
