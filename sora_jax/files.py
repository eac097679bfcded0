"""Small files that are whole or absent, whenever a process is killed."""

from etils import epath


def write_whole(path: epath.PathLike, text: str) -> None:
    """Writes beside the file, then renames: readers see the old text or the new."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text)
    beside.replace(path)
