"""Training of the autoencoder: initial state and step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax.config import VAEExperiment
from sora_jax.models import perceptual, vae
from sora_jax.models.latents import LatentStatistics, PrincipalAxes
from sora_jax.sharding import AXES, P, auto_axes
from sora_jax.training import vae_loss
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.types import Params, TrainState

RATE = 0.02
"""Share of each batch in the running statistics of latents."""
BATCH = P(AXES)
"""Clips are spread over every device; convolutions want replicated weights."""


def init_state(
    experiment: VAEExperiment,
    axes: PrincipalAxes | None = None,
    lapped: Float[np.ndarray, "3 3 3 c n"] | None = None,
) -> TrainState:
    """The state before the first step; call under jit and a mesh.

    `axes` and the kernel `lapped` are wanted where `experiment.model` has `principal` and
    `neighbours` set.
    """
    config, losses = experiment.model, experiment.loss
    key = jax.random.key(experiment.loop.seed)
    params = vae.init_params(key, config)
    opt_state: Params = {"network": make_optimizer(experiment.optimizer).init(params)}
    if losses.adversarial:
        opt_state["discriminator"] = vae_loss.init_discriminator(
            losses, experiment.optimizer.learning_rate, jax.random.fold_in(key, 1)
        )
    average = jax.tree.map(jnp.copy, params)
    statistics: Params = {"latents": LatentStatistics.initial(config.latent_channels)._asdict()}
    if config.principal_axes:
        shape = (3 * config.temporal_stride * config.spatial_stride**2, config.latent_channels)
        zeros = jnp.zeros(shape, out_sharding=P(None, None))
        statistics["axes"] = (axes or PrincipalAxes(zeros, zeros))._asdict()
        if config.neighbour_kernel:
            taps = (3, 3, 3, *shape[::-1])
            start = jnp.zeros(taps, out_sharding=P(*[None] * 5))
            statistics["lapped"] = start if lapped is None else start + jnp.float32(lapped)
    raw_key = jax.random.key_data(key)
    return TrainState(jnp.int32(0), params, average, opt_state, raw_key, statistics)


def frozen(experiment: VAEExperiment) -> dict[str, Any]:
    """What the step needs and does not change: the weights of VGG-HED.

    Raises:
      ValueError: they are not installed.
    """
    wanted = experiment.loss.perceptual and experiment.loss.features == "hed"
    return {"hed": perceptual.load_hed() if wanted else None}


def loss(
    params: Params,
    state: TrainState,
    experiment: VAEExperiment,
    pixels: Float[Array, "b t h w 3"],
    key: Array,
    hed: perceptual.Weights | None,
) -> tuple[Float[Array, ""], dict[str, Any]]:
    """A number whose gradient is that of L (see `vae_loss`).

    The gradient at the reconstructed pixels is computed first, then drawn through the network once.

    Returns:
      That number; and the step's metrics, posterior means and reconstruction.
    """
    config, losses = experiment.model, experiment.loss
    sample_key, frame_key = jax.random.split(key)
    found = vae.posterior(config, params, state.statistics, pixels)
    decoded = vae.decode(config, params, state.statistics, found.sample(sample_key))
    reconstruction, divergence = jax.lax.stop_gradient(decoded), jnp.mean(found.kl())
    value, rec_grad = jax.value_and_grad(
        lambda x: vae_loss.reconstruction_loss(losses, hed, pixels, x, frame_key)
    )(reconstruction)
    metrics = {"loss": value + losses.kl * divergence, "kl": divergence}
    # Pixels span 2, so a mean squared error of 4 is 0 dB.
    metrics["psnr_db"] = -10 * jnp.log10(jnp.mean((reconstruction - pixels) ** 2) / 4)
    if losses.adversarial:
        discriminator = state.opt_state["discriminator"]["params"]
        adv_grad, metrics["adversarial_weight"] = vae_loss.if_started(
            losses,
            state.step,
            lambda: vae_loss.adversarial_gradient(losses, discriminator, reconstruction, rec_grad),
            (jnp.zeros_like(rec_grad), jnp.zeros(())),
        )
        rec_grad += adv_grad
    rest = {"metrics": metrics, "mean": found.mean, "reconstruction": reconstruction}
    return jnp.sum(decoded * rec_grad) + losses.kl * divergence, rest


def train_step(
    state: TrainState,
    pixels: Float[Array, "b t h w 3"],
    experiment: VAEExperiment,
    hed: perceptual.Weights | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """One step of training on a batch of crops; also returns its metrics."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    losses, rate = experiment.loss, experiment.optimizer.learning_rate

    def parallel(state, pixels, key, hed):
        gradients, found = jax.grad(loss, has_aux=True)(
            state.params, state, experiment, pixels, key, hed
        )
        latents = LatentStatistics(**state.statistics["latents"]).update(found["mean"], RATE)
        rest: Params = {}
        if losses.adversarial:
            before, reconstruction = state.opt_state["discriminator"], found["reconstruction"]
            rest["discriminator"], found["metrics"]["discriminator_loss"] = vae_loss.if_started(
                losses,
                state.step,
                lambda: vae_loss.update_discriminator(losses, before, rate, pixels, reconstruction),
                (before, jnp.zeros(())),
            )
        network = state._replace(opt_state=state.opt_state["network"])
        new, metrics = apply_gradients(network, gradients, experiment.optimizer, found["metrics"])
        return new._replace(
            opt_state={"network": new.opt_state, **rest},
            statistics=state.statistics | {"latents": latents._asdict()},
        ), metrics

    # Inside, the compiler spreads the batch: reshapes that merge it with time need no names.
    return auto_axes(parallel, out_sharding=P())(state, pixels, key, hed)
