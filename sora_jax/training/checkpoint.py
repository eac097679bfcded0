"""Checkpoints through Orbax: the one module that knows its API.

A workdir has a folder `checkpoints/STEP` for each checkpoint, with the items `params`, `ema`,
`statistics`, `optimizer` (moments, step and PRNG key) and `loader` (JSON).
"""

import os
import warnings
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sora_jax.sharding import abstract_array, spec_of
from sora_jax.types import TrainState

REMEDY = "give the --workdir of a `sora-jax train` run"


class Checkpoints:
    """Saving and restoring of a run; use as a context manager."""

    def __init__(self, workdir: epath.PathLike, save_every: int, keep: int):
        policies: Any = ocp.training.save_decision_policies
        preservation: Any = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            checkpoint_folder(workdir),
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
            lambda a: abstract_array(a.shape, a.dtype, spec_of(a)),
            _items(like),
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


def checkpoint_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder of checkpoints; absolute, as Orbax wants it (`gs://` paths stay as they are)."""
    path = epath.Path(workdir)
    return (path if "://" in os.fspath(path) else path.absolute()) / "checkpoints"


def _items(state: TrainState) -> dict[str, Any]:
    return {
        "params": state.params,
        "ema": state.ema,
        "statistics": state.statistics,
        "optimizer": {"step": state.step, "opt_state": state.opt_state, "key": state.key},
    }


def saved_steps(workdir: epath.PathLike) -> list[int]:
    """Steps that have a checkpoint, oldest first; none where there is no run."""
    folder = checkpoint_folder(workdir)
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def save_items(workdir: epath.PathLike, step: int, items: dict[str, Any]) -> None:
    """Writes a checkpoint of some items, to be read as a trained run's."""
    with ocp.training.Checkpointer(checkpoint_folder(workdir)) as checkpointer:
        checkpointer.save_checkpointables(step, items)


def has_optimizer(workdir: epath.PathLike) -> bool:
    """Whether a checkpoint can be trained on, as those of imported weights cannot."""
    folder = checkpoint_folder(workdir)
    return any((folder / str(step) / "optimizer").exists() for step in saved_steps(workdir))


def load_items(workdir: epath.PathLike, like: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Step and items of the latest checkpoint, on the current mesh.

    Args:
      like: each item's tree of `jax.ShapeDtypeStruct`, whose shardings the items get.

    Raises:
      ValueError: there is no finished checkpoint in the folder, it cannot be read as `like`, or the
        devices have too little memory.
    """
    if not saved_steps(workdir):
        raise ValueError(f"no checkpoint at {workdir}: {REMEDY}")
    with ocp.training.Checkpointer(checkpoint_folder(workdir)) as checkpointer:
        latest = checkpointer.latest
        if latest is None:
            raise ValueError(f"no checkpoint at {workdir}: {REMEDY}")
        wanted = jax.tree.map(lambda a: abstract_array(a.shape, a.dtype, spec_of(a)), like)
        try:
            stored: Any = checkpointer.checkpointables_metadata(latest.step).metadata
            if any(_shapes(stored[name]) != _shapes(like[name]) for name in like):
                raise ValueError("other shapes")  # of which Orbax would say pages
            return latest.step, checkpointer.load_checkpointables(latest.step, wanted)
        except PermissionError:
            raise
        except Exception as error:  # Orbax has many types for this, and leaves tasks behind
            warnings.filterwarnings("ignore", "coroutine .* was never awaited")
            if "RESOURCE_EXHAUSTED" in str(error):
                raise ValueError(
                    f"the devices have no memory for the weights in {workdir}: cut them over more "
                    "devices, by the axes fsdp or tensor of the mesh"
                ) from error
            raise ValueError(
                f"the weights in {workdir} do not fit its config.json, or are damaged: restore "
                "both, or train anew"
            ) from error


def _shapes(item: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each leaf; Orbax gives keys that were numbers as text."""
    leaves = jax.tree.leaves_with_path(item)
    return {jax.tree_util.keystr(k, simple=True): tuple(leaf.shape) for k, leaf in leaves}
