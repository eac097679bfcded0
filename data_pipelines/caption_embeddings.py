"""Embeddings of captions by a text encoder that is not trained, stored beside the latents.

`text/` in the folder of latents is a folder of records with one split, `captions`: one record for
each caption of any clip, and for the empty one, ordered by `latents.text_key`. A record's payload
is the embeddings of the caption's tokens, float16 [s, d]; its `meta` has the caption. An index in
`text/` has the keys and the numbers of embeddings. `encode.json` notes the encoder under `text`.
With `--nostore_text` there is only the index: training computes them, see `online_embeddings`.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import records, shards
from data_pipelines.clip_meta import text_key
from data_pipelines.device_jobs import run_together
from data_pipelines.latents import REMEDY, captions_of
from data_pipelines.shard_jobs import Share
from sora_jax import apart
from sora_jax.files import read_arrays, write_arrays, write_whole
from sora_jax.models.t5_text_encoder import T5TextEncoder
from sora_jax.provenance import ENCODE_NOTE, read_encode_note, relative

FOLDER, NAME, SPLIT = "text", "embeddings", "captions"
SHARD_CAPTIONS = 1024
"""Captions of a shard, whose embeddings are in memory together."""


def encode(
    latents: epath.PathLike,
    text: epath.PathLike,
    encoder: T5TextEncoder,
    progress: Callable[[int, int], None],
    share: Share = Share(),
    store: bool = True,
) -> int:
    """Encodes this worker's share of the captions of latents; see `encode.encode`.

    Args:
      latents: folder that `encode.encode` finished.
      text: folder of the text encoder, recorded there.
      progress: called with (captions done, captions of this share).
      share: number of this worker, and of all.
      store: whether embeddings are stored; else only how many each caption has.

    Returns:
      The number of shards that other workers still have to make; 0: the embeddings are finished.

    Raises:
      ValueError: the folder holds no finished latents, or embeddings of another encoder or length.
    """
    latents = epath.Path(latents)
    output, note = latents / FOLDER, read_encode_note(latents)
    if note is None:
        raise ValueError(f"no finished latents in {latents}; {REMEDY}")
    text_note = {
        "folder": relative(text, latents),
        "weights": encoder.weights,
        "width": encoder.config.width,
        "tokens": encoder.max_tokens,
        "stored": store,
    }
    if (old := note.get("text")) is not None:
        old = {"stored": True} | old
        for name, flag in (
            ("weights", "text"),
            ("tokens", "text_tokens"),
            ("stored", "store_text"),
        ):
            if old[name] != text_note[name]:
                raise ValueError(
                    f"{latents} holds embeddings of captions by another --{flag} than asked for: "
                    "choose another --output, or delete it"
                )
        return 0
    apart.on_first(functools.partial(_start, output, text_note))
    captions = captions_of(latents)
    starts = range(0, len(captions), SHARD_CAPTIONS)
    parts = [captions[start : start + SHARD_CAPTIONS] for start in starts]
    jobs = [_Job(output, encoder, (i, len(parts)), part, store) for i, part in enumerate(parts)]

    def finish() -> None:
        if store:
            shards.finish(output, NAME, {SPLIT: list(map(len, parts))})
        write_whole(latents / ENCODE_NOTE, json.dumps(note | {"text": text_note}))

    return run_together(jobs, share, progress, finish)


def _start(output: epath.Path, text_note: Mapping[str, Any]) -> None:
    """Makes the folder, or empties one of another call, which did not finish."""
    started = output / "started.json"
    if output.exists() and (not started.exists() or json.loads(started.read_text()) != text_note):
        output.rmtree()
    write_whole(started, json.dumps(text_note))


@dataclasses.dataclass(frozen=True)
class _Job:
    """The embeddings of some captions; `shard` is (number, number of shards)."""

    output: epath.Path
    encoder: T5TextEncoder
    shard: tuple[int, int]
    captions: Sequence[str]
    store: bool

    @property
    def size(self) -> int:
        return len(self.captions)

    @property
    def _index(self) -> epath.Path:
        return self.output / f"index-{self.shard[0]:05d}.npz"

    def is_done(self) -> bool:
        """The index is written last."""
        return self._index.exists()

    def run(self, progress: Callable[[int], None]) -> None:
        keys = np.array(list(map(text_key, self.captions)), np.uint64)
        lengths = np.array(list(map(self.encoder.count, self.captions)), np.int32)
        if self.store:
            embeddings: list[np.ndarray] = [np.zeros(0)] * self.size
            for done, (i, states) in enumerate(self.encoder.stream(self.captions), 1):
                embeddings[i] = states
                progress(done)
            path = shards.path_of(self.output, NAME, SPLIT, *self.shard)
            shards.write(path, map(_record, self.captions, embeddings))
        else:
            progress(self.size)
        write_arrays(self._index, keys=keys, lengths=lengths)


def _record(caption: str, states: np.ndarray) -> dict[str, str | bytes]:
    payload = states.tobytes()
    meta = {"caption": caption, "sha256": records.sha256(payload)}
    return {"video": payload, "meta": json.dumps(meta)}


class EmbeddingLengths:
    """The number of embeddings of each caption of latents, by `text_key`, whoever has them.

    Attributes:
      counts: number of captions of each folder.
      locations: int [captions, 2], in the order of the keys: a folder, and a record in it.
    """

    def __init__(self, latents: Sequence[epath.PathLike]):
        """Reads the indices beside the latents. Raises ValueError if one of them is missing."""
        self.folders = [epath.Path(path) / FOLDER for path in latents]
        keys, lengths, locations, self.counts = [], [], [], []
        for number, folder in enumerate(self.folders):
            parts = [read_arrays(path, "keys", "lengths") for path in sorted(folder.glob("*.npz"))]
            keys += [part[0] for part in parts]
            lengths += [part[1] for part in parts]
            self.counts.append(sum(len(part[0]) for part in parts))
            if not parts:
                raise ValueError(f"{folder} lacks its index; delete it and {REMEDY} --text again")
            count = self.counts[-1]
            locations.append(np.stack([np.full(count, number), np.arange(count)], 1))
        self._keys, order = np.unique(np.concatenate(keys), return_index=True)
        self._lengths = np.concatenate(lengths)[order]
        self.locations = np.concatenate(locations)[order]

    def lengths(self, keys: np.ndarray) -> np.ndarray:
        """Number of embeddings of each caption, by its `text_key`; arrays of any shape."""
        return self._lengths[self.find(keys, "a caption of its clips")]

    def find(self, keys: np.ndarray | np.uint64, what: str) -> np.ndarray:
        """Places of keys. Raises ValueError, which names `what`, where there is no such caption."""
        index = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if (self._keys[index] != keys).any():
            raise ValueError(
                f"{self.folders[0]} has no embeddings of {what}: encode the clips and their "
                "captions to another folder"
            )
        return index


class StoredEmbeddings(EmbeddingLengths):
    """Embeddings of captions that are stored beside latents, read when they are needed.

    Raises:
      ValueError: as `records.RawSplit`; on encoding, a caption has no embeddings.
    """

    def __init__(self, latents: Sequence[epath.PathLike], width: int):
        folders, remedy = [epath.Path(path) / FOLDER for path in latents], f"{REMEDY} --text"
        self._raw = [records.RawSplit(folder, SPLIT, remedy) for folder in folders]
        super().__init__(latents)
        self._width = width
        for folder, count, raw in zip(self.folders, self.counts, self._raw, strict=True):
            if count != len(raw):
                raise ValueError(f"{folder} lacks its index; delete it and {REMEDY} --text again")

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Embeddings, float16 [s, d], of each caption."""
        embeddings = []
        for caption in captions:
            index = self.find(np.uint64(text_key(caption)), f"the caption {caption!r}")
            folder, record = self.locations[index]
            data, _ = self._raw[folder][int(record)]
            embeddings.append(np.frombuffer(data, np.float16).reshape(-1, self._width))
        return embeddings
