"""Metadata of clips, and small folders of latents as `sora-jax encode` would write them."""

import dataclasses
import json

import numpy as np

from data_pipelines import records, shards
from data_pipelines.clip_meta import ClipMeta
from data_pipelines.latents import NAME, Index
from data_pipelines.loader import PackedRows
from data_pipelines.mixture import Mixture
from sora_jax.files import write_whole
from sora_jax.models.tokenizer import Tokenizer, train_tokenizer
from sora_jax.provenance import ENCODE_NOTE

CAPTIONS = [("a", "a red ball"), ("the cat", "the cat sees a red ball"), ("b", "a b")]


def clip_meta(payload=b"", **fields):
    """The metadata of a clip whose record holds `payload`; `fields` replace the defaults."""
    return dataclasses.replace(
        ClipMeta(
            captions={},
            fps=8.0,
            size=(1, 16, 16),
            source="noise",
            split="train",
            seed=0,
            attributes={},
            origin="random numbers",
            licence="CC0",
            sha256=records.sha256(payload),
        ),
        **fields,
    )


def write_latents(folder, shapes, split="train", weights="w", seed=0, captions=CAPTIONS):
    """Latents of noise in two shards or one; clip i has caption i % len(captions).

    Splits that the folder has already stay.
    """
    rng = np.random.default_rng(seed)
    if not (folder / "tokenizer.model").exists():
        texts = [text for pair in captions for text in pair]
        write_whole(folder / "tokenizer.model", train_tokenizer(texts, 64))
    tokenizer = Tokenizer(folder / "tokenizer.model")
    parts = np.array_split(np.arange(len(shapes)), min(2, len(shapes)))
    for shard, part in enumerate(parts):
        rows, metas = [], []
        for i in part:
            payload = rng.normal(size=shapes[i]).astype(np.float16).tobytes()
            said = dict(zip(("short", "detailed"), captions[i % len(captions)], strict=True))
            shape = tuple(map(int, shapes[i]))
            metas.append(clip_meta(payload, captions=said, seed=int(i), latent_shape=shape))
            rows.append({"video": payload, "meta": json.dumps(metas[-1].write())})
        shards.write(shards.path_of(folder, NAME, split, shard, len(parts)), rows)
        path = shards.index_path(folder, split, shard, len(parts))
        Index.of(metas, tokenizer).save(path, metas)
    lengths = {}
    for path in sorted((folder / "index").glob("*.npz")):
        lengths.setdefault(path.name.split("-")[0], []).append(len(Index.load([path]).shapes))
    shards.finish(folder, NAME, lengths)
    write_whole(folder / ENCODE_NOTE, json.dumps({"weights": weights, "clips": seed}))
    return folder


class _Clips(list):
    folder = "memory"

    def __init__(self, clips, text):
        super().__init__(clips)
        self.catalog = Index.of([clip.meta for clip in clips], text)


def rows_of(experiment, clips, text, rows=1):
    """Packed rows of latents in memory, whose captions `text` encodes."""
    latents = Mixture([_Clips(clips, text)])
    return PackedRows(experiment, latents, text, latents.catalog.tokens, rows)
