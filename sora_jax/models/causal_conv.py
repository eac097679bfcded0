"""Convolutions that never look ahead in time.

    y_i = sum_j w_j x_{i - (taps - 1) + j},   x_{<0} = 0

Frame i depends on frames up to i, and a single frame sees an ordinary image convolution. Layout is
`b t h w c`; in shapes, r is the taps in time, y and x are the kernel's height and width.

Every layer takes a `CausalCache`. A clip comes whole, or in chunks with a cache handed from each to
the next: a first chunk of 1 + m k frames, then chunks of any multiple of k frames, with k the
product of the strides. Both give the same numbers, since a whole clip is one first chunk.

Clips of several sizes may share a canvas: with their `Extent`, each layer sees zeros beyond each of
them, as it would around the clip alone, and what it gives within them is the same.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from sora_jax.sharding import P

REPLICATED = P(None, None, None, None, None)
MIN_LARGE_INPUT = 65536
"""Minimum b t h w of an input whose kernel gradient is summed frame by frame on a CPU."""


class Extent(NamedTuple):
    """The part of a canvas that each clip of a batch takes, from its upper left corner.

    Attributes:
      sizes: height and width of each clip, in latents.
      canvas: height and width of the canvas, in latents.
    """

    sizes: Int[Array, "b 2"]
    canvas: tuple[int, int]

    def mask(self, h: int, w: int) -> Bool[Array, "b h w"]:
        """Whether each of h x w positions, some to a latent, is of the clip."""
        rows, columns = (
            jnp.arange(n)[None] < n // canvas * self.sizes[:, axis, None]
            for axis, (n, canvas) in enumerate(zip((h, w), self.canvas, strict=True))
        )
        return rows[:, :, None] & columns[:, None, :]


class CausalCache:
    """Last input frames of each causal layer, handed from one chunk of a clip to the next.

    Layers must be called in the same order for every chunk: the frames are told apart by it.

    Attributes:
      extent: where the clips are that share a canvas; None: each fills it.
      is_first_chunk: whether the chunk begins the clip.
      frames_out: each layer's last frames in this chunk, from which the next chunk's cache is made.
    """

    def __init__(self, frames_in: Sequence[Array] | None = None, extent: Extent | None = None):
        """Starts a chunk with the `frames_out` of the chunk before; None begins a clip."""
        self.extent, self.is_first_chunk = extent, frames_in is None
        self.frames_out: list[Array] = []
        self._frames_in: Iterator[Array] = iter(frames_in or ())

    def within(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        """x, with zeros beyond each clip; what a layer that mixes positions is to see."""
        if self.extent is None:
            return x
        mask = self.extent.mask(*x.shape[2:4])
        return jnp.where(mask[:, None, :, :, None], x, jnp.zeros((), x.dtype))

    def extend(self, x: Float[Array, "b t h w c"], frames: int) -> Float[Array, "b u h w c"]:
        """Prepends the `frames` input frames that precede x in the clip, and keeps the last ones.

        Zeros precede the first chunk, where t may be 0; u = frames + t.
        """
        if self.is_first_chunk:
            x = jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))
        else:
            x = jnp.concatenate([next(self._frames_in), x], 1)
        self.frames_out.append(x[:, x.shape[1] - frames :])
        return x


class CausalConv(nnx.Module):
    """Convolution with a kernel of `size` = (time, height, width), stride 1, zero padding.

    Time is padded before the first frame only, height and width on both sides. `gain` scales the
    variance of the initial kernel.
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
        taps, *sides = self.kernel[...].shape[:3]
        x = x if sides == [1, 1] else cache.within(x)
        return self.valid(x if taps == 1 else cache.extend(x, taps - 1))

    def valid(self, x: Float[Array, "b t h w c"], stride: int = 1) -> Float[Array, "b u h w o"]:
        """The convolution without padding in time, at every `stride`-th frame.

        u = (t - taps) // stride + 1.
        """
        kernel, bias = (p[...].astype(x.dtype) for p in (self.kernel, self.bias))
        return conv3d_valid_time(x, kernel, stride) + bias[None, None, None, None]


def conv3d_valid_time(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int = 1
) -> Float[Array, "b u h w o"]:
    """`CausalConv.valid` without a bias, by the fastest of three ways on the platform."""
    is_large = math.prod(x.shape[:-1]) >= MIN_LARGE_INPUT
    cpu: Any = conv3d_as_2d_large if is_large else conv3d_as_2d
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: cpu(x, kernel, stride),
        default=lambda x, kernel: conv3d(x, kernel, stride),
    )


def conv3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int
) -> Float[Array, "b u h w o"]:
    """XLA's 3D convolution, valid in time."""
    _, kh, kw, _, _ = kernel.shape
    padding = ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, 1, 1), padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def conv3d_as_2d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int
) -> Float[Array, "b u h w o"]:
    """Sum over taps in time of 2D convolutions (1x1: matrix products) of all frames.

    Faster than XLA's 3D convolution on a CPU.
    """
    taps, kh, kw, c, o = kernel.shape
    b, t, h, w, _ = x.shape
    frames = (t - taps) // stride + 1
    y = None
    for i in range(taps):
        inputs = x[:, i : i + (frames - 1) * stride + 1 : stride]
        if (kh, kw) == (1, 1):
            part = jnp.einsum("bthwc,co->bthwo", inputs, kernel[i, 0, 0])
        else:
            part = image_conv(inputs.reshape(b * frames, h, w, c), kernel[i], 1, "SAME")
            part = part.reshape(b, frames, h, w, o)
        y = part if y is None else y + part
    assert y is not None  # a kernel has a tap
    return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3d_as_2d_large(x: Array, kernel: Array, stride: int) -> Array:
    """`conv3d_as_2d` with a kernel gradient that is faster for large inputs on a CPU.

    The gradient is a sum over frames of one matrix product for each tap in time, height and width.
    XLA's convolution for it, whose windows are whole frames, is much slower.
    """
    return conv3d_as_2d(x, kernel, stride)


def _forward(x: Array, kernel: Array, stride: int):
    return conv3d_as_2d(x, kernel, stride), (x, kernel)


def _backward(stride: int, residuals: tuple[Array, Array], y_grad: Array):
    x, kernel = residuals
    (x_grad,) = jax.linear_transpose(lambda x: conv3d_as_2d(x, kernel, stride), x)(y_grad)
    taps, kh, kw, c, o = kernel.shape
    _, frames, h, w, _ = y_grad.shape
    padded = jnp.pad(x, ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))

    def add_frame(total: Array, i: Array) -> tuple[Array, None]:
        out_grad = jax.lax.dynamic_index_in_dim(y_grad, i, 1, keepdims=False).reshape(-1, o)
        products = []
        for tap in range(taps):
            image = jax.lax.dynamic_index_in_dim(padded, i * stride + tap, 1, keepdims=False)
            for row, column in itertools.product(range(kh), range(kw)):
                window = image[:, row : row + h, column : column + w]
                products.append(window.reshape(-1, c).T @ out_grad)
        return total + jnp.stack(products).reshape(kernel.shape), None

    start = jnp.zeros_like(kernel, jnp.float32)
    kernel_grad, _ = jax.lax.scan(add_frame, start, jnp.arange(frames))
    return x_grad, kernel_grad.astype(kernel.dtype)


conv3d_as_2d_large.defvjp(_forward, _backward)


def image_conv(x: Float[Array, "f h w c"], kernel: Float[Array, "y x c o"], stride: int, padding):
    """2D convolution of every frame, channels last."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
