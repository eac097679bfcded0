"""Metrics of a run for TensorBoard and Weights & Biases, beside `metrics.jsonl`.

Process 0 writes alone. What a writer raises is said once and stops no run: the files of the run
folder have all numbers.
"""

import importlib
import math
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from etils import epath

from sora_jax.config import to_dict
from sora_jax.files import write_whole

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""Packages that write for the names of `LoopConfig.log_to`."""


def require_packages(names: Sequence[str]) -> None:
    """Checks that what writes for these names can be imported.

    Raises:
      ValueError: a package is not installed.
    """
    for name in names:
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError as error:
            raise ValueError(
                f"config.loop.log_to names {name!r}, and {PACKAGES[name]} is not installed: "
                f"pip install 'sora-jax[log]', or take it out ({error})"
            ) from error


class _Writer(Protocol):
    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    """Event files in WORKDIR/tensorboard; those of steps that are taken again are hidden."""

    def __init__(self, workdir: epath.Path, experiment: Any, start: int):
        module: Any = importlib.import_module(PACKAGES["tensorboard"])
        folder = os.fspath(workdir / "tensorboard")
        self._writer = module.SummaryWriter(folder, purge_step=start + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run whose id is kept in WORKDIR/wandb_id; it has steps that are taken again only once.

    Of a killed run it lacks the evaluation after the last step that it was sent, if there is one.

    WANDB_PROJECT, WANDB_NAME, WANDB_MODE and its other variables say where it goes.
    """

    def __init__(self, workdir: epath.Path, experiment: Any, start: int):
        module: Any = importlib.import_module(PACKAGES["wandb"])
        file = workdir / "wandb_id"
        if not file.exists():
            write_whole(file, uuid.uuid4().hex)
        named = {"project": "sora-jax", "name": workdir.name}
        named = {k: v for k, v in named.items() if f"WANDB_{k.upper()}" not in os.environ}
        if "://" not in os.fspath(workdir):
            named["dir"] = os.fspath(workdir)
        self._run = module.init(
            id=file.read_text().strip(), resume="allow", config=to_dict(experiment), **named
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step >= (self._run.step or 0):  # the service refuses steps before its last one
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


WRITERS = {"tensorboard": _TensorBoard, "wandb": _WeightsAndBiases}


class LogWriters:
    """The writers that a run asks for; use as a context manager."""

    def __init__(self, workdir: epath.PathLike, experiment: Any, start: int, writes: bool):
        """Opens them; one that does not open is said, and left out.

        Args:
          experiment: the run's settings; `loop.log_to` names the writers.
          start: steps that the restored state has taken; later ones are written again.
          writes: whether this process writes; one of several does.
        """
        self._writers: dict[str, _Writer] = {}
        self._failed: set[str] = set()
        for name in experiment.loop.log_to if writes else ():
            try:
                self._writers[name] = WRITERS[name](epath.Path(workdir), experiment, start)
            except Exception as error:  # each package has its own
                self._report(name, error)

    def __enter__(self) -> "LogWriters":
        return self

    def __exit__(self, *_) -> None:
        for name, writer in self._writers.items():
            try:
                writer.close()
            except Exception as error:
                self._report(name, error)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the finite numbers of a step; entries of an inner dictionary as NAME/ENTRY."""
        numbers = {k: v for k, v in _flatten(values).items() if math.isfinite(v)}
        for name, writer in self._writers.items() if numbers else ():
            try:
                writer.write(step, numbers)
            except Exception as error:
                self._report(name, error)

    def _report(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            self._failed.add(name)
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            print(f"{name} does not get all metrics, training goes on: {reason}", file=sys.stderr)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat
