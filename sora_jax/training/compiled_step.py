"""The step that training runs, and that is compiled for slices: a task's step with its checks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.processes import batch_share
from sora_jax.sharding import AXES, P, abstract_array
from sora_jax.training.guard import guard
from sora_jax.types import TrainState

STOP, SAVE, BAD = range(3)
"""What a process may ask of all, and tell all: the number of its bad clips."""
REQUESTS = P(AXES, None)
"""Sharding of requests, int32 [devices, 3]: no two processes hold the same row, on any mesh."""


def compile_step(step: Callable[..., Any], spike_factor: float) -> Any:
    """The jitted step of training; the state that it is given is gone after it.

    It takes a state, a batch, constants and requests.

    Args:
      step: a task's step.
      spike_factor: see `guard`.
    """
    return jax.jit(_with_requests(guard(step, spike_factor)), donate_argnums=0)


def _with_requests(step: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a step: it takes one more argument, what the devices' processes ask for.

    The metric `requests`, int32 [3], is the sum of what they ask for. It is the same for all, so
    all stop and save after the same step, at no cost beside the step's own communication.
    """

    def wrapped(state: TrainState, batch: Any, constants: Any, requests: jax.Array) -> Any:
        state, values = step(state, batch, constants)
        # The 0 below waits for the step: XLA's collectives on CPUs deadlock where two that depend
        # on nothing of each other meet.
        done = jnp.minimum(values["skipped"], 0).astype(jnp.int32)
        return state, values | {"requests": (requests + done).sum(0)}

    return wrapped


def place_requests(asked: tuple[int, ...], mesh: jax.sharding.Mesh) -> jax.Array:
    """What this process asks for, in the order of `STOP` and so on, on the first of its devices."""
    share = batch_share(mesh, P(AXES))
    rows = np.zeros((len(share.shards), len(asked)), np.int32)
    rows[0] = asked
    return share.place(rows, REQUESTS)


def abstract_requests(mesh: jax.sharding.Mesh) -> jax.ShapeDtypeStruct:
    """Shape and sharding of `place_requests`, of all processes."""
    return abstract_array((mesh.size, BAD + 1), jnp.int32, REQUESTS)
