"""Embeddings of captions by a text encoder that is not trained, stored beside the latents.

`text/` in the folder of latents is a folder of records with one split, `captions`: one record for
each caption of any clip, and for the empty one, ordered by `latents.text_key`. A record's payload
is the embeddings of the caption's tokens, float16 [s, d]; its `meta` has the caption. An index in
`text/` has the keys and the numbers of embeddings. `encode.json` notes the encoder under `text`.
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
) -> int:
    """Encodes this worker's share of the captions of latents; see `encode.encode`.

    Args:
      latents: folder that `encode.encode` finished.
      text: folder of the text encoder, recorded there.
      progress: called with (captions done, captions of this share).
      share: number of this worker, and of all.

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
    }
    if (old := note.get("text")) is not None:
        for name, flag in (("weights", "text"), ("tokens", "text_tokens")):
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
    jobs = [_Job(output, encoder, (i, len(parts)), part) for i, part in enumerate(parts)]

    def finish() -> None:
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
        embeddings: list[np.ndarray] = [np.zeros(0)] * self.size
        for done, (i, states) in enumerate(self.encoder.stream(self.captions), 1):
            embeddings[i] = states
            progress(done)
        path = shards.path_of(self.output, NAME, SPLIT, *self.shard)
        shards.write(path, map(_record, self.captions, embeddings))
        keys = np.array(list(map(text_key, self.captions)), np.uint64)
        lengths = np.array(list(map(len, embeddings)), np.int32)
        write_arrays(self._index, keys=keys, lengths=lengths)


def _record(caption: str, states: np.ndarray) -> dict[str, str | bytes]:
    payload = states.tobytes()
    meta = {"caption": caption, "sha256": records.sha256(payload)}
    return {"video": payload, "meta": json.dumps(meta)}


class StoredEmbeddings:
    """Embeddings of captions that are stored beside latents, read when they are needed.

    Raises:
      ValueError: as `records.RawSplit`; on encoding, a caption has no embeddings.
    """

    def __init__(self, latents: Sequence[epath.PathLike], width: int):
        self._folders, self._width = [epath.Path(path) / FOLDER for path in latents], width
        self._raw = [records.RawSplit(f, SPLIT, f"{REMEDY} --text") for f in self._folders]
        keys, lengths, locations = [], [], []
        for number, folder in enumerate(self._folders):
            paths = sorted(folder.glob("index-*.npz"))
            parts = [read_arrays(path, "keys", "lengths") for path in paths]
            keys += [part[0] for part in parts]
            lengths += [part[1] for part in parts]
            count = sum(len(part[0]) for part in parts)
            if count != len(self._raw[number]):
                raise ValueError(f"{folder} lacks its index; delete it and {REMEDY} --text again")
            locations.append(np.stack([np.full(count, number), np.arange(count)], 1))
        self._keys, order = np.unique(np.concatenate(keys), return_index=True)
        self._lengths, self._locations = (
            np.concatenate(lengths)[order],
            np.concatenate(locations)[order],
        )

    def lengths(self, keys: np.ndarray) -> np.ndarray:
        """Number of embeddings of each caption, by its `text_key`; arrays of any shape."""
        return self._lengths[self._find(keys, "a caption of its clips")]

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Embeddings, float16 [s, d], of each caption."""
        embeddings = []
        for caption in captions:
            index = self._find(np.uint64(text_key(caption)), f"the caption {caption!r}")
            folder, record = self._locations[index]
            data, _ = self._raw[folder][int(record)]
            embeddings.append(np.frombuffer(data, np.float16).reshape(-1, self._width))
        return embeddings

    def _find(self, keys: np.ndarray | np.uint64, what: str) -> np.ndarray:
        index = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if (self._keys[index] != keys).any():
            raise ValueError(
                f"{self._folders[0]} has no embeddings of {what}: encode the clips and their "
                "captions to another folder"
            )
        return index
