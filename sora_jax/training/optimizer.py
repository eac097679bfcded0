"""The optimizers, with warm-up, cosine decay and gradient clipping, and the average of weights.

AdamW (arXiv:1711.05101) for everything, or Muon (orthogonalised momentum, by optax.contrib) for
the matrices of transformer blocks and AdamW with Nesterov momentum for the rest. Muon's updates
are scaled to the size of AdamW's (arXiv:2502.16982, equation 4), so one learning rate serves both.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from sora_jax.config import check_choice, check_minimum
from sora_jax.sharding import auto_axes
from sora_jax.types import Params, TrainState

OPTIMIZERS = ("adamw", "muon")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer and its schedule.

    Attributes:
      name: one of `OPTIMIZERS`.
      steps: length of the run in steps.
      learning_rate: peak of the learning rate, after the warm-up.
      warmup_steps: steps in which the learning rate rises from 0 to its peak; at most half the run.
      final_fraction: learning rate at the end of the run, as a fraction of its peak.
      weight_decay: decay of weight matrices; with Muon, of those of transformer blocks only.
      b1: decay of Adam's first moment.
      b2: decay of Adam's second moment.
      max_grad_norm: gradients of a larger global norm are scaled down to it.
      ema_decay: decay of the average of weights; early steps use (1 + step) / (10 + step) if that
        is smaller.
    """

    name: str = "adamw"
    steps: int = 1000
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    final_fraction: float = 0.05
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.99
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99

    def __post_init__(self):
        check_minimum(self, steps=1, warmup_steps=0)
        check_choice(self, name=OPTIMIZERS)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optax transformation; its state is a pytree that follows the parameters' shardings."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        min(config.warmup_steps, max(config.steps // 2, 1)),
        max(config.steps, 2),
        config.final_fraction * config.learning_rate,
    )

    optimizer = optax.adamw(
        schedule, config.b1, config.b2, weight_decay=config.weight_decay, mask=_is_kernel
    )
    if config.name == "muon":
        matrices: Any = _matrices  # optax's annotation misses trees of dimension numbers
        optimizer = muon(
            schedule,
            weight_decay=config.weight_decay,
            weight_decay_mask=_is_kernel,
            adam_b1=config.b1,
            adam_b2=config.b2,
            muon_weight_dimension_numbers=matrices,
            consistent_rms=0.2,
        )
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optimizer)


def _is_kernel(params: Params) -> Any:
    """What may decay: weight matrices, not biases, gains and tables."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _matrices(params: Params) -> Any:
    """Which axes of a stacked kernel [layers, inputs, outputs] are a matrix's; None for the rest.

    Heads and their width are two axes on one side: outputs of queries, keys and values, inputs of
    `out`.
    """

    def dimensions(path, array) -> MuonDimensionNumbers | None:
        names = [entry.key for entry in path]
        if "blocks" not in names or names[-1] != "kernel":
            return None
        first_output = array.ndim - 1 if names[-2] == "out" else 2
        return MuonDimensionNumbers(
            tuple(range(1, first_output)), tuple(range(first_output, array.ndim))
        )

    return jax.tree.map_with_path(dimensions, params)


def update_average(ema: Params, params: Params, step: jax.Array, config: OptimizerConfig) -> Params:
    """One step of the exponential moving average of the weights, with its warm-up."""
    decay = jnp.minimum(config.ema_decay, (1 + step) / (10 + step))
    average: Any = optax.incremental_update(params, ema, 1 - decay)
    return average


def apply_gradients(
    state: TrainState,
    gradients: Params,
    config: OptimizerConfig,
    metrics: dict[str, jax.Array],
    rate: float | jax.Array = 1.0,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of the optimizer and of the average of weights.

    Args:
      rate: factor of the schedule's learning rate, for runs whose number of steps is not known
        before; weight decay is multiplied by it too.

    Returns:
      The next state, and the metrics with the norm of the gradient added.
    """
    update = make_optimizer(config).update
    if config.name == "muon":  # its products mix sharded axes: the compiler spreads them
        specs = jax.tree.map(lambda a: jax.typeof(a).sharding.spec, (gradients, state.opt_state))
        update = auto_axes(update, out_sharding=specs)
    updates, opt_state = update(gradients, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: rate * u, updates)
    params: Any = optax.apply_updates(state.params, updates)
    ema = update_average(state.ema, params, state.step, config)
    metrics = metrics | {"gradient_norm": optax.tree.norm(gradients)}
    state = state._replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
    return state, metrics
