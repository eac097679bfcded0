"""What a kind of training is to the loop: a task, and its data."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import jax
from etils import epath

from sora_jax.processes import BatchShare
from sora_jax.types import Params, TrainState


class TrainingData(NamedTuple):
    """The batches of a run.

    Attributes:
      open: a process's share of batch i at index i.
      digest: a text that is the same only where the data is.
      name_clips: names of the clips in batch i, over all processes.
      position: where the data is after a step, as JSON, for the checkpoint.
      go_on: the data from the position of a checkpoint and its step on; None: batches are those
        of steps, wherever a run goes on.
      keep_inputs: puts into the run's folder what its model is used with.
      count_faults: what was left out or cut so far, by kind; `bad_clips` is that of this process.
    """

    open: Callable[[BatchShare], grain.MapDataset]
    digest: str = ""
    name_clips: Callable[[int], Sequence[str]] = lambda number: ()
    position: Callable[[int], dict[str, Any]] = lambda step: {"next_index": step}
    go_on: Callable[[dict[str, Any], int], "TrainingData"] | None = None
    keep_inputs: Callable[[epath.PathLike], None] = lambda workdir: None
    count_faults: Callable[[], dict[str, float]] = lambda: {}


class StepWork(NamedTuple):
    """What a step of training does, over all devices.

    Attributes:
      unit: what is counted: tokens or pixels.
      count: number of them in a batch, padding included.
      useful: share of them that belongs to clips.
      flops: useful floating-point operations (see `scaling.flops`); 0 where they are not counted.
      peak_flops: operations per second that a device can do; None where that is not known.
    """

    unit: str
    count: float
    useful: float = 1.0
    flops: float = 0.0
    peak_flops: float | None = None


class BatchSizes(NamedTuple):
    """Numbers of rows or crops in a task's batches.

    Attributes:
      name: the setting that says them.
      sizes: the sizes of all kinds of batches.
      micro_batches: number of parts of a batch that are computed one after another.
    """

    name: str
    sizes: tuple[int, ...]
    micro_batches: int = 1


@runtime_checkable
class Task(Protocol):
    """What is trained, as the loop sees it.

    Methods but `batch_specs` and `batch_sizes` are called with the mesh set.

    Attributes:
      experiment: the run's settings; the loop reads `optimizer.steps`, `mesh` and `loop`.
      work: what a step does.
    """

    experiment: Any
    work: StepWork

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
