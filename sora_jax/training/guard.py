"""Steps that are not finite: they change nothing, and are counted."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.types import TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]
"""A step of training, of a state and what else it reads: the next state and the step's metrics."""


def guard(step: Step) -> Step:
    """Wraps a step: if it is not finite, the state stays as it was but for its step number.

    A step is finite if its metric `loss` and all of the optimizer's new state are: a gradient that
    is not would be in the moments, the discriminator's too. Its metrics get `skipped`, 0 or 1.
    """

    def guarded(state: TrainState, *rest: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        new, values = step(state, *rest)
        finite = jnp.isfinite(values["loss"])
        for leaf in jax.tree.leaves(new.opt_state):
            if jnp.issubdtype(leaf.dtype, jnp.inexact):
                finite &= jnp.isfinite(leaf).all()
        kept: Any = jax.tree.map(functools.partial(jnp.where, finite), new, state)
        return kept._replace(step=new.step), values | {"skipped": 1.0 - finite}

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
