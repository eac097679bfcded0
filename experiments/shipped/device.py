"""What both trainings of `experiments.train_shipped` share: stores on the device, logs of steps."""

import collections
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from sora_jax.models.vae_config import AnyVAEConfig
from sora_jax.sharding import P, auto_axes
from sora_jax.types import Params

LOG_EVERY = 50
AHEAD = 4  # steps that wait on the device's queue


class TrainedCodec(NamedTuple):
    """An autoencoder as the transformer's training uses it."""

    config: AnyVAEConfig
    params: Params
    statistics: Params


@functools.partial(jax.jit, donate_argnums=0)
def insert(store, part, start):
    """The store with a part replaced, in place."""

    def run(store, part, start):
        return jax.lax.dynamic_update_slice_in_dim(store, part.astype(store.dtype), start, 0)

    return auto_axes(run, out_sharding=P())(store, part, start)


class StepLog:
    """Logs each `LOG_EVERY`th step's metrics, `AHEAD` steps later: the device never waits."""

    def __init__(self, stage: str, log: Callable[..., None]):
        self._stage, self._log, self.steps = stage, log, 0
        self._waiting: collections.deque[tuple[int, dict[str, Any]]] = collections.deque()

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Counts a step, and writes one that was before."""
        self.steps += 1
        self._waiting.append((self.steps, metrics))
        if len(self._waiting) > AHEAD:
            number, arrays = self._waiting.popleft()
            values = {key: float(value) for key, value in jax.device_get(arrays).items()}
            if number % LOG_EVERY == 1 or number < 4:
                self._log(stage=self._stage, step=number, **values)
