"""A page that compares trainings by what their run folders say of them; needs no checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sora_jax.config import settings
from sora_jax.evals.curves import Curve
from sora_jax.evals.gallery import Table, write_numbers_page
from sora_jax.training.clock import BUCKETS
from sora_jax.training.run_folder import load_experiment, read_metrics, read_speeds

Point = tuple[int | float, int | float]

SMOOTHING = 0.02
"""Part of a run's lines over which its loss is averaged."""
SHOWN = (
    ("Loss, smoothed", "loss", True),
    ("Held-out loss", "held_out_loss", False),
    ("Learning rate", "learning_rate", False),
    ("Norm of the gradient", "gradient_norm", False),
    ("Tokens per second", "tokens_per_second", False),
)
"""Title, name in the lines, and whether it is smoothed, of each pair of curves."""


class Run(NamedTuple):
    """What a run folder says of a training.

    Attributes:
      name: the folder, as it was given.
      lines: those of `metrics.jsonl` and `speed.jsonl`.
      settings: value of each setting, by its path.
    """

    name: str
    lines: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]

    @property
    def speeds(self) -> list[Mapping[str, Any]]:
        """The lines of `speed.jsonl`."""
        return [line for line in self.lines if "seconds" in line]


def read_run(workdir: epath.PathLike) -> Run:
    """Reads a run's lines and settings.

    Raises:
      ValueError: the folder holds no metrics, or no experiment.
    """
    lines = read_metrics(workdir)
    if not lines:
        raise ValueError(f"no metrics.jsonl in {workdir}: name the --workdir of a training")
    values = {setting.path: setting.value for setting in settings(load_experiment(workdir))}
    return Run(str(workdir), [*lines, *read_speeds(workdir)], values)


def points(run: Run, name: str) -> list[Point]:
    """(step, value) of the lines that have a number of this name, each step once, in order."""
    found = {line["step"]: line[name] for line in run.lines if line.get(name) is not None}
    return sorted(found.items())


def smooth(curve: Sequence[Point]) -> list[Point]:
    """Means over the latest `SMOOTHING` of all points, at least one, at each point."""
    window = max(1, round(SMOOTHING * len(curve)))
    values = np.array([y for _, y in curve], float)
    means = [values[max(0, end - window) : end].mean() for end in range(1, len(curve) + 1)]
    return [(x, float(mean)) for (x, _), mean in zip(curve, means, strict=True)]


def seconds_by_bucket(run: Run) -> dict[str, float]:
    """Seconds in each of `clock.BUCKETS`, over all processes that trained the run in turn."""
    total: dict[str, float] = dict.fromkeys(BUCKETS, 0.0)
    last = dict(total)
    for line in run.speeds:
        seconds = dict.fromkeys(BUCKETS, 0.0) | dict(line["seconds"])
        went_on = sum(seconds.values()) >= sum(last.values())
        for name in BUCKETS:  # a new process counts from 0
            total[name] += seconds[name] - (last[name] if went_on else 0.0)
        last = seconds
    return total


def _flops_per_step(run: Run) -> float | None:
    """Useful operations of a step on all devices; None where they are not known."""
    known = [line["flops_per_step"] for line in run.speeds if line.get("flops_per_step")]
    return known[-1] if known else None


def curves(runs: Sequence[Run]) -> list[Curve]:
    """Each of `SHOWN` that a run has, against steps, and against compute where that is known."""
    drawn = []
    for title, name, smoothed in SHOWN:
        by_run = {run.name: points(run, name) for run in runs}
        by_step = {k: smooth(p) if smoothed else p for k, p in by_run.items() if p}
        flops = {run.name: f for run in runs if (f := _flops_per_step(run))}
        by_compute: dict[str, list[Point]] = {
            k: [(step * flops[k] / 1e15, y) for step, y in p]
            for k, p in by_step.items()
            if k in flops
        }
        for label, series in (("step", by_step), ("PFLOP of training", by_compute)):
            if series:
                drawn.append(Curve(f"{title}, by {label}", label, name, series))
    return drawn


def tables(runs: Sequence[Run]) -> list[Table]:
    """Where the time of each run went, and the settings in which they differ."""
    rows = []
    for run in runs:
        spent = seconds_by_bucket(run)
        total = sum(spent.values())
        shares = [f"{100 * spent[name] / total:.1f} %" if total else "-" for name in BUCKETS]
        rows.append([run.name, f"{total:,.0f} s", *shares])
    time = Table("Where the time went", ["run", "in all", *BUCKETS], rows, "Goodput is `train`.")
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    found = {
        path: [repr(run.settings[path]) if path in run.settings else "-" for run in runs]
        for path in paths
    }
    differing = [[path, *values] for path, values in found.items() if len(set(values)) > 1]
    if not differing:
        return [time]
    return [time, Table("Settings that differ", ["setting", *(r.name for r in runs)], differing)]


def write_runs_page(path: epath.PathLike, runs: Sequence[Run]) -> None:
    """Writes the page of at least one run."""
    summary = "\n\n".join(
        f"{run.name}: to step {max(line['step'] for line in run.lines):,}" for run in runs
    )
    write_numbers_page(path, "Trainings compared", summary, curves(runs), tables(runs))
