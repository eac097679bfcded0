"""A patch discriminator of video (arXiv:1611.07004), trained by a hinge loss (arXiv:1705.02894).

It classifies each frame together with the frame before it (the first with itself), so that flicker
can be seen, by one logit for each patch of 38 pixels (three strides of 2, for `depth` 3). In
shapes, f is the b t frames of the batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.config import check_minimum
from sora_jax.models.causal_conv import CausalConv, image_conv
from sora_jax.models.functional import Network
from sora_jax.models.layers import RMSNorm
from sora_jax.sharding import P
from sora_jax.types import Params


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of the discriminator.

    Attributes:
      width: channels after the first convolution; each further one doubles them.
      depth: number of convolutions of stride 2.
    """

    width: int = 32
    depth: int = 3

    def __post_init__(self):
        check_minimum(self, width=1, depth=1)


class Discriminator(nnx.Module):
    """Convolutions of stride 2, each with a norm and a leaky ReLU, then one to logits."""

    def __init__(self, config: DiscriminatorConfig, rngs: nnx.Rngs):
        widths = [config.width * 2**i for i in range(config.depth)]
        self.convs = nnx.List(
            CausalConv(i, o, (1, 4, 4), rngs) for i, o in zip([6, *widths], widths, strict=False)
        )
        self.norms = nnx.List(RMSNorm((o,), P(None)) for o in widths)
        self.last = CausalConv(widths[-1], 1, (1, 3, 3), rngs)

    def __call__(self, videos: Float[Array, "b t h w 3"]) -> Float[Array, "f y x 1"]:
        previous = jnp.concatenate([videos[:, :1], videos[:, :-1]], 1)
        b, t, h, w, _ = videos.shape
        x = jnp.concatenate([videos, previous], -1).reshape(b * t, h, w, 6)
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
    """One logit for each patch of each frame: above 0 where the patch looks real."""
    return NETWORK.bind(config, params)(videos)


def hinge(real: Float[Array, "..."], fake: Float[Array, "..."]) -> Float[Array, ""]:
    """The discriminator's loss on logits: (mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2."""
    return 0.5 * (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)))
