"""The one optimizer: AdamW with warm-up, cosine decay and clipping, and an average of weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sora_jax.types import Params, TrainState


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (arXiv:1711.05101) and its schedule.

    Attributes:
      steps: length of the run; the rate falls to `final` x the peak at its end.
      clip: largest norm of the gradient.
      ema: decay of the average of weights; early steps use (1 + step) / (10 + step) if smaller.
    """

    steps: int = 1000
    learning_rate: float = 1e-3
    warmup: int = 50
    final: float = 0.05
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.99
    clip: float = 1.0
    ema: float = 0.99


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The transformation; its state is a pytree that follows the parameters' shardings."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        min(config.warmup, max(config.steps // 2, 1)),
        max(config.steps, 2),
        config.final * config.learning_rate,
    )

    def decayed(params: Params):
        """Weight matrices decay; biases, gains and tables do not."""
        return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)

    adamw = optax.adamw(
        schedule, config.b1, config.b2, weight_decay=config.weight_decay, mask=decayed
    )
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw)


def update_average(ema: Params, params: Params, step: jax.Array, config: OptimizerConfig) -> Params:
    """One step of the exponential moving average of the weights, with its warm-up."""
    decay = jnp.minimum(config.ema, (1 + step) / (10 + step))
    average: Any = optax.incremental_update(params, ema, 1 - decay)
    return average


def apply_gradients(
    state: TrainState, gradients: Params, config: OptimizerConfig, metrics: dict[str, jax.Array]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The optimizer's step and the average of weights."""
    updates, opt_state = make_optimizer(config).update(gradients, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    ema = update_average(state.ema, params, state.step, config)
    metrics = metrics | {"gradient_norm": optax.tree.norm(gradients)}
    state = state._replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
    return state, metrics
