"""States of captions by a text encoder that is not trained, stored beside the latents.

`text/` in the folder of latents is a folder of records with one split, `captions`: one record for
each caption of any clip, and for the empty one, ordered by `latents.text_key`. Its payload are the
states, float16 [s, d], of the caption's own tokens; its `meta` has the caption. An index in `text/`
has the keys and the numbers of states. `encode.json` notes the encoder under `text`.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from data_pipelines import records, shards
from data_pipelines.latents import REMEDY, captions_of, text_key
from sora_jax.files import read_arrays, write_arrays, write_whole
from sora_jax.models.t5_text_encoder import T5TextEncoder
from sora_jax.provenance import ENCODE_NOTE, relative

FOLDER, NAME, SPLIT = "text", "states", "captions"
SHARD = 1024  # captions, which are in memory together; a call that stops in the middle loses them


def encode(
    latents: epath.PathLike,
    text: epath.PathLike,
    encoder: T5TextEncoder,
    progress: Callable[[int, int], None],
    worker: int = 0,
    workers: int = 1,
) -> int:
    """Encodes this worker's share of the captions of latents; what is there already is kept.

    Args:
      latents: what `encode.encode` finished.
      text: the encoder's folder, recorded there.
      progress: called with (captions done, captions of this share).
      worker, workers: this one's number, from 0, and how many there are.

    Returns:
      Shards that other workers still have to make; 0: the states are finished.

    Raises:
      ValueError: the folder holds states of another encoder, or cut to another length.
    """
    latents = epath.Path(latents)
    marker, output = latents / ENCODE_NOTE, latents / FOLDER
    made = json.loads(marker.read_text())
    note = {
        "folder": relative(text, latents),
        "weights": encoder.weights,
        "width": encoder.config.width,
        "tokens": encoder.tokens,
    }
    if (old := made.get("text")) is not None:
        for name, flag in (("weights", "text"), ("tokens", "text_tokens")):
            if old[name] != note[name]:
                raise ValueError(
                    f"{latents} holds states of captions by another --{flag} than asked for: "
                    "choose another --output, or delete it"
                )
        return 0
    started = output / "started.json"
    if output.exists() and (not started.exists() or json.loads(started.read_text()) != note):
        output.rmtree()  # of another call, which did not finish
    write_whole(started, json.dumps(note))
    captions = captions_of(latents)
    parts = [captions[at : at + SHARD] for at in range(0, len(captions), SHARD)]
    mine = range(worker, len(parts), workers)
    done, total = 0, sum(len(parts[i]) for i in mine)
    for i in mine:
        part, index = parts[i], _index_path(output, i)
        if not index.exists():  # it is written last
            states: list[np.ndarray] = [np.zeros(0)] * len(part)
            for number, (at, found) in enumerate(encoder.stream(part), 1):
                states[at] = found
                progress(done + number, total)
            path = shards.path_of(output, NAME, SPLIT, i, len(parts))
            shards.write(path, map(_row, part, states))
            keys = np.array(list(map(text_key, part)), np.uint64)
            write_arrays(index, keys=keys, lengths=np.array(list(map(len, states)), np.int32))
        done += len(part)
    left = sum(not _index_path(output, i).exists() for i in range(len(parts)))
    if not left:
        shards.finish(output, NAME, {SPLIT: list(map(len, parts))})
        write_whole(marker, json.dumps(made | {"text": note}))
    return left


def _row(caption: str, states: np.ndarray) -> dict[str, str | bytes]:
    payload = states.tobytes()
    meta = {"caption": caption, "sha256": records.sha256(payload)}
    return {"video": payload, "meta": json.dumps(meta)}


def _index_path(folder: epath.Path, shard: int) -> epath.Path:
    return folder / f"index-{shard:05d}.npz"


class StoredEmbeddings:
    """Captions to their states, stored beside latents and read when they are asked for.

    Raises:
      ValueError: as `records.RawSplit`; on a call, a caption has no states.
    """

    def __init__(self, latents: Sequence[epath.PathLike], width: int):
        self._folders, self._width = [epath.Path(path) / FOLDER for path in latents], width
        self._raw = [records.RawSplit(f, SPLIT, f"{REMEDY} --text") for f in self._folders]
        keys, lengths, places = [], [], []
        for number, folder in enumerate(self._folders):
            paths = sorted(folder.glob("index-*.npz"))
            parts = [read_arrays(path, "keys", "lengths") for path in paths]
            keys += [part[0] for part in parts]
            lengths += [part[1] for part in parts]
            count = sum(len(part[0]) for part in parts)
            if count != len(self._raw[number]):
                raise ValueError(f"{folder} lacks its index; delete it and {REMEDY} --text again")
            places.append(np.stack([np.full(count, number), np.arange(count)], 1))
        self._keys, order = np.unique(np.concatenate(keys), return_index=True)
        self._lengths, self._places = np.concatenate(lengths)[order], np.concatenate(places)[order]

    def lengths(self, keys: np.ndarray) -> np.ndarray:
        """Numbers of states by `text_key`, of any shape."""
        return self._lengths[self._find(keys, "a caption of its clips")]

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The states of each caption."""
        found = []
        for text in texts:
            at = self._find(np.uint64(text_key(text)), f"the caption {text!r}")
            folder, record = self._places[at]
            data, _ = self._raw[folder][int(record)]
            found.append(np.frombuffer(data, np.float16).reshape(-1, self._width))
        return found

    def _find(self, keys: np.ndarray | np.uint64, what: str) -> np.ndarray:
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if (self._keys[at] != keys).any():
            raise ValueError(
                f"{self._folders[0]} has no states of {what}: encode the clips and their captions "
                "to another folder"
            )
        return at
