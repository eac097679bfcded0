"""The one training loop: mesh, state or restore, data, compiled step, checkpoints, metrics."""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import jax
from etils import epath

from sora_jax.processes import BatchShare, batch_share, is_first
from sora_jax.sharding import P, make_mesh
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.guard import SkippedSteps, guard
from sora_jax.training.metrics import Metrics
from sora_jax.training.run_folder import save_config
from sora_jax.types import Params, TrainState

AHEAD = 2
"""Steps whose metrics are not fetched yet, while the next one is dispatched."""


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

        Of the metrics, `loss` says whether the step may change the state; see `guard`.
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
        waiting: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()
        skipped = SkippedSteps(metrics.last("skipped"))
        try:
            for step in range(start + 1, steps + 1):
                batch = share.place(next(iterator), specs)
                state, values = train_step(state, batch, constants)
                waiting.append((step, values))
                # A step's metrics are fetched after later ones are dispatched.
                while len(waiting) > AHEAD:
                    _log(metrics, *waiting.popleft(), config.log_every, task, skipped)
                stop = skipped.in_a_row >= config.max_skipped
                if stop or step == steps or checkpoints.due(step):
                    # Before the save: a run killed after it finds the lines up to its step.
                    while waiting:
                        _log(metrics, *waiting.popleft(), config.log_every, task, skipped)
                    if evaluation := task.evaluate(state):
                        metrics.log(step, evaluation)
                    metrics.flush()
                    stop |= skipped.in_a_row >= config.max_skipped
                    if not stop or skipped.in_a_row < step - start:  # else it is as restored
                        checkpoints.save(state, step, iterator.get_state())
                if stop:
                    raise ValueError(
                        f"{skipped.in_a_row} steps in a row, to step {step}, were not finite: they "
                        "changed no weight, and the run is saved; look at its data, or lower "
                        "config.optimizer.learning_rate"
                    )
        finally:
            metrics.flush()
            iterator.close()
        return state


def _check_shares(batch: BatchSizes, share: BatchShare) -> None:
    """Checks that every shard gets equally many rows, or crops."""
    if odd := [size for size in batch.sizes if size % share.count]:
        raise ValueError(
            f"config.{batch.name} makes batches of {odd[0]}, which {share.count} shards cannot "
            f"share: give it a multiple of {share.count}"
        )


def _log(
    metrics: Metrics,
    step: int,
    arrays: dict[str, jax.Array],
    log_every: int,
    task: Task,
    skipped: SkippedSteps,
) -> None:
    """Counts a step if it was skipped; logs and shows its metrics if they are due."""
    values = {name: float(value) for name, value in jax.device_get(arrays).items()}
    skipped.add(bool(values["skipped"]))
    if step % log_every == 0 or step == metrics.steps or step == metrics.start + 1:
        values["skipped"] = float(skipped.total)
        metrics.log(step, values)
        metrics.show(step, task.describe(values))
