"""What the loop keeps of a run beside its state: metrics, what processes ask for, bad steps."""

import collections
import contextlib
import json
import sys
from typing import Any

import jax
import numpy as np
from etils import epath

from sora_jax import stopping
from sora_jax.files import write_whole
from sora_jax.kernels.products import use_products
from sora_jax.processes import agree, all_meet, is_first
from sora_jax.progress import first_line
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.clock import Clock
from sora_jax.training.compiled_step import BAD, SAVE, STOP, place_requests
from sora_jax.training.guard import SkippedSteps
from sora_jax.training.log_writers import LogWriters
from sora_jax.training.metrics import Metrics, read_lines
from sora_jax.training.speed import Speed
from sora_jax.training.task import Task, TrainingData
from sora_jax.types import TrainState


class RunProgress:
    """The progress of a run, in all processes alike.

    Attributes:
      metrics: the run's lines so far.
    """

    def __init__(
        self,
        task: Task,
        data: TrainingData,
        workdir: epath.Path,
        checkpoints: Checkpoints,
        clock: Clock,
        start: int,
        writers: LogWriters,
    ):
        """Reads the lines of the run.

        Args:
          clock: where its time goes.
          start: number of steps taken.
          writers: what metrics go to beside the run's own files.
        """
        self._task, self._data, self._checkpoints = task, data, checkpoints
        self._start, self._config = start, task.experiment.loop
        steps = task.experiment.optimizer.steps
        self.metrics = Metrics(workdir, start, steps, is_first())
        self._clock, self._writers = clock, writers
        self._speed = Speed(workdir, task.work, clock, start, steps, is_first())
        for line in self.metrics.read():
            if "skipped" not in line:  # an evaluation
                checkpoints.note_score(line["step"], line)
        self._skipped_file = workdir / "skipped.jsonl"
        self._skipped = SkippedSteps(self._read_skipped())
        checkpoints.failed = self.metrics.last("failed_saves")
        self._waiting: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()
        self._missing_told = False
        self._asked, self._bad_clips = np.zeros(BAD, bool), 0
        self._placed: tuple[Any, Any] = (None, None)

    def _read_skipped(self) -> int:
        """The number of steps skipped so far; notes of steps that are taken again are dropped."""
        if not is_first():
            return 0
        kept = read_lines(self._skipped_file, self._start)
        if self._skipped_file.exists():
            write_whole(self._skipped_file, "".join(line + "\n" for line in kept))
        return len(kept)

    def place_requests(self, mesh: jax.sharding.Mesh) -> jax.Array:
        """What this process asks for, as an argument of the next step; see `compiled_step`."""
        bad = int(self._data.count_faults().get("bad_clips", 0))
        requests = (stopping.asked(), self._checkpoints.wants_save(), bad)
        if requests != self._placed[0]:
            self._placed = requests, place_requests(requests, mesh)
        return self._placed[1]

    def add(self, step: int, values: dict[str, jax.Array]) -> None:
        """Takes the metrics of a step that was dispatched."""
        self._waiting.append((step, values))

    def log(self, ahead: int) -> None:
        """Fetches the metrics of all steps but the last `ahead`, and logs those that are due."""
        while len(self._waiting) > ahead:
            step, arrays = self._waiting.popleft()
            fetched = jax.device_get(arrays)
            *requests, self._bad_clips = fetched.pop("requests")
            self._asked |= np.array(requests) > 0
            self._log_step(step, {name: float(value) for name, value in fetched.items()})
        self._checkpoints.poll()

    def _log_step(self, step: int, values: dict[str, float]) -> None:
        bad, spiked = bool(values["skipped"]), bool(values.pop("spiked"))
        self._skipped.add(bad)
        if bad and is_first():
            note = {"step": step, "reason": "spike" if spiked else "not finite"}
            note["clips"] = list(self._data.name_clips(step - 1))
            with contextlib.suppress(OSError), self._skipped_file.open("a") as file:
                file.write(json.dumps(note) + "\n")
        metrics = self.metrics
        if step % self._config.log_every == 0 or step in (1, metrics.steps):
            values["skipped"] = float(self._skipped.total)
            values["failed_saves"] = float(self._checkpoints.failed)
            faults = self._data.count_faults()
            values |= faults | ({"bad_clips": float(self._bad_clips)} if faults else {})
            self._log_values(step, values)
            speed = self._speed.log(step, self._task.describe(values))
            speed.pop("step", None)
            self._writers.write(step, {"speed": speed})

    def _log_values(self, step: int, values: dict[str, float]) -> None:
        self.metrics.log(step, values)
        self._writers.write(step, values)

    def is_due(self, step: int) -> bool:
        """Whether a step is one after which the run is saved and evaluated."""
        return step == self.metrics.steps or step % self._config.save_every == 0

    @property
    def must_save(self) -> bool:
        """Whether the run is to be saved, or to stop, whatever the step."""
        if self._asked[STOP] or self._skipped.in_a_row >= self._config.max_skipped:
            return True
        return bool(self._asked[SAVE])

    def save(self, state: TrainState, step: int, loader: dict[str, Any], evaluate: bool) -> None:
        """Saves and evaluates the state after a step; stops the run if that is asked for.

        Raises:
          ValueError: too many steps in a row were bad; the state before them is saved.
          stopping.Stopped: a process got SIGTERM; the state is saved.
        """
        self.log(ahead=0)  # before the save: a run killed after it finds the lines up to its step
        self.metrics.flush()
        bad, ends = self._skipped.in_a_row, step == self.metrics.steps
        stop, self._asked = bool(self._asked[STOP]) and not ends, np.zeros(BAD, bool)
        diverged = bad >= self._config.max_skipped
        last = stop or ends or diverged
        is_as_restored = diverged and bad >= step - self._start
        with self._clock.spend("save"):
            if last and not is_as_restored:
                self._checkpoints.save_last(state, step, loader)
            elif not is_as_restored:
                self._checkpoints.save(state, step, loader)
        if diverged:
            raise ValueError(
                f"{bad} steps in a row, to step {step}, were not finite or spikes: they changed no "
                f"weight, and the run is saved; look at their clips, in {self._skipped_file}, or "
                "lower config.optimizer.learning_rate"
            )
        if stop:
            raise stopping.Stopped(f"step {step} is saved")
        if evaluate:
            self._evaluate(state, step)

    def evaluate_if_missing(self, state: TrainState) -> None:
        """Evaluates a restored state if the run was killed before that was done."""
        step = int(state.step)
        lines = [line for line in self.metrics.read() if line["step"] == step]
        if step and self.is_due(step) and agree(all("skipped" in line for line in lines)):
            self._evaluate(state, step)

    def _evaluate(self, state: TrainState, step: int) -> None:
        # One process may leave at once, as the state is being saved; of several none may alone.
        alone = jax.process_count() == 1
        with stopping.allow() if alone else contextlib.nullcontext():
            try:
                # As a command measures it, and as on other processors.
                with self._clock.spend("evaluate"), use_products("float32"):
                    values = self._task.evaluate(state)
            except (OSError, ValueError) as error:  # unreadable clips, samples not finite
                # If one process alone fails, the others are in the midst of what it left.
                if not all_meet(f"not evaluated: {step}"):
                    raise
                print(f"step {step} is not evaluated: {first_line(error)}", file=sys.stderr)
                return
        self._tell_of_missing_metric(step, values)
        if values:
            self._checkpoints.note_score(step, values)
            self._log_values(step, values)
            self.metrics.flush()

    def _tell_of_missing_metric(self, step: int, values: dict[str, float]) -> None:
        """Says at the first evaluation without `loop.keep_best` what there is to choose from."""
        best = self._config.keep_best
        if not best or best in values or self._missing_told or not is_first():
            return
        self._missing_told = True
        found = ", ".join(sorted(values)) or "nothing"
        print(
            f"no best checkpoint at step {step}: loop.keep_best is {best!r}, measured is {found}",
            file=sys.stderr,
        )
