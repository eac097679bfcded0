"""Training of the autoencoder: its first state, its loss and its step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sora_jax.models import perceptual, vae
from sora_jax.models.latents import LatentStatistics
from sora_jax.sharding import AXES, P, auto_axes
from sora_jax.training import vae_loss
from sora_jax.training.experiments import VAEExperiment
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.training.task import BatchSizes, StepWork
from sora_jax.types import Params, TrainState

STATISTICS_MOMENTUM = 0.02
"""Weight of a batch in the running statistics of latents."""
BATCH = P(AXES)
"""Clips are spread over every device; convolutions want replicated weights."""


class VAETask:
    """What the training loop needs to know of an autoencoder's training; see `task.Task`."""

    def __init__(
        self,
        experiment: VAEExperiment,
        first_state: Callable[[], TrainState] | None = None,
        evaluate: Callable[[TrainState], dict[str, float]] = lambda state: {},
    ):
        """Computes nothing yet.

        Args:
          first_state: the state before the first step, called under a mesh; by default random
            weights with principal axes of zero.
          evaluate: metrics of the state at a checkpoint.
        """
        self.experiment, crops = experiment, experiment.crops
        pixels = [crop.batch * crop.frames * crop.height * crop.width for crop in crops]
        self.work = StepWork("pixels", sum(pixels) / len(pixels))
        self._first_state = first_state or jax.jit(self.init_state)
        self._evaluate = evaluate

    def init_state(self) -> TrainState:
        """Random weights."""
        return init_state(self.experiment)

    def first_state(self) -> TrainState:
        """The state before the first step."""
        return self._first_state()

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Metrics of the state."""
        return self._evaluate(state)

    def train_step(
        self, state: TrainState, batch: Float[Array, "b t h w 3"], constants: Params
    ) -> tuple[TrainState, dict[str, Array]]:
        """See `train_step`."""
        return train_step(state, batch, self.experiment, **constants)

    def constants(self) -> Params:
        """The weights of VGG-HED, if the loss needs them.

        Raises:
          ValueError: they are not installed.
        """
        losses = self.experiment.loss
        needed = losses.perceptual and losses.features == "hed"
        return {"hed": perceptual.load_hed() if needed else None}

    def batch_specs(self) -> Any:
        """Crops are cut along the batch."""
        return BATCH

    def batch_sizes(self) -> BatchSizes:
        """Numbers of crops."""
        return BatchSizes("crops", tuple(crop.batch for crop in self.experiment.crops))

    def describe(self, metrics: dict[str, float]) -> str:
        """Loss, PSNR and divergence."""
        return "loss: {loss:.4f}, psnr: {psnr_db:.2f} dB, kl: {kl:.2f}".format(**metrics)


def init_state(experiment: VAEExperiment, statistics: Params | None = None) -> TrainState:
    """The state before the first step; call under jit and a mesh.

    Args:
      statistics: non-trained state, by default `vae.init_statistics`.
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
    statistics = vae.init_statistics(config) if statistics is None else statistics
    raw_key = jax.random.key_data(key)
    return TrainState(jnp.int32(0), params, average, opt_state, raw_key, statistics)


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
    posterior = vae.posterior(config, params, state.statistics, pixels)
    if experiment.frozen_encoder:
        posterior = jax.lax.stop_gradient(posterior)
    decoded = vae.decode(config, params, state.statistics, posterior.sample(sample_key))
    reconstruction, divergence = jax.lax.stop_gradient(decoded), jnp.mean(posterior.kl())
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
    rest = {"metrics": metrics, "mean": posterior.mean, "reconstruction": reconstruction}
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
        gradients, aux = jax.grad(loss, has_aux=True)(
            state.params, state, experiment, pixels, key, hed
        )
        latents = LatentStatistics(**state.statistics["latents"])
        if not experiment.frozen_encoder:
            latents = latents.update(aux["mean"], STATISTICS_MOMENTUM)
        rest: Params = {}
        if losses.adversarial:
            before, reconstruction = state.opt_state["discriminator"], aux["reconstruction"]
            rest["discriminator"], aux["metrics"]["discriminator_loss"] = vae_loss.if_started(
                losses,
                state.step,
                lambda: vae_loss.update_discriminator(losses, before, rate, pixels, reconstruction),
                (before, jnp.zeros(())),
            )
        network = state._replace(opt_state=state.opt_state["network"])
        new, metrics = apply_gradients(network, gradients, experiment.optimizer, aux["metrics"])
        return new._replace(
            opt_state={"network": new.opt_state, **rest},
            statistics=state.statistics | {"latents": latents._asdict()},
        ), metrics

    # Inside, the compiler spreads the batch: reshapes that merge it with time need no names.
    return auto_axes(parallel, out_sharding=P())(state, pixels, key, hed)
