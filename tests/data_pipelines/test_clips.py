"""The metadata of a clip: the stored JSON keeps its bytes, and missing keys are named."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipelines import records, shards
from data_pipelines.clip_index import ClipIndex
from data_pipelines.clip_meta import ClipMeta, decode_truth, encode_truth, text_key
from data_pipelines.clips import ClipRecord, open_split
from sora_jax import media
from tests.data_pipelines.folders import clip_meta

KEYS = "captions fps size world split seed attributes source licence sha256".split()


STORED = (  # a record's metadata of a folder that an earlier version wrote
    '{"captions": {"short": "a still: a red ball to the left of a blue wall", "detailed": "a still '
    'image of a red ball on a white floor, to the left of a blue wall, wide view"}, "fps": 8.0, '
    '"size": [1, 64, 96], "world": "occlusion", "split": "test", "seed": 2000001, "attributes": '
    '{"color": "red", "side": "left"}, "source": "simulated by data_pipelines.worlds.occlusion", '
    '"licence": "Apache-2.0", "sha256": "0011", "truth": {"radius": 0.25, "hidden": {"dtype": '
    '"bool", "shape": [1], "zlib_base64": "eNpjAAAAAQAB"}}}'
)


def test_stored_metadata_is_written_byte_for_byte():
    stored = json.loads(STORED)
    assert list(stored) == [*KEYS, "truth"]
    meta = ClipMeta.read(stored)
    assert json.dumps(meta.write()) == STORED
    assert (meta.source, meta.split, meta.size) == ("occlusion", "test", (1, 64, 96))
    truth = decode_truth(meta.truth)
    assert truth["radius"] == 0.25 and truth["hidden"].tolist() == [False]


def test_keys_stand_in_the_order_of_ingest_and_of_encode():
    meta = clip_meta(truth={}, measures={"luma": 1.0}, file_sha256="ab")
    assert list(meta.write()) == [*KEYS, "truth", "measures", "file_sha256"]
    latent = dataclasses.replace(meta, truth=None, latent_shape=(1, 2, 3, 4))
    assert list(latent.write()) == [*KEYS, "measures", "file_sha256", "latent_shape"]
    assert ClipMeta.read(json.loads(json.dumps(latent.write()))) == latent


def test_source_and_origin_have_other_names_in_json():
    stored = clip_meta(source="orbit", origin="simulated").write()
    assert (stored["world"], stored["source"]) == ("orbit", "simulated")


def test_a_record_without_a_required_key_is_named():
    stored = clip_meta().write()
    del stored["world"], stored["licence"]
    with pytest.raises(ValueError, match="metadata of a clip lacks world, licence; build it with"):
        ClipMeta.read(stored | {"unknown": 1})


def test_texts_are_the_captions_and_the_empty_string():
    meta = clip_meta(captions={"detailed": "a long text"})
    assert meta.texts == ("", "a long text", "")
    record = ClipRecord(np.zeros((1, 16, 16, 3), np.uint8), meta)
    assert (record.texts, record.captions, record.fps) == (meta.texts, meta.captions, meta.fps)


def test_truth_keeps_arrays_and_plain_values():
    truth = {"x": np.arange(6, dtype=np.float16).reshape(2, 3).T, "radius": 1.5, "names": ["a"]}
    stored = json.loads(json.dumps(encode_truth(truth)))
    np.testing.assert_equal(decode_truth(stored), truth)
    assert decode_truth(stored)["x"].dtype == np.float16 and decode_truth(None) == {}


def test_splits_read_metadata_alone(tmp_path, monkeypatch):
    written = [clip_meta(seed=i, source=f"world {i}") for i in range(3)]
    rows = [{"video": b"", "meta": json.dumps(meta.write())} for meta in written]
    records.write(tmp_path, "clips", lambda _: iter(enumerate(rows)), ["validation"])
    split = open_split(tmp_path, "validation")
    monkeypatch.setattr("sora_jax.media.decode_video", None)
    metas = split.metas()
    assert len(metas) == len(split) == 3 and split.meta(1) == metas[1]
    assert sorted(meta.seed for meta in metas) == [0, 1, 2]
    assert all(meta in written for meta in metas)
    with pytest.raises(IndexError):
        split.meta(3)


def test_some_frames_of_a_clip_are_those_of_the_whole(tmp_path):
    video = np.random.default_rng(0).integers(0, 256, (40, 16, 24, 3), np.uint8)
    data = media.encode_video(video, 23.976, encoding=media.STORED)
    rows = [{"video": data, "meta": json.dumps(clip_meta(data, fps=23.976).write())}]
    records.write(tmp_path, "clips", lambda _: iter(enumerate(rows)), ["train"])
    split = open_split(tmp_path, "train")
    for start, stop in ((0, 1), (16, 18), (33, 40)):
        np.testing.assert_array_equal(split.frames(0, start, stop), split[0].video[start:stop])


def test_an_index_says_what_clips_are_without_reading_them(tmp_path, monkeypatch):
    written = [
        clip_meta(
            bytes([i]),
            seed=i,
            source=("b", "a", "c")[i % 3],
            size=(1 + 4 * i, 16 + i, 48),
            captions={"short": f"text {i % 2}"},
            truth={"x": i},
        )
        for i in range(10)
    ]
    parts = written[:4], written[4:4], written[4:]
    for shard, metas in enumerate(parts):
        rows = [{"video": bytes([m.seed]), "meta": json.dumps(m.write())} for m in metas]
        place = "train", shard, len(parts)
        shards.write(shards.path_of(tmp_path, "clips", *place), rows)
        ClipIndex.of(metas).save(tmp_path, place, metas)
    shards.finish(tmp_path, "clips", {"train": list(map(len, parts))})
    without = [dataclasses.replace(meta, truth=None) for meta in written]
    for kind in ("index", "records"):
        split = open_split(tmp_path, "train")
        if kind == "index":
            monkeypatch.setattr(records.RawSplit, "__getitem__", None)  # no record is read
        index = split.index
        assert split.metas() == without
        assert index.sizes.tolist() == [list(meta.size) for meta in written]
        assert index.sources.tolist() == [meta.source for meta in written]
        assert index.names == ("a", "b", "c") and index.seeds.tolist() == list(range(10))
        assert index.fps.tolist() == [8.0] * 10
        assert index.hashes.tolist() == [int(meta.sha256[:16], 16) for meta in written]
        assert index.texts.tolist() == [list(map(text_key, meta.texts)) for meta in written]
        if kind == "index":
            monkeypatch.undo()
            shards.index_path(tmp_path, "train", 2, 3).unlink()  # then records are read
