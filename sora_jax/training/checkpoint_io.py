"""Checkpoints on disk, through Orbax: the one module that knows its API.

A workdir has a folder `checkpoints/STEP` for each checkpoint, with an item for each of `params`,
`ema`, `statistics`, `optimizer` (all else of the state) and `loader` (JSON), and `digests` (JSON):
digests of all arrays, and of the loader's state, as they were in memory. Orbax commits a folder as
a whole. It reads altered bytes without a word, so what is read is digested again.
"""

import errno
import gc
import hashlib
import json
import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sora_jax.agreement import check_agreement
from sora_jax.processes import is_first, is_true_everywhere, wait_for_others
from sora_jax.sharding import abstract_array, spec_of
from sora_jax.training.digests import digest_arrays

REMEDY = "give the --workdir of a `sora-jax train` run"
NOT_DAMAGE = (
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
)
"""Status codes of storage and devices that say nothing about what is stored."""
NOT_DAMAGE_ERRNO = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE)
PARTIAL = ".orbax-checkpoint-tmp"
"""Part of the name of a folder that Orbax has not committed."""


class DamagedCheckpoint(Exception):
    """A checkpoint cannot be read, or is not what was saved; its message says why."""


def checkpoint_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder of checkpoints; absolute, as Orbax wants it (`gs://` paths stay as they are)."""
    path = epath.Path(workdir)
    return (path if "://" in os.fspath(path) else path.absolute()) / "checkpoints"


def saved_steps(workdir: epath.PathLike) -> list[int]:
    """Steps that have a checkpoint, oldest first; none where there is no run."""
    folder = checkpoint_folder(workdir)
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def has_optimizer(workdir: epath.PathLike) -> bool:
    """Whether a checkpoint can be trained on, as those of imported weights cannot."""
    folder = checkpoint_folder(workdir)
    return any((folder / str(step) / "optimizer").exists() for step in saved_steps(workdir))


def start_saving(
    workdir: epath.PathLike, step: int, arrays: dict[str, Any], loader: dict[str, Any] | None = None
) -> Any:
    """Starts writing a checkpoint: copies the arrays to the host, and returns.

    Args:
      arrays: each item's tree of arrays.
      loader: the loader's state; None: there is none, as with weights from elsewhere.

    Returns:
      Its `result()` waits until the checkpoint is committed, or raises what went wrong.
    """
    items = dict(arrays)
    digests = digest_arrays(arrays)
    check_agreement(digests, "its device or memory is faulty: go on from before without it")
    if loader is not None:
        items["loader"] = loader
        digests["loader"] = _digest_json(loader)
    folder = checkpoint_folder(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    return ocp.save_checkpointables_async(folder / str(step), items | {"digests": digests})


def remove_partial(workdir: epath.PathLike) -> None:
    """Removes what saves that were killed or failed have left."""
    folder = checkpoint_folder(workdir)
    for path in folder.iterdir() if folder.exists() else ():
        if PARTIAL in path.name:
            path.rmtree(missing_ok=True)


def read_newest(
    workdir: epath.PathLike, like: dict[str, Any], set_aside: bool = False
) -> tuple[int, dict[str, Any]]:
    """Step and items of the newest checkpoint that is whole, on the current mesh.

    Those that are damaged are reported, on stderr, with the reason.

    Args:
      like: each item's tree of arrays or `jax.ShapeDtypeStruct`, whose shardings the items get;
        what has none is replicated. None for an item of JSON.
      set_aside: moves damaged checkpoints to WORKDIR/damaged.

    Raises:
      ValueError: there is no checkpoint in the folder, none is whole and of these shapes, or the
        devices have too little memory.
    """
    wanted = jax.tree.map(lambda a: abstract_array(a.shape, a.dtype, spec_of(a)), like)
    steps = saved_steps(workdir)
    if not steps:
        raise ValueError(f"no checkpoint at {workdir}: {REMEDY}")
    reasons = []
    for step in reversed(steps):
        items, reason = _read(checkpoint_folder(workdir) / str(step), wanted)
        if reason is None:
            if reasons and is_first():
                print(f"{'; '.join(reasons)}: step {step} is used", file=sys.stderr)
            return step, items
        reasons.append(f"step {step} of {workdir} is damaged ({reason})")
        if set_aside:
            _set_aside(workdir, step)
    raise ValueError(f"{'; '.join(reasons)}: restore one, or train anew in another --workdir")


def _read(path: epath.Path, wanted: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Items of a checkpoint, and why it is damaged, if it is for any of the processes."""
    items, reason = {}, None
    try:
        items = _load(path, wanted)
    except DamagedCheckpoint as error:
        reason = str(error)
    if not is_true_everywhere(reason is None):
        return {}, reason or "another process cannot read it"
    digests = items.pop("digests")
    found = digest_arrays({name: items[name] for name in wanted if wanted[name] is not None})
    if "loader" in items:
        found["loader"] = _digest_json(items["loader"])
    for name, value in found.items():
        if digests.get(name) != value:
            reason = f"{name} is not what was saved"
            break
    if not is_true_everywhere(reason is None):
        return {}, reason or "another process reads other bytes"
    return items, None


def _load(path: epath.Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """This process's part of the items, and `digests`; waits for no other process.

    Raises:
      DamagedCheckpoint: something is missing, of another shape, or unreadable.
      ValueError: the devices have too little memory.
      PermissionError, ...: what says nothing of the checkpoint.
    """
    alone = ocp.Context()
    alone.multiprocessing.active_processes = {jax.process_index()}
    try:
        with warnings.catch_warnings(), alone:
            warnings.filterwarnings("ignore", "coroutine .* was never awaited")
            try:
                stored: Any = ocp.checkpointables_metadata(path).metadata
                for name in (*wanted, "digests"):
                    if name not in stored:
                        raise DamagedCheckpoint(f"it has no {name}")
                for name, tree in wanted.items():
                    if tree is not None and _shapes(stored[name]) != _shapes(tree):
                        raise DamagedCheckpoint(
                            f"arrays of {name} have other shapes than config.json says"
                        )
                items = ocp.load_checkpointables(path, wanted | {"digests": None})
            except Exception:
                gc.collect()  # of what Orbax leaves behind, while its warnings are ignored
                raise
    except DamagedCheckpoint:
        raise
    except Exception as error:  # Orbax and TensorStore have many types for this
        if "RESOURCE_EXHAUSTED" in str(error):
            raise ValueError(
                f"the devices have no memory for {path}: cut its arrays over more devices, by the "
                "axes fsdp or tensor of the mesh"
            ) from error
        if getattr(error, "errno", None) in NOT_DAMAGE_ERRNO or isinstance(error, MemoryError):
            raise
        if any(code in str(error) for code in NOT_DAMAGE):
            raise
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DamagedCheckpoint(text[:200]) from error
    if not isinstance(items["digests"], dict):
        raise DamagedCheckpoint("its digests are not readable")
    return items


def _set_aside(workdir: epath.PathLike, step: int) -> None:
    """Moves a damaged checkpoint out of the way of new ones; nothing is deleted."""
    wait_for_others("all have read it")
    if is_first():
        folder = checkpoint_folder(workdir)
        target = folder.parent / "damaged" / f"{step}-{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(exist_ok=True)
        (folder / str(step)).rename(target)


def _digest_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Leaves by their paths; Orbax gives keys that were numbers as text."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True), leaf


def _shapes(item: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each leaf."""
    return {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in _leaves(item)}
