"""Convolutions that never look ahead in time, and the resampling built from them.

    y_i = sum_j w_j x_{i - (taps - 1) + j},   x_{<0} = 0

so that frame i depends on frames up to i, and one frame alone is an ordinary image convolution.
Layout is `b t h w c`.

Time is resampled by Wan 2.1's rule: the first frame stands alone, then pairs of frames:
1 + 2n frames become 1 + n, and back.

Every layer takes a `History`. A clip may come whole, or in chunks whose histories are handed on:
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


class History:
    """The frames that causal layers keep of a clip between its chunks, in the order of calls.

    Attributes:
      first: whether this chunk begins the clip.
      kept: what the next chunk's history is made from.
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

    def __call__(self, x: Float[Array, "b t h w c"], history: History) -> Float[Array, "b t h w o"]:
        taps = self.kernel[...].shape[0]
        return self.valid(x if taps == 1 else history.extend(x, taps - 1))

    def valid(self, x: Float[Array, "b t h w c"], stride: int = 1) -> Float[Array, "b u h w o"]:
        """The convolution without padding in time, at every `stride`-th frame."""
        kernel, bias = (p[...].astype(x.dtype) for p in (self.kernel, self.bias))
        cpu: Any = by_taps_large if math.prod(x.shape[:-1]) >= LARGE else by_taps
        y: Array = jax.lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, kernel: cpu(x, kernel, stride),
            default=lambda x, kernel: at_once(x, kernel, stride),
        )
        return y + bias[None, None, None, None]


def at_once(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int
) -> Float[Array, "b u h w o"]:
    """One 3D convolution, valid in time."""
    _, kh, kw, _, _ = kernel.shape
    padding = ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, 1, 1), padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def by_taps(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "r y x c o"], stride: int
) -> Float[Array, "b u h w o"]:
    """A 2D convolution, or a matrix product, of all frames for each tap in time, summed.

    On a CPU 1.2 to 3 times as fast as XLA's 3D convolution.
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
def by_taps_large(x: Array, kernel: Array, stride: int) -> Array:
    """`by_taps`, with another way to the kernel's gradient, for large inputs."""
    return by_taps(x, kernel, stride)


def _forward(x: Array, kernel: Array, stride: int):
    return by_taps(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], slope: Array):
    """Of the kernel: a matrix product for each tap in time, height and width, frame by frame.

    XLA's convolution, whose windows are whole frames here, runs at 22 GFLOP/s for 9 frames of
    96x96 with 96 channels on a CPU that reaches 120 forward; this at 103.
    """
    x, kernel = kept
    (by_x,) = jax.linear_transpose(lambda x: by_taps(x, kernel, stride), x)(slope)
    taps, kh, kw, c, o = kernel.shape
    _, frames, h, w, _ = slope.shape
    padded = jnp.pad(x, ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))

    def frame(total: Array, i: Array) -> tuple[Array, None]:
        to = jax.lax.dynamic_index_in_dim(slope, i, 1, keepdims=False).reshape(-1, o)
        products = []
        for tap in range(taps):
            seen = jax.lax.dynamic_index_in_dim(padded, i * stride + tap, 1, keepdims=False)
            for y, x in itertools.product(range(kh), range(kw)):
                products.append(seen[:, y : y + h, x : x + w].reshape(-1, c).T @ to)
        return total + jnp.stack(products).reshape(kernel.shape), None

    start = jnp.zeros_like(kernel, jnp.float32)
    by_kernel, _ = jax.lax.scan(frame, start, jnp.arange(frames))
    return by_x, by_kernel.astype(kernel.dtype)


by_taps_large.defvjp(_forward, _backward)


def image_conv(x: Float[Array, "f h w c"], kernel: Float[Array, "y x c o"], stride: int, padding):
    """2D convolution of every frame, channels last."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Downsample(nnx.Module):
    """Halves space (3x3 convolution of stride 2) and then time where its stride is 2."""

    def __init__(self, channels: int, stride: tuple[int, int], rngs: nnx.Rngs):
        self.stride = stride
        if stride[1] == 2:
            self.space = CausalConv(channels, channels, (1, 3, 3), rngs)
        if stride[0] == 2:
            self.time = CausalConv(channels, channels, (3, 1, 1), rngs)

    def __call__(self, x: Float[Array, "b t h w c"], history: History) -> Float[Array, "b u y x c"]:
        if self.stride[1] == 2:
            b, t, h, w, c = x.shape
            kernel, bias = (p[...].astype(x.dtype) for p in (self.space.kernel, self.space.bias))
            x = x.reshape(b * t, h, w, c)
            x = image_conv(x, kernel[0], stride=2, padding=((0, 1), (0, 1)))
            x = (x + bias[None, None, None]).reshape(b, t, h // 2, w // 2, c)
        if self.stride[0] == 1:
            return x
        # Output j > 0 sees frames 2j - 2, 2j - 1, 2j; the first frame passes.
        if not history.first:
            return self.time.valid(history.extend(x, 1), stride=2)
        history.kept.append(x[:, -1:])
        later = [self.time.valid(x, stride=2)] if x.shape[1] > 1 else []
        return jnp.concatenate([x[:, :1], *later], 1)


class Upsample(nnx.Module):
    """Doubles time where its stride is 2, then space (nearest, 3x3 convolution, half the channels).

    The first frame skips the doubling of time and is zero history to the frames after it.
    """

    def __init__(self, channels: int, stride: tuple[int, int], rngs: nnx.Rngs):
        self.stride = stride
        if stride[0] == 2:
            self.time = CausalConv(channels, 2 * channels, (3, 1, 1), rngs)
        if stride[1] == 2:
            self.space = CausalConv(channels, channels // 2, (1, 3, 3), rngs)

    def __call__(self, x: Float[Array, "b t h w c"], history: History) -> Float[Array, "b u y x o"]:
        if self.stride[0] == 2:
            alone, x = (x[:, :1], x[:, 1:]) if history.first else (x[:, :0], x)
            x = history.extend(x, 2)
            x = jnp.concatenate([alone, self._doubled(x)], 1) if x.shape[1] > 2 else alone
        if self.stride[1] == 2:
            x = self.space(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3), history)
        return x

    def _doubled(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b u h w c"]:
        """Two frames of each frame but the first two."""
        y = self.time.valid(x)
        b, t, h, w, c = y.shape
        y = y.reshape(b, t, h, w, 2, c // 2).transpose(0, 1, 4, 2, 3, 5)
        return y.reshape(b, 2 * t, h, w, c // 2)

    def outputs(self, channels: int) -> int:
        """Channels of the result for `channels` of the input."""
        return channels // 2 if self.stride[1] == 2 else channels
