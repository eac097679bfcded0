"""Folders of clips: the reader of every such folder.

`sora-jax worlds`, `sources` and `ingest` write them alike. A record has two fields: `video`, the
bytes of an mp4 file, and `meta`, the JSON text of a `ClipMeta`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import records
from data_pipelines.clip_index import ClipIndex, read_metas
from data_pipelines.clip_meta import REMEDY, ClipMeta, Described
from sora_jax import media


@dataclasses.dataclass(frozen=True)
class ClipRecord(Described):
    """One clip as read from a folder: RGB frames uint8[t, h, w, 3] and their metadata."""

    video: np.ndarray
    meta: ClipMeta


class Split(Sequence[ClipRecord]):
    """Random access to the records of one split; videos are decoded when they are indexed.

    Attributes:
      name: that of the split.
    """

    def __init__(self, folder: epath.PathLike, split: str):
        self._folder, self.name = folder, split
        self._raw = records.RawSplit(folder, split, REMEDY)

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, index) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        data, meta = self._raw[index]
        video, _ = media.decode_video(data)
        return ClipRecord(video, ClipMeta.read(meta))

    def frames(self, index: int, start: int, stop: int) -> media.Video:
        """Reads frames [start, stop) of one record; decodes from the keyframe before them on."""
        data, meta = self._raw[index]
        return media.decode_video(data, start, stop, ClipMeta.read(meta).fps)[0]

    def meta(self, index: int) -> ClipMeta:
        """Reads the metadata of one record without decoding its video."""
        return ClipMeta.read(self._raw[index][1])

    @functools.cached_property
    def index(self) -> ClipIndex:
        """What is known of every record without reading it; made of records where it is missing."""
        index = ClipIndex.load(self._folder, self.name)
        return index if len(index.sizes) == len(self) else ClipIndex.of(self.metas())

    def metas(self) -> list[ClipMeta]:
        """Reads the metadata of all records, without `truth`; no video where there is an index."""
        metas = list(read_metas(self._folder, self.name))
        if len(metas) == len(self):
            return metas
        read = (ClipMeta.read(meta) for _, meta in self._raw)
        return [dataclasses.replace(meta, truth=None) for meta in read]


def open_split(folder: epath.PathLike, split: str) -> Split:
    """Opens a split for random access; records are read, checked and decoded when indexed.

    Raises:
      ValueError: the folder holds no dataset or no such split; on indexing, a record is damaged.
    """
    return Split(folder, split)


def has_split(folder: epath.PathLike, split: str) -> bool:
    """Whether a folder holds a split, damaged or not.

    Raises:
      ValueError: the folder holds no dataset.
    """
    return split in records.splits(epath.Path(folder), REMEDY)
