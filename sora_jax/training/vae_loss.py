"""The autoencoder's losses.

    L_rec  = l1 mean|x' - x| + l2 mean (x' - x)^2 + perceptual mean d(x', x)
    L_adv  = -mean D(x')
    L      = L_rec + adversarial a L_adv + kl mean KL,   a = |dL_rec/dx'| / |dL_adv/dx'|

The adaptive weight a is that of VQGAN (arXiv:2012.09841, equation 7), taken at the output of the
decoder's last layer in place of its weights, where it costs no backward pass. d is one of the
distances of `models.perceptual`, on one frame of each clip, drawn anew each step.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sora_jax.models import discriminator, perceptual
from sora_jax.models.discriminator import DiscriminatorConfig
from sora_jax.types import Params

FEATURES = ("auto", "hed", "gradient")
LARGEST = 1e4
"""Of the adaptive weight."""


@dataclasses.dataclass(frozen=True)
class VAELossConfig:
    """Weights of the terms.

    Attributes:
      l1, l2: of the mean absolute and mean squared error of pixels in [-1, 1].
      kl: of the mean divergence of a latent from the standard normal, in nats.
      perceptual: of the perceptual distance.
      features: which one: `hed`, `gradient`, or `auto`, VGG-HED where its weights are installed.
      adversarial: of the discriminator's opinion, after the adaptive weight; 0 means none is made.
      adversarial_start: the first step with a discriminator.
    """

    l1: float = 1.0
    l2: float = 1.0
    kl: float = 1e-5
    perceptual: float = 0.0
    features: str = "auto"
    adversarial: float = 0.0
    adversarial_start: int = 0
    discriminator: DiscriminatorConfig = DiscriminatorConfig()


def resolve_features(config: VAELossConfig) -> VAELossConfig:
    """`auto` becomes what packages allow, where it is used; a run's config says what that was."""
    if config.features != "auto" or not config.perceptual:
        return config
    features = "hed" if perceptual.hed_installed() else "gradient"
    return dataclasses.replace(config, features=features)


def reconstruction(
    config: VAELossConfig,
    hed: perceptual.Weights | None,
    pixels: Float[Array, "b t h w 3"],
    made: Float[Array, "b t h w 3"],
    key: Array,
) -> Float[Array, ""]:
    """L_rec; `hed` are the weights of VGG-HED where `config.features` asks for them.

    Raises:
      ValueError: the distance is still to be chosen.
    """
    error = made - pixels
    total = config.l1 * jnp.mean(jnp.abs(error)) + config.l2 * jnp.mean(error**2)
    if config.perceptual:
        if config.features == "auto":
            raise ValueError("loss.features is 'auto': choose with resolve_features first")
        frames = jax.random.randint(key, (len(pixels),), 0, pixels.shape[1])
        x, y = (
            jnp.take_along_axis(a, frames[:, None, None, None, None], 1)[:, 0]
            for a in (pixels, made)
        )
        if config.features == "hed":
            assert hed is not None
            distance = perceptual.hed_distance(hed, y, x)
        else:
            distance = perceptual.gradient_distance(y, x)
        total += config.perceptual * jnp.mean(distance)
    return total


def adversarial_pull(
    config: VAELossConfig,
    adversary: Params,
    made: Float[Array, "b t h w 3"],
    pull: Float[Array, "b t h w 3"],
) -> tuple[Float[Array, "b t h w 3"], Float[Array, ""]]:
    """adversarial a dL_adv/dx' and a, where `pull` is dL_rec/dx'."""
    push = jax.grad(lambda x: -jnp.mean(discriminator.logits(config.discriminator, adversary, x)))(
        made
    )
    a = jnp.minimum(optax.tree.norm(pull) / (optax.tree.norm(push) + 1e-8), LARGEST)
    return config.adversarial * a * push, a


def from_step(config: VAELossConfig, step: Array, then: Callable[[], Any], otherwise: Any) -> Any:
    """`then()` from the step on at which the discriminator starts; nothing is computed before."""
    return jax.lax.cond(step >= config.adversarial_start, then, lambda: otherwise)


def adversary_optimizer(learning_rate: float) -> optax.GradientTransformation:
    """Adam with the betas usual for adversaries (arXiv:1511.06434 halves the first).

    The rate is constant, the network's peak: it warms up while there is no adversary.
    """
    return optax.adam(learning_rate, b1=0.5, b2=0.9)


def init_adversary(config: VAELossConfig, learning_rate: float, key: Array) -> Params:
    """A discriminator's weights and moments."""
    params = discriminator.init_params(key, config.discriminator)
    return {"params": params, "opt_state": adversary_optimizer(learning_rate).init(params)}


def train_adversary(
    config: VAELossConfig,
    adversary: Params,
    learning_rate: float,
    pixels: Float[Array, "b t h w 3"],
    made: Float[Array, "b t h w 3"],
) -> tuple[Params, Float[Array, ""]]:
    """One step of the discriminator on real and made videos, and its loss before that."""

    def loss(params: Params) -> Array:
        real, fake = (discriminator.logits(config.discriminator, params, x) for x in (pixels, made))
        return discriminator.hinge(real, fake)

    value, gradients = jax.value_and_grad(loss)(adversary["params"])
    updates, opt_state = adversary_optimizer(learning_rate).update(
        gradients, adversary["opt_state"]
    )
    params = optax.apply_updates(adversary["params"], updates)
    return {"params": params, "opt_state": opt_state}, value
