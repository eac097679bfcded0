"""The transformer's part of `experiments.train_shipped`: a step at a time on rows of a store."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shipped import feed
from experiments.shipped.device import StepLog
from experiments.shipped.latents import LatentStore
from sora_jax.interop.rotary import join_pairs
from sora_jax.rows import batch_specs, scale_channels
from sora_jax.sharding import auto_axes
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.optimizer import apply_gradients
from sora_jax.types import Params


class Transformer:
    """Trains the transformer.

    Attributes:
      tokens: video tokens that were trained on.
    """

    def __init__(
        self,
        experiment: DiffusionExperiment,
        end: int,
        log: Callable[..., None],
        init: Params | None = None,
    ):
        """Compiles nothing yet.

        Args:
          end: id of the end-of-text token.
          init: weights to start from; None: random ones.
        """
        self.experiment, self.tokens, self._end, self._init = experiment, 0, end, init
        self._emit, self._log = log, StepLog("transformer", log)
        self._rng = np.random.default_rng(1)

    def prepare(self, store: LatentStore) -> None:
        """Compiles the step, with fewer rows where memory is short."""
        while True:
            try:
                self._warm_up(store)
                break
            except jax.errors.JaxRuntimeError as error:
                n = self.experiment.packing.rows // 2
                if not n:
                    raise
                self._emit(event="fewer rows", rows=n, reason=repr(error)[:300])
                packing = dataclasses.replace(self.experiment.packing, rows=n, rows_per_device=n)
                self.experiment = dataclasses.replace(self.experiment, packing=packing)
        self.state = self._first_state()
        self._emit(event="transformer compiled")

    def _first_state(self):
        channels = np.ones(self.experiment.model.latent_channels)
        init = functools.partial(diffusion_task.init_state, self.experiment, channels)
        state = jax.jit(init)()
        if self._init is not None:
            copies = jax.jit(lambda p: (jax.tree.map(jnp.copy, p),) * 2)(self._init)
            state = state._replace(params=copies[0], ema=copies[1])
        return state

    def _warm_up(self, store: LatentStore) -> None:
        """Compiles the step, and runs it on rows of padding."""
        packing = self.experiment.packing
        self._run = jax.jit(self._train_step, donate_argnums=0)
        row = feed.Row(*(np.zeros((0, *n)) for n in ((), (3,), ())), [])
        empty = feed.plan_step([row] * packing.rows, packing, self._end, self._rng)
        jax.block_until_ready(self._run(self._first_state(), store.array, empty, np.float32(0)))

    def set_scale(self, scale: np.ndarray) -> None:
        """Sets the factors of the channels of latents; see `diffusion_task.channel_scale`."""
        like = self.state.statistics["channel_scale"]
        self.state = self.state._replace(
            statistics={"channel_scale": jax.device_put(jnp.float32(scale), like.sharding)}
        )

    def _train_step(self, state, store, plan, rate):
        experiment = self.experiment
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        assemble = functools.partial(feed.assemble, tokens=experiment.packing.tokens)
        batch = auto_axes(assemble, out_sharding=batch_specs())(store, plan)
        batch = scale_channels(batch, state.statistics["channel_scale"])
        batch, noise = diffusion_task.sample_noise(key, experiment, batch)
        metrics, gradients = diffusion_task.loss_and_gradients(
            state.params, experiment, batch, noise
        )
        metrics["known"] = jnp.mean(batch.known.astype(jnp.float32))
        return apply_gradients(state, gradients, experiment.optimizer, metrics, rate)

    def step(self, store: LatentStore, rate: np.float32) -> None:
        """One step of training on random rows of those that are there."""
        packing = self.experiment.packing
        rows = store.rows
        chosen = self._rng.choice(len(rows), packing.rows, replace=len(rows) < packing.rows)
        plan = feed.plan_step([rows[i] for i in chosen], packing, self._end, self._rng)
        with store.lock:
            self.state, metrics = self._run(self.state, store.array, plan, rate)
        self.tokens += int(plan.grids.prod(-1).sum())
        self._log.add(metrics)

    def result(self) -> Params:
        """Averaged weights, as files hold them (see `interop.rotary`)."""
        return join_pairs(self.state.ema)
