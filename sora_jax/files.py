"""Small files, written atomically: complete or absent, even if a process is killed."""

import io
import os
import uuid
from typing import Any

import numpy as np
from etils import epath


def write_whole(path: epath.PathLike, data: str | bytes) -> None:
    """Writes a temporary file and renames it: readers see the old content or the new.

    Makes the folder if needed. Safe under concurrent writers.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def is_in_object_store(path: epath.PathLike) -> bool:
    """Whether a path is one of an object store, which appends to no file and renames no folder."""
    return os.fspath(path).startswith("gs://")


def write_arrays(path: epath.PathLike, **arrays: Any) -> None:
    """Writes arrays to an npz file as atomically as `write_whole`."""
    data = io.BytesIO()
    np.savez(data, **arrays)
    write_whole(path, data.getvalue())


def read_arrays(path: epath.PathLike, *names: str) -> list[np.ndarray]:
    """Reads the named arrays of an npz file, in the given order, and no others."""
    with np.load(io.BytesIO(epath.Path(path).read_bytes())) as file:
        return [file[name] for name in names]
