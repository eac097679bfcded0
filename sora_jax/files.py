"""Small files that are whole or absent, whenever a process is killed."""

import io
import uuid
from typing import Any

import numpy as np
from etils import epath


def write_whole(path: epath.PathLike, data: str | bytes) -> None:
    """Writes beside the file, then renames: readers see the old content or the new.

    Processes that write the same file at the same time do not meet.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    beside.write_bytes(data.encode() if isinstance(data, str) else data)
    beside.replace(path)


def write_arrays(path: epath.PathLike, **arrays: Any) -> None:
    """Writes arrays as an npz file, as `write_whole` does."""
    data = io.BytesIO()
    np.savez(data, **arrays)
    write_whole(path, data.getvalue())


def read_arrays(path: epath.PathLike, *names: str) -> list[np.ndarray]:
    """These arrays of an npz file, and no others."""
    with np.load(io.BytesIO(epath.Path(path).read_bytes())) as file:
        return [file[name] for name in names]
