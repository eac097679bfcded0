"""What a run may change when it goes on from its checkpoints."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from sora_jax.config import settings
from sora_jax.kernels.products import choose_products
from sora_jax.processes import is_first
from sora_jax.training import checkpoint_io
from sora_jax.training.experiments import DiffusionExperiment, Experiment
from sora_jax.training.run_folder import load_experiment

FIXED = (
    *("model", "prediction", "channel_weight_exponent", "optimizer.name"),
    *("loss.discriminator", "loss.features"),
)
"""What a run may not change when it goes on: shapes or meaning of its state depend on it."""
FREE = ("model.remat", "model.unroll", "model.dtype", "model.rope_stretch")
"""What of these says only how the model is computed, or is for sampling."""
SWITCHES = ("loss.adversarial",)
"""What may change, but not between 0 and more: a run has a discriminator or it has none."""


class Change(NamedTuple):
    """A setting that differs between two experiments; None where one has no such setting."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.before!r} -> {self.after!r}"


def compare(old: Experiment, new: Experiment) -> list[Change]:
    """The settings that differ, in the order of the new experiment."""
    before, after = ({s.path: s.value for s in settings(each)} for each in (old, new))
    changes = [Change(path, before.get(path), after.get(path)) for path in after | before]
    return [change for change in changes if change.before != change.after]


def resolve_products(experiment: Experiment, workdir: epath.PathLike) -> Experiment:
    """The experiment with `loop.products` of `auto` as the run began, so that its numbers go on.

    A run that begins takes what `choose_products` says of the current mesh.
    """
    products = experiment.loop.products
    if products == "auto":
        begun = _has_begun(workdir)
        products = load_experiment(workdir).loop.products if begun else choose_products()
    loop = dataclasses.replace(experiment.loop, products=products)
    return dataclasses.replace(experiment, loop=loop)


def check_goes_on(workdir: epath.PathLike, experiment: Experiment) -> None:
    """Checks that an experiment can go on from a run's checkpoints, and prints what it changes.

    What is not `FIXED` may change; all may if there is no checkpoint.

    Raises:
      ValueError: it cannot, as the run is of another model, or was trained otherwise, or longer;
        or the workdir holds imported weights, which have no optimizer's state.
    """
    if not _has_begun(workdir):
        return
    steps = checkpoint_io.saved_steps(workdir)
    if not checkpoint_io.has_optimizer(workdir):
        raise ValueError(
            f"{workdir} holds imported weights: choose another --workdir, and name this one as "
            "--config.init_from"
        )
    old = load_experiment(workdir)
    if old.kind != experiment.kind:
        raise ValueError(f"{workdir} holds a run of another kind: choose another --workdir")
    changes = compare(old, experiment)
    for change in changes:
        if _is_fixed(change):
            raise ValueError(
                f"{workdir} holds a run with another {change.path}, {change.before!r} and not "
                f"{change.after!r}: choose another --workdir, whose run may start "
                "from this one with --config.init_from"
            )
        orders = isinstance(experiment, DiffusionExperiment)
        if orders and change.path.startswith(("config.packing", "config.loop.seed")):
            _check_counts_rows(workdir, change)
    if experiment.optimizer.steps < steps[-1]:
        raise ValueError(
            f"{workdir} has taken {steps[-1]} steps, and config.optimizer.steps is "
            f"{experiment.optimizer.steps}: raise it"
        )
    if is_first():
        print("".join(f"{change}\n" for change in changes), end="")


def _has_begun(workdir: epath.PathLike) -> bool:
    config = epath.Path(workdir) / "config.json"
    return config.exists() and bool(checkpoint_io.saved_steps(workdir))


def _is_fixed(change: Change) -> bool:
    """Whether a run that has a checkpoint cannot go on with this change."""

    def is_within(names: Sequence[str]) -> bool:
        return any(f"{change.path}.".startswith(f"config.{name}.") for name in names)

    if change.path == "config.init_from":  # a run that has started needs it no more
        return bool(change.after)
    if is_within(SWITCHES):
        return bool(change.before) != bool(change.after)
    if change.before == "auto":  # features that no loss asked for yet
        return False
    return is_within(FIXED) and not is_within(FREE)


def _check_counts_rows(workdir: epath.PathLike, change: Change) -> None:
    """Checks that a run's checkpoint says which rows it has seen, whatever their number a step."""
    _, items = checkpoint_io.read_newest(workdir, {"loader": None})
    if "rows" not in items["loader"]:
        raise ValueError(
            f"{workdir} was saved by a version that counts steps, not rows: go on with "
            f"--{change.path}={change.before!r} to its next checkpoint, and change it then"
        )
