"""Small files that are whole or absent, whenever a process is killed."""

import uuid

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
