"""Halving and doubling of time and space, causal in time.

Time is resampled by Wan 2.1's rule: the first frame stands alone, then pairs of frames:
1 + 2n frames become 1 + n, and back.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalCache, CausalConv, image_conv


class Downsample(nnx.Module):
    """Halves space (3x3 convolution of stride 2) and then time where its stride is 2."""

    def __init__(self, channels: int, stride: tuple[int, int], rngs: nnx.Rngs):
        self.stride = stride
        if stride[1] == 2:
            self.space = CausalConv(channels, channels, (1, 3, 3), rngs)
        if stride[0] == 2:
            self.time = CausalConv(channels, channels, (3, 1, 1), rngs)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b u y x c"]:
        if self.stride[1] == 2:
            b, t, h, w, c = x.shape
            kernel, bias = (p[...].astype(x.dtype) for p in (self.space.kernel, self.space.bias))
            x = cache.within(x).reshape(b * t, h, w, c)
            x = image_conv(x, kernel[0], stride=2, padding=((0, 1), (0, 1)))
            x = (x + bias[None, None, None]).reshape(b, t, h // 2, w // 2, c)
        if self.stride[0] == 1:
            return x
        # Output j > 0 sees frames 2j - 2, 2j - 1, 2j; the first frame passes.
        if not cache.is_first_chunk:
            return self.time.valid(cache.extend(x, 1), stride=2)
        cache.frames_out.append(x[:, -1:])
        later = [self.time.valid(x, stride=2)] if x.shape[1] > 1 else []
        return jnp.concatenate([x[:, :1], *later], 1)


class Upsample(nnx.Module):
    """Doubles time where its stride is 2, then space (nearest, 3x3 convolution, half the channels).

    The first frame is not doubled in time, and the frames after it see zeros in its stead.
    """

    def __init__(self, channels: int, stride: tuple[int, int], rngs: nnx.Rngs):
        self.stride = stride
        if stride[0] == 2:
            self.time = CausalConv(channels, 2 * channels, (3, 1, 1), rngs)
        if stride[1] == 2:
            self.space = CausalConv(channels, channels // 2, (1, 3, 3), rngs)

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: CausalCache
    ) -> Float[Array, "b u y x o"]:
        if self.stride[0] == 2:
            first, x = (x[:, :1], x[:, 1:]) if cache.is_first_chunk else (x[:, :0], x)
            x = cache.extend(x, 2)
            x = jnp.concatenate([first, self._double_time(x)], 1) if x.shape[1] > 2 else first
        if self.stride[1] == 2:
            x = self.space(jnp.repeat(jnp.repeat(x, 2, 2), 2, 3), cache)
        return x

    def _double_time(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b u h w c"]:
        """Makes two frames of each frame but the first two, which are context; u = 2 (t - 2)."""
        y = self.time.valid(x)
        b, t, h, w, c = y.shape
        y = y.reshape(b, t, h, w, 2, c // 2).transpose(0, 1, 4, 2, 3, 5)
        return y.reshape(b, 2 * t, h, w, c // 2)

    def output_channels(self, channels: int) -> int:
        """Number of output channels for `channels` input channels."""
        return channels // 2 if self.stride[1] == 2 else channels
