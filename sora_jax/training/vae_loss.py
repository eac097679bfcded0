"""The autoencoder's losses.

    L_rec  = mean w (l1 |x' - x| + l2 (x' - x)^2) + perceptual mean d(x', x)
    w      = (1 + motion m) / mean (1 + motion m)
    L_adv  = -mean D(x')
    L      = L_rec + adversarial a L_adv + kl mean KL,   a = |dL_rec/dx'| / |dL_adv/dx'|

x' is the reconstruction of the clip x, D the discriminator, and m is 1 for pixels that moved since
the frame before, by more than `MOVED` in some channel, else 0. The adaptive weight a is that of
VQGAN (arXiv:2012.09841, equation 7), taken at the decoder's output in place of the weights of its
last layer, where it costs no backward pass. d is one of the distances of `models.perceptual`, on
one random frame of each clip.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sora_jax.config import check_choice, check_minimum
from sora_jax.models import discriminator, perceptual
from sora_jax.models.discriminator import DiscriminatorConfig
from sora_jax.types import Params

FEATURES = ("auto", "hed", "gradient")
MAX_ADAPTIVE_WEIGHT = 1e4
MOVED = 0.1
"""Difference of a pixel in [-1, 1] from the frame before that counts as motion."""


@dataclasses.dataclass(frozen=True)
class VAELossConfig:
    """Weights of the loss terms.

    Attributes:
      l1: weight of the mean absolute error of pixels in [-1, 1].
      l2: weight of the mean squared error of pixels in [-1, 1].
      motion: how much more the error of moving pixels weighs than that of others.
      kl: weight of the mean divergence of a latent from the standard normal, in nats.
      perceptual: weight of the perceptual distance; 0 disables it.
      features: the perceptual distance: `hed`, `gradient`, or `auto`, which is VGG-HED where its
        weights are installed.
      adversarial: weight of the GAN loss, beside the adaptive one; 0 disables the discriminator.
      adversarial_start: the first step with a GAN loss.
      discriminator: sizes of the discriminator.
    """

    l1: float = 1.0
    l2: float = 1.0
    motion: float = 0.0
    kl: float = 1e-5
    perceptual: float = 0.0
    features: str = "auto"
    adversarial: float = 0.0
    adversarial_start: int = 0
    discriminator: DiscriminatorConfig = DiscriminatorConfig()

    def __post_init__(self):
        weights = ("l1", "l2", "motion", "kl", "perceptual", "adversarial", "adversarial_start")
        check_minimum(self, **dict.fromkeys(weights, 0))
        check_choice(self, features=FEATURES)


def resolve_features(config: VAELossConfig) -> VAELossConfig:
    """Replaces `auto` by the distance that installed packages allow, if the distance is used."""
    if config.features != "auto" or not config.perceptual:
        return config
    features = "hed" if perceptual.hed_installed() else "gradient"
    return dataclasses.replace(config, features=features)


def reconstruction_loss(
    config: VAELossConfig,
    hed: perceptual.Weights | None,
    pixels: Float[Array, "b t h w 3"],
    reconstruction: Float[Array, "b t h w 3"],
    key: Array,
) -> Float[Array, ""]:
    """L_rec of a reconstruction of `pixels`, both in [-1, 1].

    Args:
      hed: weights of VGG-HED, needed if `config.features` is `hed`.
      key: chooses the frames that the perceptual distance compares.

    Raises:
      ValueError: `config.features` is `auto`.
    """
    error = reconstruction - pixels
    weight: Any = 1.0
    if config.motion:
        weight = 1 + config.motion * moving_pixels(pixels)
        weight /= jnp.mean(weight)
    total = config.l1 * jnp.mean(weight * jnp.abs(error))
    total += config.l2 * jnp.mean(weight * error**2)
    if config.perceptual:
        if config.features == "auto":
            raise ValueError("loss.features is 'auto': choose with resolve_features first")
        frames = jax.random.randint(key, (len(pixels),), 0, pixels.shape[1])
        x, y = (
            jnp.take_along_axis(a, frames[:, None, None, None, None], 1)[:, 0]
            for a in (pixels, reconstruction)
        )
        if config.features == "hed":
            assert hed is not None
            distance = perceptual.hed_distance(hed, y, x)
        else:
            distance = perceptual.gradient_distance(y, x)
        total += config.perceptual * jnp.mean(distance)
    return total


def moving_pixels(pixels: Float[Array, "b t h w 3"]) -> Float[Array, "b t h w 1"]:
    """1 where a pixel differs from the frame before by more than `MOVED`, else 0; 0 in frame 0."""
    moved = jnp.max(jnp.abs(jnp.diff(pixels, axis=1)), -1, keepdims=True) > MOVED
    return jnp.pad(moved.astype(jnp.float32), ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))


def adversarial_gradient(
    config: VAELossConfig,
    discriminator_params: Params,
    reconstruction: Float[Array, "b t h w 3"],
    rec_grad: Float[Array, "b t h w 3"],
) -> tuple[Float[Array, "b t h w 3"], Float[Array, ""]]:
    """The weighted GAN gradient, adversarial a dL_adv/dx', and the adaptive weight a.

    Args:
      rec_grad: dL_rec/dx', whose norm a compares with.
    """

    def generator_loss(x: Array) -> Array:
        return -jnp.mean(discriminator.logits(config.discriminator, discriminator_params, x))

    adv_grad = jax.grad(generator_loss)(reconstruction)
    ratio = optax.tree.norm(rec_grad) / (optax.tree.norm(adv_grad) + 1e-8)
    weight = jnp.minimum(ratio, MAX_ADAPTIVE_WEIGHT)
    return config.adversarial * weight * adv_grad, weight


def if_started(config: VAELossConfig, step: Array, compute: Callable[[], Any], default: Any) -> Any:
    """`compute()` from step `adversarial_start` on; before, `default`, at no cost."""
    return jax.lax.cond(step >= config.adversarial_start, compute, lambda: default)


def make_discriminator_optimizer(learning_rate: float) -> optax.GradientTransformation:
    """Adam with the betas usual for GANs (arXiv:1511.06434 halves the first).

    The learning rate is constant, the peak of the autoencoder's schedule: that has warmed up by
    the time the discriminator starts.
    """
    return optax.adam(learning_rate, b1=0.5, b2=0.9)


def init_discriminator(config: VAELossConfig, learning_rate: float, key: Array) -> Params:
    """Random `params` of a discriminator, and the `opt_state` of its optimizer."""
    params = discriminator.init_params(key, config.discriminator)
    return {"params": params, "opt_state": make_discriminator_optimizer(learning_rate).init(params)}


def update_discriminator(
    config: VAELossConfig,
    state: Params,
    learning_rate: float,
    pixels: Float[Array, "b t h w 3"],
    reconstruction: Float[Array, "b t h w 3"],
) -> tuple[Params, Float[Array, ""]]:
    """One step of the discriminator's `state` (see `init_discriminator`).

    Returns:
      The new state, and the hinge loss before the step.
    """

    def loss(params: Params) -> Array:
        real, fake = (
            discriminator.logits(config.discriminator, params, x) for x in (pixels, reconstruction)
        )
        return discriminator.hinge(real, fake)

    value, gradients = jax.value_and_grad(loss)(state["params"])
    optimizer = make_discriminator_optimizer(learning_rate)
    updates, opt_state = optimizer.update(gradients, state["opt_state"])
    return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}, value
