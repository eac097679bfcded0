"""What an ingest reads: files of a folder or pattern, rows of a table, or members of tar archives.

A table (*.parquet, *.csv, *.jsonl) has a row for each film or part of one, with the column `path`
(absolute, or below the table's folder) and, where they are known, `start` and `stop` in seconds,
`short` and `detailed` captions, `licence`, `source` and `sha256`. An archive (*.tar) has members
like a folder, as WebDataset writes them: KEY.mp4 and beside it KEY.json, KEY.srt, KEY.txt. A
folder's own tables and archives are none of these: they are asked for by name or pattern.

Inputs are listed where they are read, one by one: neither the program that starts a pipeline nor
any worker holds them all.
"""

import csv
import dataclasses
import fnmatch
import io
import itertools
import json
import math
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from data_pipelines.ingest import sidecars, staging

TABLES, ARCHIVES = (".parquet", ".csv", ".jsonl"), (".tar",)
_BATCH = 1024  # rows of a Parquet file that are in memory


@dataclasses.dataclass(frozen=True)
class Input:
    """A film or picture to ingest, or a part of one.

    Attributes:
      name: what it is called in reports, as the file system has it; see `name_once`.
      path: the file, or the archive that it is a member of.
      texts: its sidecars by suffix; None: those that lie beside its file.
      start, stop: the part of it, in seconds.
      offset, length: place in an archive, in bytes; length is -1 where it is no member.
      film: of a row of a table, the film: its parts are held out together, or not at all.
      fault: why it cannot be used, or "".
    """

    name: bytes
    path: bytes
    texts: Mapping[str, bytes] | None = None
    start: float = 0.0
    stop: float = math.inf
    offset: int = 0
    length: int = -1
    film: bytes = b""
    fault: str = ""

    @property
    def is_row(self) -> bool:
        """Whether it is a row of a table."""
        return bool(self.film)

    def read_sidecars(self) -> sidecars.Sidecars:
        """Reads its sidecars. Raises ValueError as `sidecars.parse`."""
        path = epath.Path(os.fsdecode(self.path))
        if self.texts is None:
            return sidecars.read(path)
        return sidecars.parse(self.texts, os.fsdecode(self.name))


def list_inputs(source: str, output: str = "") -> Iterator[Input]:
    """Yields the inputs of a folder, a pattern, a table or archives, those in `output` left out.

    What exists is no pattern. Sidecars are no inputs, nor are hidden files. Links are followed, but
    not to a folder that they lie in, which would have no end; those that lead nowhere are inputs,
    which cannot be read. A pattern with several ** may yield an input more than once.

    Raises:
      ValueError: a table or archive cannot be read.
    """
    root, pattern = _split_pattern(source)
    below = os.path.relpath(_real(epath.Path(output)), _real(root)) + "/" if output else ""
    base = root if pattern or root.is_dir() else root.parent
    suffix = os.path.splitext(source)[1].lower()
    for file in _list_matching(root, pattern or (["**", "*"] if root.is_dir() else [])):
        name = "/".join(file.parts[len(base.parts) :])
        if below and name.startswith(below):
            continue
        if suffix in TABLES:
            yield from _list_rows(file, name, suffix)
        elif suffix in ARCHIVES:
            yield from _list_members(file, name)
        elif file.suffix.lower() not in sidecars.SUFFIXES:
            yield Input(os.fsencode(name), os.fsencode(file))


def check(source: str, output: str) -> None:
    """Raises ValueError where there are no inputs, or where they are the output."""
    root, _ = _split_pattern(source)
    if root.is_dir() and _real(root) == _real(epath.Path(output)):
        raise ValueError(f"{output} is the input folder: name another for the output")
    if next(list_inputs(source), None) is None:
        raise ValueError(f"no files match {source!r}: name a folder, or a pattern like films/**/*")
    if next(list_inputs(source, output), None) is None:
        raise ValueError(f"all files below {root} are in the output {output}: name another input")


def _split_pattern(source: str) -> tuple[epath.Path, list[str]]:
    """Returns the folder above the first wildcard and the parts from there on."""
    path = epath.Path(source)
    wild = [bool(set(part) & set("*?[")) for part in path.parts]
    if not any(wild) or path.exists():
        return path, []
    first = wild.index(True)
    return epath.Path(*path.parts[:first]), list(path.parts[first:])


def _real(path: epath.Path) -> str:
    return os.path.realpath(path) if staging.is_local(path) else os.fspath(path)


def _list_matching(path: epath.Path, pattern: Sequence[str]) -> Iterator[epath.Path]:
    """Yields the files below a folder that match a pattern. epath has no **, and glob no gs://."""
    if not pattern:
        there = os.path.islink(path) or path.exists()
        yield from [path] if there and not path.is_dir() else []
        return
    first, *rest = pattern
    if first == "**":
        yield from _list_matching(path, rest)
    for child in path.iterdir() if path.is_dir() else []:
        real = os.path.realpath  # epath's resolve knows no links
        if os.path.islink(child) and real(child) in map(real, child.parents):
            continue
        if first == "**" and child.is_dir() and not child.name.startswith("."):
            yield from _list_matching(child, pattern)
        elif fnmatch.fnmatchcase(child.name, first) and not child.name.startswith("."):
            yield from _list_matching(child, rest)


def name_once(same: Iterable[Input]) -> Iterator[Input]:
    """Yields the inputs of one name: equal ones once, others but for the first with a fault."""
    different = {repr(given): given for given in same}
    for number, (_, given) in enumerate(sorted(different.items()), 1):
        if number > 1:
            name = given.name + f", named the {number}. time".encode()
            given = dataclasses.replace(given, name=name, fault="another input has its name")
        yield given


def _list_rows(table: epath.Path, name: str, suffix: str) -> Iterator[Input]:
    """Yields the inputs of the rows of a table, named `name`."""
    for number, row in enumerate(_read_rows(table, suffix)):
        try:
            if isinstance(row, str):
                row = json.loads(row)
            given = {key: value for key, value in row.items() if value not in (None, "")}
            yield _make_input(table, name, given)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            place = os.fsencode(f"{name}, row {number}")
            yield Input(place, b"", {}, fault=f"{type(error).__name__}: {error}")


def _read_rows(table: epath.Path, suffix: str) -> Iterator[Mapping[str, Any] | str]:
    """Yields the rows of a table, of JSON as text. Raises ValueError where it is none."""
    try:
        with table.open("rb") as file:
            if suffix == ".parquet":
                import pyarrow.parquet

                for batch in pyarrow.parquet.ParquetFile(file).iter_batches(_BATCH):
                    yield from batch.to_pylist()
                return
            with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as lines:
                csv.field_size_limit(sidecars.MAX_BYTES)
                yield from csv.DictReader(lines) if suffix == ".csv" else filter(str.strip, lines)
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{table} is no table of the kind its suffix says: {error}") from error


def _make_input(table: epath.Path, name: str, row: Mapping[str, Any]) -> Input:
    """Makes the input of a row; what is known of it becomes its NAME.json."""
    start, stop = float(row.get("start", 0)), float(row.get("stop", math.inf))
    if not 0 <= start < stop:
        raise ValueError(f"it goes from {start} to {stop} s")
    path, part = str(row["path"]), f"#{start}-{stop}" if {"start", "stop"} & set(row) else ""
    about = {key: row[key] for key in ("licence", "source", "sha256") if key in row}
    captions = {key: row[key] for key in ("short", "detailed") if key in row}
    texts = {".json": json.dumps(about | {"captions": captions}).encode()}
    where = os.fsencode(path if "://" in path else table.parent / path)
    return Input(os.fsencode(f"{name}/{path}{part}"), where, texts, start, stop, film=where)


def _list_members(archive: epath.Path, name: str) -> Iterator[Input]:
    """Yields the films and pictures of a tar archive, each with the sidecars of its key."""
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as members:
            for _, group in itertools.groupby(
                members, lambda member: os.path.splitext(member.name)[0]
            ):
                yield from _pair_members(archive, name, members, group)
    except (EOFError, OSError, tarfile.TarError) as error:
        raise ValueError(f"{archive} is no tar archive, or damaged: {error}") from error


def _pair_members(
    archive: epath.Path, name: str, members: tarfile.TarFile, group: Iterator[tarfile.TarInfo]
) -> Iterator[Input]:
    """Yields the films among neighbouring members of one key, each with the texts among them."""
    films, texts = list[tarfile.TarInfo](), dict[str, bytes]()
    for member in group:
        suffix = os.path.splitext(member.name)[1].lower()
        if suffix not in sidecars.SUFFIXES:
            films += [member] * member.isfile()
        elif (opened := members.extractfile(member)) is not None:
            texts[suffix] = opened.read(sidecars.MAX_BYTES + 1)
    for film in films:
        inner, where = os.fsencode(f"{name}/{film.name}"), os.fsencode(archive)
        yield Input(inner, where, texts, offset=film.offset_data, length=film.size)
