"""TFDS folders written shard by shard: a job that was stopped goes on with the next shard.

A shard appears under its name only when it is complete, and the same records make the same bytes.
Readers can open the folder when `finish` has written the metadata of TFDS.
"""

import pathlib
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from data_pipelines.records import VERSION, make_features


def folder_of(output: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder of the data set `name` in `output`."""
    return epath.Path(output) / name / VERSION


def path_of(output: epath.PathLike, name: str, split: str, shard: int, shards: int) -> epath.Path:
    """Returns the path of shard number `shard`, from 0, of the `shards` of a split."""
    file = f"{name}-{split}.array_record-{shard:05d}-of-{shards:05d}"
    return folder_of(output, name) / file


def index_path(output: epath.PathLike, split: str, shard: int, shards: int) -> epath.Path:
    """Returns the path of the index of shard number `shard`, from 0, of the `shards` of a split."""
    return epath.Path(output) / "index" / f"{split}-{shard:05d}-of-{shards:05d}.npz"


def write(path: epath.Path, rows: Iterable[Mapping[str, str | bytes]]) -> None:
    """Writes one shard of records with the fields `video` and `meta`.

    Safe under concurrent writers of the same shard.
    """
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    fields = make_features()
    info: Any = fields.get_serialized_info()
    serializer = ExampleSerializer(info)
    with tempfile.TemporaryDirectory() as here:
        file = pathlib.Path(here, "shard")
        # Latents and videos do not get smaller by compression.
        writer = ArrayRecordWriter(str(file), "group_size:1,uncompressed")
        for row in rows:
            # TFDS itself leaves the order of the two fields to chance.
            example = serializer.get_tf_example(fields.encode_example(dict(row)))
            writer.write(example.SerializeToString(deterministic=True))
        writer.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
        epath.Path(file).copy(partial, overwrite=True)
        partial.replace(path)


def finish(output: epath.PathLike, name: str, lengths: Mapping[str, Sequence[int]]) -> None:
    """Makes a folder of shards readable.

    Args:
      output, name: as of `folder_of`.
      lengths: number of records of each shard, by split.
    """
    from tensorflow_datasets import core
    from tensorflow_datasets.core import dataset_info
    from tensorflow_datasets.core.splits import SplitDict, SplitInfo

    folder = folder_of(output, name)
    identity = dataset_info.DatasetIdentity(
        name=name, version=core.Version(VERSION), data_dir=str(folder), module_name=__name__
    )
    info = dataset_info.DatasetInfo(builder=identity, features=make_features())
    info.set_file_format("array_record")
    splits = []
    for split, counts in lengths.items():
        paths = [path_of(output, name, split, i, len(counts)) for i in range(len(counts))]
        splits.append(
            SplitInfo(
                name=split,
                shard_lengths=list(counts),
                num_bytes=sum(path.stat().length for path in paths),
            )
        )
    info.set_splits(SplitDict(splits))
    info.write_to_directory(folder)
