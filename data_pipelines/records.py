"""Folders of records: TFDS in ArrayRecord files, written and read without TensorFlow.

A record has two fields: `video`, the payload's bytes (an encoded video, or a latent), and `meta`,
JSON text that holds at least the payload's `sha256`, which every read checks.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from sora_jax.files import write_whole

SPLITS = ("train", "validation", "test")
"""Splits of filmed clips; a folder may lack some, and have others too."""
VERSION = "1.0.0"
_MARKER = "build.json"


class RawSplit(Sequence[tuple[bytes, dict[str, Any]]]):
    """Random access to the records of one split: (payload, JSON object of the metadata).

    Raises:
      ValueError: the folder holds no data set or no such split (the message ends with `remedy`);
        on indexing, a record is damaged.
    """

    def __init__(self, folder: epath.PathLike, split: str, remedy: str):
        self._name, self._remedy = f"{split} of {folder}", remedy
        self._source = open_source(epath.Path(folder), split, remedy)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}, {self._name}")
        index = int(index) % len(self)
        try:
            row = self._source[index]
            data, meta = bytes(row["video"]), json.loads(row["meta"])
            fault = "" if sha256(data) == meta["sha256"] else "sha256 differs"
        except Exception as error:  # ArrayRecord, protobuf and JSON each have their own
            fault = f"{type(error).__name__}: {error}".partition("\n")[0]
        if fault:
            raise ValueError(
                f"record {index} of {self._name} is missing or damaged ({fault}); if its files are "
                f"there, delete the folder and {self._remedy} again"
            )
        return data, meta


def sha256(data: bytes) -> str:
    """Returns the SHA-256 hash of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 hash of a local file, which may be larger than memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_features():
    """Makes the TFDS features of a record: the two fields as bytes."""
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict({"video": tfds.features.Text(), "meta": tfds.features.Text()})


def open_source(folder: epath.Path, split: str, remedy: str):
    """Opens TFDS's random access to a split, in `folder` or `folder/*/*`. Raises as `RawSplit`."""
    builder = _open_builder(folder, remedy)
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise ValueError(f"no split {split!r} in {folder}; choose from {known}")
    try:
        return builder.as_data_source(split=split)
    except Exception as error:
        raise _unreadable(folder, remedy, error) from error


def splits(folder: epath.Path, remedy: str) -> list[str]:
    """Lists the splits that have records, those of `SPLITS` first. Raises as `RawSplit`."""
    infos = _open_builder(folder, remedy).info.splits
    names = (*SPLITS, *sorted(set(infos) - set(SPLITS)))
    return [name for name in names if name in infos and infos[name].num_examples]


def fingerprint(folder: epath.Path, remedy: str) -> str:
    """Hashes the numbers of records of all shards and of bytes of all splits of a folder."""
    infos = _open_builder(folder, remedy).info.splits
    sizes = {name: (list(s.shard_lengths), s.num_bytes) for name, s in infos.items()}
    return sha256(json.dumps(sizes, sort_keys=True).encode())


def _open_builder(folder: epath.Path, remedy: str) -> Any:
    import tensorflow_datasets as tfds

    folders = [folder] if (folder / "dataset_info.json").exists() else []
    folders += sorted(path.parent for path in folder.glob("*/*/dataset_info.json"))
    if not folders:
        raise ValueError(f"no dataset in {folder}; {remedy}")
    try:
        return tfds.builder_from_directory(folders[0])
    except Exception as error:
        raise _unreadable(folder, remedy, error) from error


def _unreadable(folder: epath.Path, remedy: str, error: Exception) -> ValueError:
    return ValueError(
        f"cannot open {folder} ({type(error).__name__}); delete the folder and {remedy} again"
    )


def read_report(
    output: epath.Path, arguments: dict[str, Any], resumes: bool = False
) -> dict[str, Any] | None:
    """Reads the report of a folder that `finish` has marked; None where it is still to be made.

    Args:
      output: the folder.
      arguments: what the folder is made with, JSON values.
      resumes: whether the call goes on from an unfinished folder, which then must have been begun
        with the same arguments.

    Raises:
      ValueError: the folder was made with other arguments or holds other files.
    """
    marker = output / _MARKER
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file: name a folder for the output")
    report = json.loads(marker.read_text()) if marker.exists() else None
    if report is None and output.exists() and any(map(_is_foreign, output.iterdir())):
        raise ValueError(f"{output} holds other files; choose an empty or a new folder")
    if report is None or not (report["finished"] or resumes):
        return None
    # As JSON, in which a tuple equals a list.
    known, asked = report["arguments"], json.loads(json.dumps(arguments))
    other = [name for name in {**known, **asked} if known.get(name) != asked.get(name)]
    if other:
        was = ", ".join(f"{name}: {json.dumps(known.get(name))}" for name in other)
        raise ValueError(
            f"{output} was built with other arguments ({was}); choose another folder, or delete it"
        )
    return report if report["finished"] else None


def _is_foreign(path: epath.Path) -> bool:
    """Whether a file is none that `write_whole` is about to rename in another process."""
    return not path.name.endswith(".partial")


def begin(output: epath.Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Marks a folder as unfinished and returns its report."""
    report = {"arguments": arguments, "finished": False, "splits": {}}
    write_whole(output / _MARKER, json.dumps(report))
    return report


def finish(output: epath.Path, report: dict[str, Any]) -> None:
    """Marks a folder as finished by its report in build.json."""
    report["finished"] = True
    write_whole(output / _MARKER, json.dumps(report, indent=1) + "\n")


def write(
    output: epath.Path,
    name: str,
    rows: Callable[[str], Iterator[tuple[str, dict[str, Any]]]],
    splits: Sequence[str] = SPLITS,
) -> None:
    """Writes a TFDS folder `output`/`name`/*; results of an unfinished call are deleted.

    Args:
      output: folder to write.
      name: name of the data set.
      rows: from the name of a split to its records, at least one: (key, fields).
      splits: names of the splits.
    """
    import tensorflow_datasets as tfds

    class Records(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Captioned clips with what is known of them."""

        VERSION = tfds.core.Version(VERSION)
        pkg_dir_path = None

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=make_features())

        def _split_generators(self, dl_manager):
            return {split: rows(split) for split in splits}

        def _generate_examples(self):
            raise AssertionError("the splits bring their own generators")

    Records.name = name
    if (output / name).exists():
        (output / name).rmtree()
    tfds.disable_progress_bar()
    Records(data_dir=output, file_format="array_record").download_and_prepare()
