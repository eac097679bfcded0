"""Local names for files and folders that may be elsewhere (gs://)."""

import contextlib
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from etils import epath


def is_local(path: epath.Path) -> bool:
    """Whether programs that know nothing of clouds can open it."""
    return "://" not in os.fspath(path)


@contextlib.contextmanager
def reading(path: epath.Path) -> Iterator[pathlib.Path]:
    """A local path of the file."""
    if is_local(path):
        yield pathlib.Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = epath.Path(folder) / f"file{path.suffix}"
        path.copy(copy)
        yield pathlib.Path(copy)


@contextlib.contextmanager
def filling(folder: epath.Path) -> Iterator[pathlib.Path]:
    """A local path of a folder that is emptied first; its files are there when the context ends."""
    if folder.exists():
        folder.rmtree()
    folder.mkdir(parents=True)
    if is_local(folder):
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        yield pathlib.Path(made)
        for file in epath.Path(made).iterdir():
            file.copy(folder / file.name, overwrite=True)


def fraction(text: str) -> float:
    """A number in [0, 1) that is drawn by a text: the same for the same text, everywhere."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12
