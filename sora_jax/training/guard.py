"""Steps that are not finite, or whose gradient is a spike: they change nothing, and are counted."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.types import TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]
"""A step of training, of a state and what else it reads: the next state and the step's metrics."""
SETTLING_STEPS = 100
"""Steps before the norm of gradients has settled; none of them is a spike."""
NORM_RATE = 0.02
"""Weight of a step in the running mean of the norms of gradients."""


def guard(step: Step, spike_factor: float = 0.0) -> Step:
    """Wraps a step: if it is bad, the state stays as it was but for its step number.

    A step is bad if its metric `loss` or `gradient_norm`, or any of the optimizer's new state, is
    not finite: a gradient that is not would be in the moments, the discriminator's too, and one
    whose norm overflows would be clipped to nothing. It is bad, too, if its norm is more than
    `spike_factor` times the running mean m of those before,

        m <- m + r (min(norm, spike_factor m) - m),  r = NORM_RATE,

    which follows a lasting change in some steps. Its metrics get `skipped` and `spiked`, 0 or 1.

    Args:
      spike_factor: 0: no step is a spike.
    """

    def guarded(state: TrainState, *rest: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        new, values = step(state, *rest)
        checked = [values["loss"], values["gradient_norm"], *jax.tree.leaves(new.opt_state)]
        checked = [jnp.isfinite(x).all() for x in checked if jnp.issubdtype(x.dtype, jnp.inexact)]
        # The first that is not; of `all`, XLA would compute a copy for each array it decides on.
        finite = jnp.argmin(jnp.stack([*checked, jnp.array(False)])) == len(checked)
        norm, mean = values["gradient_norm"], jnp.asarray(state.gradient_norm)
        limit = jnp.where(mean > 0, spike_factor * mean if spike_factor else jnp.inf, jnp.inf)
        spiked = finite & (norm > limit) & (state.step >= SETTLING_STEPS)
        good = finite & ~spiked
        kept: Any = jax.tree.map(functools.partial(jnp.where, good), new, state)
        next_mean = jnp.where(mean > 0, mean + NORM_RATE * (jnp.minimum(norm, limit) - mean), norm)
        next_mean = jnp.where(finite & jnp.isfinite(next_mean), next_mean, mean)
        kept = kept._replace(step=new.step, gradient_norm=next_mean)
        return kept, values | {"skipped": 1.0 - good, "spiked": 1.0 * spiked}

    return guarded


class SkippedSteps:
    """Counts the steps that were skipped.

    Attributes:
      total: number of them in the whole run.
      in_a_row: number of the latest steps all of which were skipped.
    """

    def __init__(self, total: int):
        self.total, self.in_a_row = total, 0

    def add(self, skipped: bool) -> None:
        """Counts a step."""
        self.total += skipped
        self.in_a_row = self.in_a_row + 1 if skipped else 0
