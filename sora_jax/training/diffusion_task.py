"""Training of the diffusion transformer: its first state, its loss and its step."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sora_jax.diffusion import process
from sora_jax.diffusion.losses import (
    LEVEL_BINS,
    level_sums,
    packed_loss,
    segment_errors,
    size_bins,
    size_sums,
)
from sora_jax.models import dit
from sora_jax.models.latents import ChannelStatistics
from sora_jax.rows import (
    PackedBatch,
    batch_specs,
    level_table,
    scale_channels,
    segment_sizes,
    token_levels,
)
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.known_patches import draw_known
from sora_jax.training.micro_batches import sum_gradients
from sora_jax.training.optimizer import apply_gradients, make_optimizer
from sora_jax.training.task import BatchSizes, StepWork
from sora_jax.types import Params, TrainState

MIN_DEVIATION = 0.1
"""Deviation of latents, about 1 in most channels, below which a channel stays small."""
KNOWN_STREAM = 1
"""Folded into a step's key for the draws of known patches."""


class Evaluation(NamedTuple):
    """What is measured of a state at checkpoints.

    Attributes:
      every: it is measured at steps that are multiples of this, and at the last one; 0: at none.
      measure: metrics of a state, by name.
    """

    every: int
    measure: Callable[[TrainState], dict[str, float]]


class DiffusionTask:
    """What the training loop needs to know of a transformer's training; see `task.Task`."""

    def __init__(
        self,
        experiment: DiffusionExperiment,
        channels: ChannelStatistics | None = None,
        work: StepWork | None = None,
        evaluations: Sequence[Evaluation] = (),
        first_state: Callable[[], TrainState] | None = None,
    ):
        """Computes nothing yet.

        Args:
          channels: what `sora-jax encode` measured of the latents; None takes them as they are.
          work: what a step does, as far as the data is known; by default the tokens of its rows.
          evaluations: what is measured of a state, and when.
          first_state: the state before the first step, called under a mesh; by default random
            weights.
        """
        packing = experiment.packing
        self.experiment, self._evaluations = experiment, evaluations
        self.work = work or StepWork("tokens", packing.rows * packing.tokens)
        self._first_state = first_state or jax.jit(self.init_state)
        self._channels = channels

    def init_state(self) -> TrainState:
        """Random weights."""
        return init_state(self.experiment, self._channels)

    def first_state(self) -> TrainState:
        """The state before the first step."""
        return self._first_state()

    def train_step(
        self, state: TrainState, batch: PackedBatch, constants: Params
    ) -> tuple[TrainState, dict[str, Array]]:
        """See `train_step`."""
        return train_step(state, batch, self.experiment)

    def constants(self) -> Params:
        """No arrays: the step reads the state and the batch alone."""
        return {}

    def batch_specs(self) -> PackedBatch:
        """See `rows.batch_specs`."""
        return batch_specs()

    def batch_sizes(self) -> BatchSizes:
        """The number of rows."""
        config = self.experiment
        return BatchSizes("packing.rows", (config.packing.rows,), config.optimizer.micro_batches)

    def describe(self, metrics: dict[str, float]) -> str:
        """The loss."""
        return f"loss: {metrics['loss']:.4f}"

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Metrics of the evaluations that are due after the state's step; {} if none is."""
        step, metrics = int(state.step), {}
        for every, measure in self._evaluations:
            if every and (step % every == 0 or step == self.experiment.optimizer.steps):
                metrics |= measure(state)
        return metrics


def init_state(
    experiment: DiffusionExperiment, channels: ChannelStatistics | None = None
) -> TrainState:
    """The state before the first step; call under jit and a mesh."""
    key = jax.random.key(experiment.loop.seed)
    params = dit.init_params(key, experiment.model)
    opt_state = make_optimizer(experiment.optimizer).init(params)
    average = jax.tree.map(jnp.copy, params)
    statistics = {"channel_scale": channel_scale(experiment, channels)}
    raw_key = jax.random.key_data(key)
    return TrainState(jnp.int32(0), params, average, opt_state, raw_key, statistics)


def channel_scale(
    experiment: DiffusionExperiment, channels: ChannelStatistics | None
) -> Float[Array, "c"]:
    """Factors that give latents a mean variance of 1; see `channel_weight_exponent`.

    With deviations d and sensitivities m, channel i gets the variance p_i = m_i^e / mean(m^e), by

        scale_i = sqrt(p_i) / d_i.

    Args:
      channels: None: all deviations are 1, and all channels alike.
    """
    scale = np.ones(experiment.model.latent_channels)
    if channels is not None:
        # A channel that moves no pixel keeps a scale, as sampling divides by it.
        most = channels.sensitivity.max()
        sensitivity = np.maximum(channels.sensitivity, 1e-6 * most) if most > 0 else scale
        power = sensitivity**experiment.channel_weight_exponent
        scale = np.sqrt(power / power.mean()) / np.maximum(channels.deviation, MIN_DEVIATION)
    return jnp.zeros(scale.shape, out_sharding=P(None)) + np.float32(scale)


def loss(
    params: Params,
    experiment: DiffusionExperiment,
    batch: PackedBatch,
    noise: Float[Array, "b l p"],
    total_weight: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """The packed loss at the batch's noise levels, with standard normal `noise`.

    It is the error of the velocity, whatever the model predicts (arXiv:2511.13720, table 1), or
    that of the prediction; see `DiffusionExperiment.velocity_loss`.

    Args:
      total_weight: see `packed_loss`.
    """
    return packed_loss(*output_and_target(params, experiment, batch, noise), batch, total_weight)


def output_and_target(
    params: Params,
    experiment: DiffusionExperiment,
    batch: PackedBatch,
    noise: Float[Array, "b l p"],
) -> tuple[Float[Array, "b l p"], Float[Array, "b l p"]]:
    """What the loss compares."""
    denoiser = experiment.denoiser
    level = token_levels(batch.levels, batch.level_ids)
    x = process.corrupt(batch.patches, noise, level)
    output = denoiser.output(params, x, batch)
    target = denoiser.prediction.target(batch.patches, noise, level)
    if not experiment.velocity_loss:
        return output, target
    scale = denoiser.prediction.loss_scale(level)
    return scale * output, scale * target


def loss_and_gradients(
    params: Params,
    experiment: DiffusionExperiment,
    batch: PackedBatch,
    noise: Float[Array, "b l p"],
) -> tuple[dict[str, Array], Params]:
    """`loss` and its gradient, computed by `optimizer.micro_batches` micro-batches.

    Returns:
      Metrics: `loss`, and its means by noise level and by number of tokens, NaN where no segment
      has one; the gradient.
    """
    total_weight = jnp.maximum(jnp.sum(batch.weights), 1e-6)

    def micro_loss(params: Params, rows: tuple[PackedBatch, Array]) -> tuple[Array, Any]:
        part, part_noise = rows
        compared = output_and_target(params, experiment, part, part_noise)
        errors = segment_errors(*compared, part)
        levels, sizes = level_sums(errors, part), size_sums(errors, part)
        return jnp.sum(levels[0]) / total_weight, (levels, sizes)

    parts = experiment.optimizer.micro_batches
    (value, (levels, sizes)), gradients = sum_gradients(micro_loss, params, (batch, noise), parts)
    metrics = {"loss": value}
    for (first, last), mean in zip(
        size_bins(batch.segment_ids.shape[1]), sizes[0] / sizes[1], strict=True
    ):
        metrics[f"loss/tokens_{first}-{last}"] = mean
    for i, mean in enumerate(levels[0] / levels[1]):
        metrics[f"loss/level_{i / LEVEL_BINS:g}-{(i + 1) / LEVEL_BINS:g}"] = mean
    return metrics, gradients


def sample_noise(
    key: Array, experiment: DiffusionExperiment, batch: PackedBatch
) -> tuple[PackedBatch, Float[Array, "b l p"]]:
    """The batch with known patches and noise levels drawn at random, and standard normal noise."""
    level_key, noise_key = jax.random.split(key)
    known_key = jax.random.fold_in(key, KNOWN_STREAM)
    batch = draw_known(known_key, experiment.known, batch, experiment.segment_weight_exponent)
    g = batch.weights.shape[1]
    levels = experiment.noise_levels.sample(level_key, segment_sizes(batch))
    table = level_table(levels, batch.levels[:, 1 + g :])
    batch = batch._replace(levels=jax.sharding.reshard(table, S.act_bs))
    # Each device draws its own share.
    noise = jax.random.normal(noise_key, batch.patches.shape, out_sharding=S.act_bld)
    return batch, noise


def train_step(
    state: TrainState, batch: PackedBatch, experiment: DiffusionExperiment
) -> tuple[TrainState, dict[str, Array]]:
    """One step of training; also returns its loss and gradient norm."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    batch = scale_channels(batch, state.statistics["channel_scale"])
    batch, noise = sample_noise(key, experiment, batch)
    metrics, gradients = loss_and_gradients(state.params, experiment, batch, noise)
    return apply_gradients(state, gradients, experiment.optimizer, metrics)
