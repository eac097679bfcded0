"""When a run's state is saved, which checkpoints stay, and what happens if a save fails."""

import concurrent.futures
import contextlib
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from sora_jax import stopping
from sora_jax.processes import agree, is_first, is_true_everywhere
from sora_jax.progress import first_line
from sora_jax.training import checkpoint_io
from sora_jax.training.experiments import LoopConfig
from sora_jax.types import TrainState

POLL_SECONDS = 1.0
"""Time after which processes that wait for a save tell each other how theirs is going."""
PATIENCE = 10
"""How often they do, until a save is put off as the one before it is not done."""
RETRY_SECONDS = 30.0
"""Time after which a save that failed is tried again."""
LAST_TRIES = 3
"""Tries to save the state that a run ends or stops with."""


class Checkpoints:
    """Saving and restoring of a run; use as a context manager, in all processes alike.

    A save that fails (a full disk) does not end the run: it is reported, counted and tried again.

    Attributes:
      failed: number of saves that failed.
    """

    def __init__(self, workdir: epath.PathLike, config: LoopConfig):
        """Removes what killed saves have left.

        Args:
          config: when checkpoints are saved, and which of them stay.
        """
        self.workdir, self.config, self.failed = epath.Path(workdir), config, 0
        self._scores: dict[int, float] = {}
        self._saving: tuple[int, concurrent.futures.Future] | None = None
        self._last, self._retry_at, self._has_failed = time.monotonic(), math.inf, False
        self._is_owed = False  # a save was put off; alike in all processes
        if is_first():
            checkpoint_io.remove_partial(workdir)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        if self._saving:  # after an error, which the other processes may not have
            with stopping.defer():
                concurrent.futures.wait([self._saving[1]])
                self.poll()

    def wants_save(self) -> bool:
        """Whether the interval in minutes asks for one, or one that failed or was put off."""
        now, minutes = time.monotonic(), self.config.save_minutes
        return now > self._retry_at or (minutes > 0 and now - self._last > 60 * minutes)

    def save(self, state: TrainState, step: int, loader: dict[str, Any]) -> None:
        """Starts saving; arrays are on the host when it returns.

        Where the save before it takes long, this one is put off, in all processes.
        """
        self._last = time.monotonic()
        self._is_owed = not self._settle(1 if self._is_owed else PATIENCE)
        if self._is_owed:
            self._retry_at = self._last + RETRY_SECONDS
            return
        self._retry_at, self._has_failed = math.inf, False
        try:
            response = checkpoint_io.start_saving(self.workdir, step, state_items(state), loader)
        except OSError as error:
            self._note_failure(step, error)
        else:
            executor = concurrent.futures.ThreadPoolExecutor(1)
            self._saving = step, executor.submit(response.result)
            executor.shutdown(wait=False)

    def save_last(self, state: TrainState, step: int, loader: dict[str, Any]) -> None:
        """Saves the state that the run ends or stops with, and waits until it is committed.

        Raises:
          OSError: that failed `LAST_TRIES` times.
        """
        for attempt in range(LAST_TRIES):
            if attempt:
                time.sleep(RETRY_SECONDS)
                if agree(step in checkpoint_io.saved_steps(self.workdir)):
                    return  # it is committed, whatever failed after that
            self.wait()
            self.save(state, step, loader)
            if self.wait():
                return
        raise OSError(
            f"step {step} of {self.workdir} cannot be saved; the steps before it are there: make "
            "room, and give the same command again"
        )

    def wait(self) -> bool:
        """Waits for the save that was started, in all processes; returns whether it succeeded."""
        self._settle(math.inf)
        return is_true_everywhere(not self._has_failed)

    def _settle(self, polls: float | int) -> bool:
        """Waits until the save that was started has ended in all processes, or failed in one.

        In Orbax, the others wait for 300 s for a process that has failed. Here they leave it: no
        two saves share the names of Orbax's barriers. (A process knows that it has failed when its
        last item has ended; where some wait for what another lacks, that takes 300 s, too.)

        Args:
          polls: how often processes tell each other how theirs is going, at most.

        Returns:
          Whether it has.
        """
        while polls > 0:
            if self._saving:
                concurrent.futures.wait([self._saving[1]], POLL_SECONDS)
            self.poll()
            if not is_true_everywhere(not self._has_failed):
                if self._saving:
                    step, self._saving = self._saving[0], None
                    self._note_failure(step, OSError("another process could not write its part"))
                return True
            if is_true_everywhere(self._saving is None):
                return True
            polls -= 1
        return False

    def poll(self) -> None:
        """Takes note of a save that has ended here; waits for none."""
        if self._saving is None or not self._saving[1].done():
            return
        step, future = self._saving
        self._saving = None
        if error := future.exception():  # of files, of TensorStore, of a process that is missing
            self._note_failure(step, error)
        else:
            self._remove_old()

    def _note_failure(self, step: int, error: BaseException) -> None:
        self.failed, self._has_failed = self.failed + 1, True
        self._retry_at = time.monotonic() + RETRY_SECONDS
        reason = first_line(error)[: checkpoint_io.LONGEST_REASON]
        print(f"step {step} was not saved, training goes on: {reason}", file=sys.stderr)
        if is_first():
            with contextlib.suppress(OSError):  # what is left, the next failure or start removes
                checkpoint_io.remove_partial(self.workdir)

    def note_score(self, step: int, values: Mapping[str, Any]) -> None:
        """Takes note of a step's evaluation; see `LoopConfig.keep_best`."""
        value = values.get(self.config.keep_best)
        if value is not None and math.isfinite(value):
            self._scores[step] = -value if "loss" in self.config.keep_best else value

    def _remove_old(self) -> None:
        """Removes checkpoints that need not stay; after a save, so that there always is one."""
        steps, every = checkpoint_io.saved_steps(self.workdir), self.config.keep_every
        stay = set(steps[-self.config.keep :])
        stay |= {step for step in steps if every and step % every == 0}
        scored = [step for step in steps if step in self._scores]
        stay |= set(sorted(scored, key=self._scores.__getitem__)[-1:])
        if is_first():
            for step in set(steps) - stay:
                try:
                    (checkpoint_io.checkpoint_folder(self.workdir) / str(step)).rmtree()
                except OSError as error:  # the next save tries again
                    print(f"step {step} was not removed: {error}", file=sys.stderr)

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest state that is whole, sharded as the (abstract) state `like`.

        Damaged ones are reported and moved to WORKDIR/damaged.

        Returns:
          The state and the loader's state; None if there is no checkpoint.

        Raises:
          ValueError: there are some, and none of them is whole.
        """
        if not checkpoint_io.agreed_steps(self.workdir):
            return None
        wanted = state_items(like) | {"loader": None}
        _, items = checkpoint_io.read_newest(self.workdir, wanted, set_aside=True)
        rest = items["optimizer"]
        state = TrainState(
            rest["step"],
            items["params"],
            items["ema"],
            rest["opt_state"],
            rest["key"],
            items["statistics"],
            rest["gradient_norm"],
        )
        return state, items["loader"]


def state_items(state: TrainState) -> dict[str, Any]:
    """The items of a checkpoint that hold a state."""
    return {
        "params": state.params,
        "ema": state.ema,
        "statistics": state.statistics,
        "optimizer": {
            "step": state.step,
            "opt_state": state.opt_state,
            "key": state.key,
            "gradient_norm": state.gradient_norm,
        },
    }
