"""A patch discriminator of video (arXiv:1611.07004): which patches of frames look real.

It sees each frame beside the one before it (the first beside itself), so that flicker shows, and
answers with one logit for each patch of 38 pixels (three strides of 2, for `depth` 3).
Losses are hinges (arXiv:1705.02894).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.models.causal_conv import CausalConv, image_conv
from sora_jax.models.functional import Network
from sora_jax.models.layers import RMSNorm
from sora_jax.sharding import P
from sora_jax.types import Params


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes: `width` channels after the first of `depth` halvings, doubled by each."""

    width: int = 32
    depth: int = 3


class Discriminator(nnx.Module):
    """Convolutions of stride 2 with leaky ReLUs, norms between them, and one to logits."""

    def __init__(self, config: DiscriminatorConfig, rngs: nnx.Rngs):
        widths = [config.width * 2**i for i in range(config.depth)]
        self.convs = nnx.List(
            CausalConv(i, o, (1, 4, 4), rngs) for i, o in zip([6, *widths], widths, strict=False)
        )
        self.norms = nnx.List(RMSNorm((o,), P(None)) for o in widths)
        self.last = CausalConv(widths[-1], 1, (1, 3, 3), rngs)

    def __call__(self, videos: Float[Array, "b t h w 3"]) -> Float[Array, "f y x 1"]:
        before = jnp.concatenate([videos[:, :1], videos[:, :-1]], 1)
        b, t, h, w, _ = videos.shape
        x = jnp.concatenate([videos, before], -1).reshape(b * t, h, w, 6)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.leaky_relu(norm(_conv(conv, x, 2)), 0.2)
        return _conv(self.last, x, 1)


def _conv(conv: CausalConv, x: Float[Array, "f h w c"], stride: int) -> Float[Array, "f y x o"]:
    kernel, bias = conv.kernel[...], conv.bias[...]
    return image_conv(x, kernel[0], stride, "SAME") + bias[None, None, None]


NETWORK = Network(Discriminator)
init_params = NETWORK.init_params


def logits(
    config: DiscriminatorConfig, params: Params, videos: Float[Array, "b t h w 3"]
) -> Float[Array, "f y x 1"]:
    """One number for each patch of each frame: above 0 for what looks real."""
    return NETWORK.bind(config, params)(videos)


def hinge(real: Float[Array, "..."], made: Float[Array, "..."]) -> Float[Array, ""]:
    """The discriminator's loss: mean max(0, 1 - real) + mean max(0, 1 + made), halved."""
    return 0.5 * (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + made)))
