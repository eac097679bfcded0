"""The optimizers with their settings: one step of them, and of the average of weights.

AdamW (arXiv:1711.05101) for everything, or Muon (see `training.muon`) for the matrices of
transformer blocks and AdamW with Nesterov momentum for the rest. Muon's updates are scaled to the
size of AdamW's, so one learning rate serves both.

The average of the weights w_t after steps t = 1, 2, ..., from the initial weights, is

    average_t = d_t average_(t-1) + (1 - d_t) w_t
    exponential:  d_t = min(ema_decay, t / (t + 9)), a warm-up that forgets the initial weights
    power:        d_t = (1 - 1/t)^(gamma + 1)                              (arXiv:2312.02696, 3.1)

so in `power`, w_s has the weight (s^(gamma+1) - (s-1)^(gamma+1)) / t^(gamma+1): the average reaches
back over the same fraction of a run, however long it is.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sora_jax.config import check_choice, check_interval, check_minimum
from sora_jax.sharding import auto_axes
from sora_jax.training.muon import is_matrix, muon_updates
from sora_jax.training.schedules import SCHEDULES, Schedule
from sora_jax.types import Params, TrainState

OPTIMIZERS = ("adamw", "muon")
AVERAGES = ("exponential", "power")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer, its schedule and the average of weights.

    Attributes:
      name: one of `OPTIMIZERS`.
      steps: length of the run in steps.
      micro_batches: parts of a step's rows whose gradients are computed one after another, which
        takes less memory; the step is the same but for rounding.
      learning_rate: peak of the learning rate, after the warm-up.
      schedule: how the learning rate goes on after the warm-up, one of `schedules.SCHEDULES`.
      warmup_steps: steps in which the learning rate rises to its peak; at most half the run.
      final_fraction: learning rate at the end of the run, as a fraction of its peak; of `cosine`
        and `wsd`.
      decay_fraction: last part of the run in which the learning rate of `wsd` decays; 0.2 is enough
        for the loss of a cosine.
      weight_decay: decay of weight matrices; with Muon, of those of transformer blocks only.
      b1: decay of Adam's first moment.
      b2: decay of Adam's second moment.
      eps: what Adam adds to the root of the second moment.
      max_grad_norm: gradients of a larger global norm are scaled down to it; 1e9: none are.
      average: how weights are averaged for evaluation and sampling, one of `AVERAGES`.
      ema_decay: decay of the exponential average; early steps use (1 + step) / (10 + step) if that
        is smaller.
      ema_exponent: gamma of the power average; its width is 0.10 of the run with 6.94, 0.05 with
        16.97.
    """

    name: str = "adamw"
    steps: int = 1000
    micro_batches: int = 1
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_steps: int = 50
    final_fraction: float = 0.05
    decay_fraction: float = 0.2
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    max_grad_norm: float = 1.0
    average: str = "exponential"
    ema_decay: float = 0.99
    ema_exponent: float = 6.94

    def __post_init__(self):
        check_minimum(self, steps=1, micro_batches=1, warmup_steps=0)
        check_choice(self, name=OPTIMIZERS, schedule=SCHEDULES, average=AVERAGES)
        check_interval(self, b1="[0, 1)", b2="[0, 1)", ema_decay="(0, 1)")
        check_interval(self, final_fraction="[0, 1]", decay_fraction="(0, 1]")
        check_interval(self, weight_decay="[0, inf)", ema_exponent="[0, inf)")
        positive = ("learning_rate", "eps", "max_grad_norm")
        check_interval(self, **dict.fromkeys(positive, "(0, inf)"))


def make_schedule(config: OptimizerConfig) -> Schedule:
    """The learning rate by step."""
    return Schedule(
        config.schedule,
        config.learning_rate,
        config.steps,
        min(config.warmup_steps, max(config.steps // 2, 1)),
        config.final_fraction,
        config.decay_fraction,
    )


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optax transformation; its state is a pytree that follows the parameters' shardings."""
    schedule = make_schedule(config)
    adam = config.b1, config.b2, config.eps
    if config.name == "adamw":
        optimizer = optax.adamw(schedule, *adam, weight_decay=config.weight_decay, mask=_is_kernel)
    else:
        matrices = optax.chain(
            *muon_updates(),
            optax.add_decayed_weights(config.weight_decay, _is_kernel),
            optax.scale_by_learning_rate(schedule),
        )
        rest = optax.adamw(schedule, *adam, weight_decay=0.0, nesterov=True)
        optimizer = optax.partition({"muon": matrices, "adam": rest}, _name_optimizers)
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optimizer)


def _is_kernel(params: Params) -> Any:
    """What may decay: weight matrices, not biases, gains and tables."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _name_optimizers(params: Params) -> Any:
    """Which optimizer each parameter has, by the keys of Muon's state."""
    return jax.tree.map_with_path(lambda path, _: "muon" if is_matrix(path) else "adam", params)


def update_average(ema: Params, params: Params, step: jax.Array, config: OptimizerConfig) -> Params:
    """The average of the weights after a step, whose number `step` counts from 0."""
    if config.average == "power":  # late in a long run, 1 - d_t is below float32's rounding of d_t
        rate = -jnp.expm1((config.ema_exponent + 1) * jnp.log1p(-1 / (1 + step)))
    else:
        rate = 1 - jnp.minimum(config.ema_decay, (1 + step) / (10 + step))
    average: Any = optax.incremental_update(params, ema, rate)
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
      The next state, and the metrics with the norms of gradient and update, and the learning rate.
    """
    update = make_optimizer(config).update
    if config.name == "muon":  # its products mix sharded axes: the compiler spreads them
        specs = jax.tree.map(lambda a: jax.typeof(a).sharding.spec, (gradients, state.opt_state))
        update = auto_axes(update, out_sharding=specs)
    updates, opt_state = update(gradients, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: rate * u, updates)
    params: Any = optax.apply_updates(state.params, updates)
    ema = update_average(state.ema, params, state.step, config)
    _, updates_taken = optax.tree.get_all_with_path(state.opt_state, "count")[0]  # all are equal
    metrics = metrics | {
        "gradient_norm": optax.tree.norm(gradients),
        "update_norm": optax.tree.norm(updates),
        "learning_rate": rate * make_schedule(config)(updates_taken),
    }
    state = state._replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
    return state, metrics
