"""Checkpoints through Orbax: the one module that knows its API.

A workdir holds `config.json` (data, never code) and `checkpoints/STEP` with the items `params`,
`ema`, `statistics`, `optimizer` (moments, step and PRNG key) and `loader` (JSON).
"""

import dataclasses
import json
import os
import warnings
from typing import Any

import jax
import numpy as np
from etils import epath
from orbax.checkpoint import v1 as ocp

from sora_jax.config import DiffusionExperiment, VAEExperiment, parse
from sora_jax.files import write_whole
from sora_jax.interop.tensors import read_json
from sora_jax.sharding import P
from sora_jax.types import Params, TrainState

FIXED = (
    *("model", "prediction", "channel_weight_exponent", "optimizer.name"),
    *("loss.discriminator", "loss.features"),
)
"""What a run may not change when it goes on: weights, moments and scales depend on it."""
SWITCHES = ("loss.adversarial",)
"""What may change, but not between 0 and more: a run has a discriminator or it has none."""
REMEDY = "give the --workdir of a `sora-jax train` run"


class Checkpoints:
    """Saving and restoring of a run; use as a context manager."""

    def __init__(self, workdir: epath.PathLike, save_every: int, keep: int):
        policies: Any = ocp.training.save_decision_policies
        preservation: Any = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            _folder(workdir),
            save_decision_policy=policies.FixedIntervalPolicy(save_every),
            preservation_policy=preservation.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._checkpointer.close()

    def due(self, step: int) -> bool:
        """Whether the interval asks for a checkpoint of this step."""
        return self._checkpointer.should_save(step)

    def save(self, state: TrainState, step: int, loader: dict[str, Any]) -> None:
        """Starts saving; the next save and the end of the context wait for it."""
        self._checkpointer.save_checkpointables_async(
            step, _items(state) | {"loader": loader}, force=True
        )

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The latest state, sharded as the (abstract) state `like`, and the loader's state."""
        if self._checkpointer.latest is None:
            return None
        # What no weight gave a sharding, such as a counter, is replicated.
        wanted = jax.tree.map(
            lambda a: _abstract(a, a.sharding.spec if a.sharding else P()), _items(like)
        )
        items = self._checkpointer.load_checkpointables(None, wanted | {"loader": None})
        rest = items["optimizer"]
        state = TrainState(
            rest["step"],
            items["params"],
            items["ema"],
            rest["opt_state"],
            rest["key"],
            items["statistics"],
        )
        return state, items["loader"]


def _folder(workdir: epath.PathLike) -> epath.Path:
    """Where checkpoints are; absolute, as Orbax wants it (`gs://` paths stay as they are)."""
    path = epath.Path(workdir)
    return (path if "://" in os.fspath(path) else path.absolute()) / "checkpoints"


def _items(state: TrainState) -> dict[str, Any]:
    return {
        "params": state.params,
        "ema": state.ema,
        "statistics": state.statistics,
        "optimizer": {"step": state.step, "opt_state": state.opt_state, "key": state.key},
    }


def steps_of(workdir: epath.PathLike) -> list[int]:
    """Steps that have a checkpoint, oldest first; none where there is no run."""
    folder = _folder(workdir)
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def save_config(workdir: epath.PathLike, experiment: VAEExperiment | DiffusionExperiment) -> None:
    """Writes `config.json`; a run that saved no checkpoint may change.

    Raises:
      ValueError: the workdir holds a run of another model, or of one that was trained otherwise,
        or imported weights, which have no optimizer's state.
    """
    path, folder = epath.Path(workdir) / "config.json", _folder(workdir)
    saved = steps_of(workdir)
    if path.exists() and saved:
        old = load_config(workdir)
        if not any((folder / str(step) / "optimizer").exists() for step in saved):
            raise ValueError(
                f"{workdir} holds imported weights: choose another --workdir, and name this one as "
                "--config.start"
            )
        if type(old) is not type(experiment):
            raise ValueError(f"{workdir} holds a run of another kind: choose another --workdir")
        for name in (*FIXED, *SWITCHES):
            before, now = (_field(e, name) for e in (old, experiment))
            if name in SWITCHES:
                before, now = bool(before), bool(now)
            if before != now and before != "auto":  # features that no loss asked for yet
                raise ValueError(
                    f"{workdir} holds a run with another config.{name}: choose another --workdir"
                )
    if jax.process_index() == 0:
        kind = "vae" if isinstance(experiment, VAEExperiment) else "diffusion"
        values = {"experiment": kind} | dataclasses.asdict(experiment)
        write_whole(path, json.dumps(values, indent=1))


def _field(experiment: VAEExperiment | DiffusionExperiment, name: str) -> Any:
    """The value at a dotted name, None where the experiment has no such field."""
    value: Any = experiment
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def save_weights(
    workdir: epath.PathLike, experiment: VAEExperiment, params: Params, statistics: Params
) -> None:
    """A workdir with weights from elsewhere, to be read as a trained run's.

    Raises:
      ValueError: the workdir holds a run.
    """
    if _folder(workdir).exists():
        raise ValueError(f"{workdir} holds a run: choose another folder")
    save_config(workdir, experiment)
    with ocp.training.Checkpointer(_folder(workdir)) as checkpointer:
        checkpointer.save_checkpointables(0, {"ema": params, "statistics": statistics})


def load_config(workdir: epath.PathLike) -> VAEExperiment | DiffusionExperiment:
    """The experiment of a workdir, checked as if it had been typed.

    Raises:
      ValueError: there is no run in the folder, or its `config.json` is none of ours.
    """
    path = epath.Path(workdir) / "config.json"
    if not path.exists():
        raise ValueError(f"no checkpoint at {workdir}: {REMEDY}")
    values = read_json(path)
    if "_class_name" in values:
        raise ValueError(
            f"{path} is that of diffusers' {values['_class_name']}: run `sora-jax import` first, "
            "and name its --output here"
        )
    try:
        return parse(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_items(workdir: epath.PathLike, like: dict[str, Any]) -> dict[str, Any]:
    """The items of `load_latest`."""
    return load_latest(workdir, like)[1]


def load_latest(workdir: epath.PathLike, like: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Step and items of the latest checkpoint, on the current mesh, replicated.

    Args:
      like: each item's tree of `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: there is no finished checkpoint in the folder, or it cannot be read as `like`.
    """
    folder = _folder(workdir)
    if folder.exists():
        with ocp.training.Checkpointer(folder) as checkpointer:
            if (latest := checkpointer.latest) is not None:
                wanted = jax.tree.map(lambda a: _abstract(a, P(*[None] * len(a.shape))), like)
                try:
                    stored: Any = checkpointer.checkpointables_metadata(latest.step).metadata
                    if any(_shapes(stored[name]) != _shapes(like[name]) for name in like):
                        raise ValueError("other shapes")  # of which Orbax would say pages
                    return latest.step, checkpointer.load_checkpointables(latest.step, wanted)
                except Exception as error:  # Orbax has many types for this, and leaves tasks behind
                    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
                    raise ValueError(
                        f"the weights in {workdir} do not fit its config.json, or are damaged: "
                        "restore both, or train anew"
                    ) from error
    raise ValueError(f"no checkpoint at {workdir}: {REMEDY}")


def _shapes(item: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each leaf; Orbax gives keys that were numbers as text."""
    leaves = jax.tree.leaves_with_path(item)
    return {jax.tree_util.keystr(k, simple=True): tuple(leaf.shape) for k, leaf in leaves}


def _abstract(array: Any, spec: P) -> jax.ShapeDtypeStruct:
    """What Orbax should make of a leaf on the current mesh."""
    sharding = jax.NamedSharding(jax.sharding.get_mesh(), spec)
    return jax.ShapeDtypeStruct(array.shape, np.dtype(array.dtype), sharding=sharding)
