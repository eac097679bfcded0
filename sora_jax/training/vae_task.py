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
from sora_jax.training.loop import BatchSizes
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.types import Params, TrainState

STATISTICS_MOMENTUM = 0.02
"""Weight of a batch in the running statistics of latents."""
BATCH = P(AXES)
"""Clips are spread over every device; convolutions want replicated weights."""


class VAETask:
    """What the training loop needs to know of an autoencoder's training; see `loop.Task`."""

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
        self.experiment = experiment
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

    def batch_sizes(self, mesh: jax.sharding.Mesh) -> BatchSizes:
        """Crops are shared by all devices."""
        sizes = tuple(crop.batch for crop in self.experiment.crops)
        return BatchSizes("crops", sizes, mesh.size)

    def describe(self, metrics: dict[str, float]) -> str:
        """Loss, PSNR and divergence."""
        return "loss {loss:.4f} psnr {psnr_db:.2f} dB kl {kl:.2f}".format(**metrics)


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
        opt_state["adversary"] = vae_loss.init_adversary(
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
    """A number whose gradient is that of L (see `vae_loss`); also metrics, means and pixels made.

    The gradient at the pixels that were made is found first, then drawn through the network once.
    """
    config, losses = experiment.model, experiment.loss
    sample_key, frame_key = jax.random.split(key)
    found = vae.posterior(config, params, state.statistics, pixels)
    made = vae.decode(config, params, state.statistics, found.sample(sample_key))
    still, divergence = jax.lax.stop_gradient(made), jnp.mean(found.kl())
    value, pull = jax.value_and_grad(
        lambda x: vae_loss.reconstruction(losses, hed, pixels, x, frame_key)
    )(still)
    metrics = {"loss": value + losses.kl * divergence, "kl": divergence}
    # Pixels span 2, so a mean squared error of 4 is 0 dB.
    metrics["psnr_db"] = -10 * jnp.log10(jnp.mean((still - pixels) ** 2) / 4)
    if losses.adversarial:
        adversary = state.opt_state["adversary"]["params"]
        push, metrics["adversarial_weight"] = vae_loss.from_step(
            losses,
            state.step,
            lambda: vae_loss.adversarial_pull(losses, adversary, still, pull),
            (jnp.zeros_like(pull), jnp.zeros(())),
        )
        pull += push
    rest = {"metrics": metrics, "mean": found.mean, "made": still}
    return jnp.sum(made * pull) + losses.kl * divergence, rest


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
        latents = LatentStatistics(**state.statistics["latents"]).update(
            found["mean"], STATISTICS_MOMENTUM
        )
        rest: Params = {}
        if losses.adversarial:
            adversary = state.opt_state["adversary"]
            rest["adversary"], found["metrics"]["discriminator_loss"] = vae_loss.from_step(
                losses,
                state.step,
                lambda: vae_loss.train_adversary(losses, adversary, rate, pixels, found["made"]),
                (adversary, jnp.zeros(())),
            )
        network = state._replace(opt_state=state.opt_state["network"])
        new, metrics = apply_gradients(network, gradients, experiment.optimizer, found["metrics"])
        return new._replace(
            opt_state={"network": new.opt_state, **rest},
            statistics=state.statistics | {"latents": latents._asdict()},
        ), metrics

    # Inside, the compiler spreads the batch: reshapes that merge it with time need no names.
    return auto_axes(parallel, out_sharding=P())(state, pixels, key, hed)
