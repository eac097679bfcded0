"""A new run whose first weights are the averaged ones of another run."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.interop.tensors import tensor_name
from sora_jax.types import Params, TrainState

NAMED = 3
"""Number of weights that a message names."""


def choose_weights(
    wanted: Params, source: Params, new: Sequence[str], where: str
) -> dict[str, Any]:
    """The weights of another run that a new one takes, by name.

    Args:
      wanted: the new run's tree of weights, or of `jax.ShapeDtypeStruct`.
      source: the other run's.
      new: beginnings of the names of weights that are not taken.
      where: the other run's folder, for messages.

    Raises:
      ValueError: other weights are of another shape there, or in one of the runs only; or no
        weight's name begins as one of `new`.
    """
    shapes, weights = (
        {tensor_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (wanted, source)
    )
    names = list(dict.fromkeys([*shapes, *weights]))
    for beginning in new:
        if not any(name.startswith(beginning) for name in names):
            known = ", ".join(dict.fromkeys(name.partition("/")[0] for name in names))
            raise ValueError(
                f"config.init_new has {beginning!r}, and no weight's name begins so: choose of "
                f"{known}"
            )
    taken = [name for name in names if not name.startswith(tuple(new))]
    pairs = {name: (_shape(weights.get(name)), _shape(shapes.get(name))) for name in taken}
    odd = [f"{name} is {a} there, {b} here" for name, (a, b) in pairs.items() if a != b]
    if odd:
        more = f"; and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        raise ValueError(
            f"config.init_from, {where}, does not fit config.model in {len(odd)} weights: "
            f"{'; '.join(odd[:NAMED])}{more}: copy its config.model, or name in config.init_new "
            "those that start anew"
        )
    return {name: weights[name] for name in taken}


def _shape(leaf: Any) -> str:
    return "absent" if leaf is None else "x".join(map(str, leaf.shape)) or "a number"


def start_from(init_state: Callable[[], TrainState], weights: dict[str, Any]) -> TrainState:
    """The state before the first step with some weights given; all else is as `init_state` has it.

    Args:
      init_state: is compiled, and draws only the weights that are not given.
      weights: arrays by name, in the shardings of the state's.
    """

    def start(weights: dict[str, Any]) -> TrainState:
        state = init_state()
        params = jax.tree.map_with_path(
            lambda path, drawn: weights.get(tensor_name(path), drawn), state.params
        )
        return state._replace(params=params, ema=jax.tree.map(jnp.copy, params))

    return jax.jit(start)(weights)
