"""`sora-jax` with a fault in it: python -m experiments.fault_hooks FAULT COMMAND ...

FAULT is NAME:NUMBER:ACTION, or "none". At call NUMBER of the place NAME of `PLACES`, the process
does ACTION: `kill` (SIGKILL), `terminate` (SIGTERM), `freeze` (SIGSTOP), all to itself; or `nan` or
`spike`, which spoil the batch of that step.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from orbax.checkpoint._src.path import atomicity

from sora_jax import main as command_line
from sora_jax import processes
from sora_jax.training import checkpoint, checkpoint_io, metrics, progress

PLACES: dict[str, tuple[Any, str, str]] = {
    "before a step": (progress.RunProgress, "place_requests", "before"),
    "after a step": (progress.RunProgress, "add", "after"),
    "before a save": (checkpoint_io, "start_saving", "before"),
    "in a save": (checkpoint_io, "start_saving", "after"),
    "before commit": (atomicity, "on_commit_callback", "before"),
    "after commit": (atomicity, "on_commit_callback", "after"),
    "before old ones go": (checkpoint.Checkpoints, "_remove_old", "before"),
    "after old ones went": (checkpoint.Checkpoints, "_remove_old", "after"),
    "before metrics": (metrics.Metrics, "flush", "before"),
    "after metrics": (metrics.Metrics, "flush", "after"),
    "before restore": (checkpoint_io, "_load", "before"),
    "in restore": (checkpoint_io, "_load", "after"),
}
"""Owner and name of a function, and whether the fault comes before it or after it."""
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "freeze": signal.SIGSTOP}


def install(place: str, number: int, action: str) -> None:
    """Puts a fault into this process; see the module."""
    if action in ("nan", "spike"):
        _spoil_batches(number, action)
        return
    owner, name, when = PLACES[place]
    function, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def act() -> None:
        if next(calls) == number:
            os.kill(os.getpid(), SIGNALS[action])

    @contextlib.contextmanager
    def fault() -> Iterator[None]:
        if when == "before":
            act()
        yield
        if when == "after":
            act()

    async def wait(*args: Any, **kwargs: Any) -> Any:
        with fault():
            return await function(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> Any:
        with fault():
            return function(*args, **kwargs)

    setattr(owner, name, wait if asyncio.iscoroutinefunction(function) else call)


def _spoil_batches(number: int, action: str) -> None:
    """Batch `number` of the run holds a number that is not finite, or very large ones."""
    place, calls = processes.BatchShare.place, iter(range(1, 1_000_000))

    def faulty(self: processes.BatchShare, tree: Any, specs: Any) -> Any:
        if hasattr(tree, "patches") and next(calls) == number:
            patches = np.array(tree.patches)
            if action == "nan":
                patches[0, 0, 0] = np.nan
            else:
                patches *= 1e4
            tree = tree._replace(patches=patches)
        return place(self, tree, specs)

    processes.BatchShare.place = faulty


def main() -> None:
    """Installs the fault and runs the command."""
    fault = sys.argv.pop(1)
    if fault != "none":
        where, count, what = fault.rsplit(":", 2)
        install(where, int(count), what)
    sys.argv[0] = "sora-jax"
    command_line.run()


if __name__ == "__main__":
    main()
