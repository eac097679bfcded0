"""Checkpoints on disk, through Orbax: the one module that knows its API.

A workdir has a folder `checkpoints/STEP` for each checkpoint, with an item for each of `params`,
`ema`, `statistics`, `optimizer` (all else of the state) and `loader` (JSON), and `digests` (JSON):
digests of all arrays, and of the loader's state, as they were in memory. Orbax commits a folder as
a whole. It reads altered bytes without a word, so what is read is digested again.
"""

import contextlib
import errno
import gc
import hashlib
import json
import os
import re
import sys
import uuid
import warnings
from collections.abc import Iterable
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sora_jax.agreement import check_agreement
from sora_jax.files import is_in_object_store
from sora_jax.processes import is_first, is_true_everywhere, wait_for_others
from sora_jax.progress import first_line
from sora_jax.sharding import abstract_array, spec_of
from sora_jax.training.digests import digest_arrays

REMEDY = "give the --workdir of a `sora-jax train` run"
NOT_DAMAGE = (
    *("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED"),
    *("ABORTED", "CANCELLED"),
)
"""Status codes of storage that say nothing about what is stored."""
DAMAGE_ERRNO = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
"""Errors of a file system that may be of what is stored; all others say nothing about it."""
PROBED_BYTES = 1 << 16
LONGEST_REASON = 300
"""Characters of what others say of a fault: TensorStore says much."""
PARTIAL = ".orbax-checkpoint-tmp"
"""Part of the name of a folder that Orbax has not committed, where folders can be renamed."""
COMMITTED = "commit_success.txt"
"""The file that Orbax writes last into a checkpoint in an object store."""


SMALLEST_SLICE = 1 << 20
"""Bytes of a part of a replicated array from which on devices share the writing of it.

Each part is cut by a program of its own, which costs more than to write a small array whole.
"""


class DamagedCheckpoint(Exception):
    """A checkpoint cannot be read, or is not what was saved; its message says why."""


def checkpoint_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder of checkpoints; absolute, as Orbax wants it (`gs://` paths stay as they are)."""
    path = epath.Path(workdir)
    return (path if "://" in os.fspath(path) else path.absolute()) / "checkpoints"


def saved_steps(workdir: epath.PathLike) -> list[int]:
    """Steps that have a checkpoint, oldest first; none where there is no run."""
    folder = checkpoint_folder(workdir)
    paths = [path for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
    return sorted(int(path.name) for path in paths if _is_committed(path))


def _is_committed(path: epath.Path) -> bool:
    """Whether a folder that may be a checkpoint is one; object stores cannot rename it to be."""
    return not is_in_object_store(path) or (path / COMMITTED).exists()


def agreed_steps(workdir: epath.PathLike) -> list[int]:
    """`saved_steps`, of which all processes must see the same.

    Raises:
      ValueError: they do not, as on a shared file system that lags.
    """
    steps = saved_steps(workdir)
    check_agreement({f"the checkpoints in {workdir}": str(steps)}, "wait, and start all again")
    return steps


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
        digests["loader"] = digest_json(loader)
    folder = checkpoint_folder(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    saving = ocp.options.ArrayOptions.Saving(
        min_slice_bytes_for_replica_parallel=SMALLEST_SLICE,
        enable_write_sharding_file=False,  # it is not read: the model says how arrays are cut
    )
    with ocp.Context(array_options=ocp.options.ArrayOptions(saving=saving)):
        return ocp.save_checkpointables_async(folder / str(step), items | {"digests": digests})


def remove_partial(workdir: epath.PathLike) -> None:
    """Removes what saves that were killed or failed have left."""
    folder = checkpoint_folder(workdir)
    for path in folder.iterdir() if folder.exists() else ():
        if PARTIAL in path.name or (path.name.isdigit() and not _is_committed(path)):
            path.rmtree(missing_ok=True)


def read_newest(
    workdir: epath.PathLike, like: dict[str, Any], set_aside: bool = False
) -> tuple[int, dict[str, Any]]:
    """Step and items of the newest checkpoint that is whole, on the current mesh.

    Those that are damaged are reported, on stderr, with the reason.

    Args:
      like: each item's tree of arrays or `jax.ShapeDtypeStruct`, whose shardings the items get;
        what has none is replicated. None for an item of JSON.
      set_aside: moves damaged checkpoints to WORKDIR/damaged, once one before them is whole.

    Raises:
      ValueError: there is no checkpoint in the folder, none is whole and of these shapes, or the
        devices have too little memory.
    """
    wanted = jax.tree.map(lambda a: abstract_array(a.shape, a.dtype, spec_of(a)), like)
    steps = agreed_steps(workdir)
    if not steps:
        raise ValueError(f"no checkpoint at {workdir}: {REMEDY}")
    reasons: dict[int, str] = {}
    for step in reversed(steps):
        items, reason = _read(checkpoint_folder(workdir) / str(step), wanted)
        if reason is None:
            if reasons and is_first():
                print(f"{'; '.join(reasons.values())}: step {step} is used", file=sys.stderr)
            if set_aside:
                _set_aside(workdir, reasons)
            return step, items
        reasons[step] = f"step {step} of {workdir} is damaged ({reason})"
    if agreed_steps(workdir)[-1:] > steps[-1:]:  # a run there has saved, and removed those, since
        return read_newest(workdir, like, set_aside)
    reason = "; ".join(reasons.values())
    raise ValueError(f"{reason}: restore one, or its config.json, or train anew elsewhere")


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
        found["loader"] = digest_json(items["loader"])
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
    with warnings.catch_warnings(), alone:
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        try:
            return _load_items(path, wanted)
        except DamagedCheckpoint as error:
            reason = str(error)
        except Exception as error:  # Orbax and TensorStore have many types for this
            _check_damage(error, path)
            reason = first_line(_causes(error)[-1])[:LONGEST_REASON]
        gc.collect()  # of what Orbax leaves behind, while its warnings are ignored
    _open_files(path)
    raise DamagedCheckpoint(reason)


def _load_items(path: epath.Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """See `_load`."""
    stored: Any = ocp.checkpointables_metadata(path).metadata
    for name in (*wanted, "digests"):
        if name not in stored:
            raise DamagedCheckpoint(f"it has no {name}")
    for name, tree in wanted.items():
        if stored[name] is None:
            raise DamagedCheckpoint(f"its {name} cannot be read")
        if tree is not None and _shapes(stored[name]) != _shapes(tree):
            raise DamagedCheckpoint(f"arrays of {name} have other shapes than config.json says")
    items = ocp.load_checkpointables(path, wanted | {"digests": None})
    if not isinstance(items["digests"], dict):
        raise DamagedCheckpoint("its digests are not readable")
    return items


def _check_damage(error: Exception, path: epath.Path) -> None:
    """Raises what is wrong if an error while reading says nothing of the checkpoint."""
    causes = _causes(error)
    text = " ".join(map(str, causes))
    if "RESOURCE_EXHAUSTED" in text and "os_error_code" not in text:
        raise ValueError(
            f"the devices have no memory for {path}: cut its arrays over more devices, by the axes "
            "fsdp or tensor of the mesh"
        ) from error
    for cause in causes:
        number = getattr(cause, "errno", None)
        if number not in (None, *DAMAGE_ERRNO) or isinstance(cause, MemoryError):
            raise cause
    codes = {int(code) for code in re.findall(r"os_error_code='(\d+)'", text)}
    if codes - set(DAMAGE_ERRNO) or any(status in text for status in NOT_DAMAGE):
        raise OSError(
            f"{path} cannot be read: {first_line(causes[-1])[:LONGEST_REASON]}"
        ) from error


def _open_files(path: epath.Path) -> None:
    """Opens the files of a checkpoint, so that an error of the file system is raised.

    Orbax may hide it behind others of its own, or take what it cannot open for what is missing.
    """
    for folder, _, names in os.walk(path):  # nothing, in an object store
        for name in names:
            with contextlib.suppress(FileNotFoundError), open(f"{folder}/{name}", "rb") as file:
                file.read(PROBED_BYTES)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those that it was raised from, the first of them last."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    return causes


def _set_aside(workdir: epath.PathLike, steps: Iterable[int]) -> None:
    """Moves damaged checkpoints out of the way of new ones; nothing is deleted."""
    wait_for_others("all have read them")
    if is_first():
        folder = checkpoint_folder(workdir)
        for step in steps:
            target = folder.parent / "damaged" / f"{step}-{uuid.uuid4().hex[:8]}"
            target.parent.mkdir(exist_ok=True)
            (folder / str(step)).rename(target)


def digest_json(value: Any) -> str:
    """The digest of a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _shapes(item: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each leaf by its path; Orbax gives keys that were numbers as text."""
    return {
        jax.tree_util.keystr(path, simple=True): (tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree.leaves_with_path(item)
    }
