"""The index of clips: what is known of them without reading a video.

`index/` in a folder of clips has a file for each shard, written with it: arrays of sizes, sources
and hashes, which are in memory together (some 70 bytes a clip), and the metadata of the clips
without `truth`, which are read where they are asked for.
"""

import dataclasses
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data_pipelines import shards
from data_pipelines.clip_meta import ClipMeta, text_key
from sora_jax.files import read_arrays, write_arrays


class ClipIndex(NamedTuple):
    """Clips of a split, in the order of its records.

    Attributes:
      sizes: int32 [clips, 3]: frames, height and width in pixels.
      fps: float32 [clips], frames per second.
      seeds: int64 [clips].
      hashes: uint64 [clips], the first 64 bits of the SHA-256 hash of each video.
      texts: uint64 [clips, 3], `clip_meta.text_key` of `ClipMeta.texts`.
      source: int32 [clips], the place of each clip's source in `names`.
      names: names of sources.
    """

    sizes: np.ndarray
    fps: np.ndarray
    seeds: np.ndarray
    hashes: np.ndarray
    texts: np.ndarray
    source: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, metas: Sequence[ClipMeta]) -> "ClipIndex":
        """Makes the index of clips in this order."""
        names = sorted({meta.source for meta in metas})
        keys = {text: text_key(text) for meta in metas for text in meta.texts}
        texts = [[keys[text] for text in meta.texts] for meta in metas]
        return cls(
            np.array([meta.size for meta in metas], np.int32).reshape(-1, 3),
            np.array([meta.fps for meta in metas], np.float32),
            np.array([meta.seed for meta in metas], np.int64),
            np.array([int(meta.sha256[:16], 16) for meta in metas], np.uint64),
            np.array(texts, np.uint64).reshape(-1, 3),
            np.array([names.index(meta.source) for meta in metas], np.int32),
            tuple(names),
        )

    @property
    def sources(self) -> np.ndarray:
        """The name of each clip's source, [clips]."""
        return np.array(self.names)[self.source]

    def save(self, output: epath.PathLike, shard: tuple[str, int, int], metas: Sequence[ClipMeta]):
        """Writes the index of a shard, (split, number, shards of the split), and its metadata."""
        stored = [dataclasses.replace(meta, truth=None).write() for meta in metas]
        arrays = self._asdict() | {"names": pack(list(self.names)), "metas": pack(stored)}
        write_arrays(shards.index_path(output, *shard), **arrays)

    @classmethod
    def load(cls, folder: epath.PathLike, split: str) -> "ClipIndex":
        """Loads the index of a split; of no clips where there is none."""
        files = (read_arrays(path, *cls._fields) for path in _find(folder, split))
        parts: list[Any] = [cls(*columns) for columns in files]  # type: ignore[arg-type]
        if not parts:
            return cls.of([])
        known = [unpack(part.names) for part in parts]
        names = sorted({name for part in known for name in part})
        places = [np.array([names.index(name) for name in part], np.int32) for part in known]
        source = [place[part.source] for place, part in zip(places, parts, strict=True)]
        columns = [np.concatenate([part[i] for part in parts]) for i in range(len(cls._fields) - 2)]
        return cls(*columns, source=np.concatenate(source), names=tuple(names))


def read_metas(folder: epath.PathLike, split: str) -> Iterator[ClipMeta]:
    """Yields the metadata of the clips of a split, without `truth`; none where it has no index."""
    for path in _find(folder, split):
        (packed,) = read_arrays(path, "metas")
        yield from map(ClipMeta.read, unpack(packed))


def _find(folder: epath.PathLike, split: str) -> list[epath.Path]:
    """Finds the files of an index, in the order of the shards."""
    return sorted((epath.Path(folder) / "index").glob(f"{split}-*-of-*.npz"))


def pack(value: Any) -> np.ndarray:
    """Packs a JSON value into bytes."""
    return np.frombuffer(zlib.compress(json.dumps(value).encode()), np.uint8)


def unpack(packed: np.ndarray) -> Any:
    """Returns the value that `pack` packed."""
    return json.loads(zlib.decompress(packed.tobytes()))
