"""Local copies of files and folders that may be remote (gs://)."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from etils import epath


def is_local(path: epath.Path) -> bool:
    """Returns whether programs that read only local files can open the path."""
    return "://" not in os.fspath(path)


@contextlib.contextmanager
def stage_file(path: epath.Path, offset: int = 0, length: int = -1) -> Iterator[pathlib.Path]:
    """Yields a local path of a file, or of `length` bytes of one from `offset` on.

    It is a temporary copy where the file is remote, or a part is asked for.
    """
    if is_local(path) and length < 0:
        yield pathlib.Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, f"file{path.suffix}")
        if length < 0:
            path.copy(epath.Path(copy))
        else:
            with path.open("rb") as source, copy.open("wb") as target:
                source.seek(offset)
                while length and (part := source.read(min(length, 1 << 20))):
                    length -= target.write(part)
        yield copy


@contextlib.contextmanager
def stage_folder(folder: epath.Path) -> Iterator[pathlib.Path]:
    """Empties a folder and yields a local one; its files are copied when the context ends."""
    if folder.exists():
        folder.rmtree()
    folder.mkdir(parents=True)
    if is_local(folder):
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory() as local:
        yield pathlib.Path(local)
        for file in epath.Path(local).iterdir():
            file.copy(folder / file.name, overwrite=True)


def draw_fraction(text: str) -> float:
    """Returns a pseudorandom number in [0, 1) that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12
