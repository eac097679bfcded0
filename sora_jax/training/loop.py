"""The one training loop: mesh, state or restore, data, compiled step, checkpoints, metrics."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import jax
import jax.numpy as jnp
from etils import epath

from sora_jax.processes import BatchShare, batch_share, is_first
from sora_jax.sharding import P, make_mesh
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.metrics import Metrics
from sora_jax.training.run_folder import save_config
from sora_jax.types import Params, TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]
"""A step of training, of a state and what else it reads: the next state and the step's metrics."""


class BatchSizes(NamedTuple):
    """Numbers of rows or crops in a task's batches.

    Attributes:
      name: the setting that says them.
      sizes: the sizes of all kinds of batches.
    """

    name: str
    sizes: tuple[int, ...]


@runtime_checkable
class Task(Protocol):
    """What is trained, as the loop sees it.

    Methods but `batch_specs` and `batch_sizes` are called with the mesh set.

    Attributes:
      experiment: the run's settings; the loop reads `optimizer.steps`, `mesh` and `loop`.
    """

    experiment: Any

    def init_state(self) -> TrainState:
        """A state of the right shapes and shardings; is traced, never run."""
        ...

    def first_state(self) -> TrainState:
        """The state before the first step; is called if there is no checkpoint."""
        ...

    def train_step(
        self, state: TrainState, batch: Any, constants: Params
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step, which the loop compiles: the next state and the step's metrics.

        Of the metrics, `loss` and `gradient_norm` say whether the step may change the state.
        """
        ...

    def constants(self) -> Params:
        """Arrays that every step reads and none changes."""
        ...

    def batch_specs(self) -> Any:
        """A `PartitionSpec` for each array of a batch; all have the same first entry."""
        ...

    def batch_sizes(self) -> BatchSizes:
        """Sizes of batches."""
        ...

    def describe(self, metrics: dict[str, float]) -> str:
        """A few words of a step's metrics, for the progress line."""
        ...

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Metrics of the state at a checkpoint, for a line of their own; {} for none."""
        ...


def train(
    task: Task,
    workdir: epath.PathLike,
    open_batches: Callable[[BatchShare], grain.MapDataset],
) -> TrainState:
    """Trains to `optimizer.steps`, going on from the latest checkpoint if there is one.

    Args:
      workdir: holds config.json, metrics.jsonl and checkpoints/.
      open_batches: a process's share of batch i at index i.

    Returns:
      The state after the last step.

    Raises:
      ValueError: the workdir holds another run, the mesh's shards cannot share a batch, or too
        many steps in a row were not finite.
    """
    workdir, config, steps = (
        epath.Path(workdir),
        task.experiment.loop,
        task.experiment.optimizer.steps,
    )
    mesh, specs = make_mesh(task.experiment.mesh), task.batch_specs()
    share = batch_share(mesh, specs)
    _check_shares(task.batch_sizes(), share)
    save_config(workdir, task.experiment)
    with (
        jax.set_mesh(mesh),
        Checkpoints(workdir, config.save_every, config.keep) as checkpoints,
    ):
        batches = open_batches(share)
        iterator = iter(batches.to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch)))
        if (restored := checkpoints.restore(jax.eval_shape(task.init_state))) is not None:
            state, reader_state = restored
            iterator.set_state(reader_state)
        else:
            state = task.first_state()
        start = int(state.step)
        metrics = Metrics(workdir, start, steps, is_first())
        train_step = jax.jit(guard(task.train_step), donate_argnums=0)
        constants = jax.device_put(task.constants(), P())
        pending: tuple[int, dict[str, jax.Array]] | None = None
        skipped = Skipped(config.max_skipped)
        try:
            for step in range(start, steps):
                batch = share.place(next(iterator), specs)
                state, values = train_step(state, batch, constants)
                # A step's metrics are fetched after the next one is dispatched.
                _log(metrics, pending, config.log_every, task, skipped)
                pending = (step + 1, values)
                if step + 1 == steps or skipped.too_many or checkpoints.due(step + 1):
                    # Before the save: a run killed after it finds the lines up to its step.
                    _log(metrics, pending, config.log_every, task, skipped)
                    pending = None
                    if evaluation := task.evaluate(state):
                        metrics.log(step + 1, evaluation)
                    metrics.flush()
                    checkpoints.save(state, step + 1, iterator.get_state())
                if skipped.too_many:
                    raise ValueError(
                        f"the loss or its gradient was not finite in {config.max_skipped} steps in "
                        f"a row, to step {step + 1}: they changed no weight, and the run is saved; "
                        "look at its data, or lower config.optimizer.learning_rate"
                    )
            _log(metrics, pending, config.log_every, task, skipped)
        finally:
            metrics.flush()
            iterator.close()
        return state


def guard(step: Step) -> Step:
    """The step, but for its number without effect if the loss or its gradient is not finite."""

    def guarded(state: TrainState, *rest: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        new, values = step(state, *rest)
        finite = jnp.isfinite(values["loss"]) & jnp.isfinite(values["gradient_norm"])
        kept: Any = jax.tree.map(functools.partial(jnp.where, finite), new, state)
        return kept._replace(step=new.step), values | {"skipped": 1.0 - finite}

    return guarded


class Skipped:
    """Counts steps that were skipped."""

    def __init__(self, most: int):
        self.total, self._streak, self._most = 0, 0, most

    def add(self, skipped: bool) -> None:
        """Counts a step."""
        self.total += skipped
        self._streak = self._streak + 1 if skipped else 0

    @property
    def too_many(self) -> bool:
        """Whether so many steps in a row were skipped that the run must stop."""
        return self._streak >= self._most


def _check_shares(batch: BatchSizes, share: BatchShare) -> None:
    """Checks that every shard gets equally many rows, or crops."""
    if odd := [size for size in batch.sizes if size % share.count]:
        raise ValueError(
            f"config.{batch.name} makes batches of {odd[0]}, which {share.count} devices cannot "
            f"share: give it a multiple of {share.count}"
        )


def _log(
    metrics: Metrics,
    pending: tuple[int, dict[str, jax.Array]] | None,
    log_every: int,
    task: Task,
    skipped: Skipped,
) -> None:
    """Counts a step if it was skipped; logs and shows its metrics if they are due."""
    if pending is None:
        return
    step, arrays = pending
    values = {name: float(value) for name, value in jax.device_get(arrays).items()}
    skipped.add(bool(values["skipped"]))
    if step % log_every == 0 or step == metrics.steps or step == metrics.start + 1:
        values["skipped"] = float(skipped.total)
        metrics.log(step, values)
        metrics.show(step, task.describe(values))
