"""Clips to latents: records for training the transformer, and the tokenizer of their captions.

The work is cut in shards of clips. Workers take every n-th shard and need nothing of each other;
a shard that is there is not made again, and whoever finds all of them there finishes the folder
(see `latents` for what it holds). `text_states` adds states of the captions.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data_pipelines import records, shards
from data_pipelines.clips import REMEDY, ClipMeta, ClipRecord, Split, open_split
from data_pipelines.latents import (
    NAME,
    TOKENIZER,
    Index,
    LatentRecord,
    Latents,
    index_path,
    read_tokenizer,
)
from sora_jax.files import write_whole
from sora_jax.models.tokenizer import Tokenizer, train_tokenizer
from sora_jax.provenance import ENCODE_NOTE, relative, weights_hash

_STARTED = "encode.started.json"
_TAUGHT = 100_000  # clips whose captions the tokenizer learns from


class Share(NamedTuple):
    """Which part of the work is done here.

    Attributes:
      worker, workers: this one's number, from 0, and how many there are.
      clips: in a shard; the same for all workers.
    """

    worker: int = 0
    workers: int = 1
    clips: int = 1024


ALL = Share()


class Text(NamedTuple):
    """The tokenizer: at most `vocabulary` pieces, or that of the latents in `folder`."""

    vocabulary: int
    folder: epath.PathLike | None = None


def channel_sensitivity(latents: Sequence[LatentRecord], codec, clips: int = 8) -> np.ndarray:
    """Mean square of the change of pixels when a channel is exchanged for noise of its scale, [c].

    Measured on the first latent frames (two, where there are) of `clips` clips of the split.
    """
    found = []
    for i in np.linspace(0, len(latents) - 1, min(clips, len(latents))).astype(int):
        latent = latents[i].latent[:2, :8, :8].astype(np.float32)
        noise = np.random.default_rng(int(i)).normal(size=latent.shape).astype(np.float32)
        channels = np.eye(codec.config.latent_channels, dtype=np.float32)[:, None, None, None]
        moved = latent + channels * (noise - latent)
        pixels = np.asarray(codec.decode(np.concatenate([latent[None], moved])))
        found.append(np.mean((pixels[1:] - pixels[:1]) ** 2, (1, 2, 3, 4)))
    return np.mean(found, 0)


def encode(
    data: epath.PathLike,
    vae: epath.PathLike,
    output: epath.PathLike,
    codec,
    text: Text,
    multiple: int,
    progress: Callable[[int, int], None],
    share: Share = ALL,
) -> int:
    """Encodes this worker's share of the clips of `data`; what is there already is kept.

    Args:
      vae: the autoencoder's workdir, recorded in the output.
      codec: its `codec.VideoCodec`.
      multiple: height and width of latents are padded to multiples of this, the side of the
        transformer's patch.
      progress: called with (clips done, clips of this share).

    Returns:
      Shards that other workers still have to make; 0: the folder is finished.

    Raises:
      ValueError: the output holds latents of other weights, clips or settings.
    """
    output = epath.Path(output)
    made = {
        "vae": relative(vae, output),
        "data": relative(data, output),
        "clips": records.fingerprint(epath.Path(data), REMEDY),
        "weights": weights_hash((codec.params, codec.statistics)),
        "vocabulary": None if text.folder else text.vocabulary,
        "tokenizer": relative(text.folder, output) if text.folder else None,
        "multiple": multiple,
        "shard_clips": share.clips,
    }
    for marker in (output / ENCODE_NOTE, output / _STARTED):
        if marker.exists():
            _compare(output, json.loads(marker.read_text()), made)
    if (output / ENCODE_NOTE).exists():
        return 0
    names = records.splits(epath.Path(data), REMEDY)
    if "train" not in names:
        raise ValueError(f"{data} has no clips to train on: {REMEDY} with more clips")
    splits = {name: open_split(data, name) for name in names}
    write_whole(output / _STARTED, json.dumps(made))
    if not (output / TOKENIZER).exists():
        _make_tokenizer(output / TOKENIZER, splits["train"], text)
    tokenizer = Tokenizer(output / TOKENIZER)
    jobs = _cut(splits, share.clips)
    mine = jobs[share.worker :: share.workers]
    done, total = 0, sum(len(job.clips) for job in mine)
    for job in mine:
        if not job.index(output).exists():
            made_of = (encode_clip(splits[job.split][i], codec, multiple) for i in job.clips)
            _write(output, job, made_of, tokenizer, lambda n, done=done: progress(done + n, total))
        progress(done := done + len(job.clips), total)
    left = sum(not job.index(output).exists() for job in jobs)
    if not left:
        lengths = {split: [len(j.clips) for j in jobs if j.split == split] for split in splits}
        shards.finish(output, NAME, lengths)
        energy = channel_sensitivity(Latents(output, "train"), codec).tolist()
        write_whole(output / ENCODE_NOTE, json.dumps(made | {"channel_sensitivity": energy}))
        (output / _STARTED).unlink(missing_ok=True)
    return left


class _Job(NamedTuple):
    """One shard of a split."""

    split: str
    shard: int
    shards: int
    clips: range

    def index(self, output: epath.Path) -> epath.Path:
        return index_path(output, self.split, self.shard, self.shards)


def _cut(splits: Mapping[str, Sequence], size: int) -> list[_Job]:
    jobs = []
    for split, clips in splits.items():
        starts = range(0, len(clips), size)
        for shard, start in enumerate(starts):
            part = range(start, min(start + size, len(clips)))
            jobs.append(_Job(split, shard, len(starts), part))
    return jobs


def _write(
    output: epath.Path,
    job: _Job,
    clips: Iterable[tuple[bytes, ClipMeta]],
    tokenizer: Tokenizer,
    progress: Callable[[int], None],
) -> None:
    """Writes a shard, then its index, by which it counts as made."""
    metas = []

    def rows() -> Iterator[dict[str, str | bytes]]:
        for payload, meta in clips:
            metas.append(meta)
            yield {"video": payload, "meta": json.dumps(meta.write())}
            progress(len(metas))

    shards.write(shards.path_of(output, NAME, job.split, job.shard, job.shards), rows())
    Index.of(metas, tokenizer.encode).save(job.index(output), metas)


def _compare(output: epath.Path, old: dict[str, Any], made: dict[str, Any]) -> None:
    for name in ("weights", "data", "clips", "vocabulary", "tokenizer", "multiple", "shard_clips"):
        if old.get(name) != made[name]:
            raise ValueError(
                f"{output} holds latents of other {name} than asked for: "
                "choose another --output, or delete it"
            )


def _make_tokenizer(path: epath.Path, clips: Split, text: Text) -> None:
    """Copies or learns it; every worker comes to the same."""
    if text.folder is not None:
        found = read_tokenizer(text.folder)
    else:
        chosen = np.linspace(0, len(clips) - 1, min(_TAUGHT, len(clips))).astype(int)
        captions = [c for i in chosen for c in clips.meta(i).texts]
        found = train_tokenizer(captions if any(captions) else ["video"], text.vocabulary)
    write_whole(path, found)


def encode_clip(record: ClipRecord, codec, multiple: int) -> tuple[bytes, ClipMeta]:
    """A clip's payload and meta; its canvas is padded by `media.fit_canvas`."""
    latent = np.asarray(codec.encode_clip(record.video, multiple)[0], np.float16)
    payload = latent.tobytes()
    digest = records.sha256(payload)
    meta = dataclasses.replace(record.meta, truth=None, sha256=digest, latent_shape=latent.shape)
    return payload, meta
