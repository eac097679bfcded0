"""The metadata of a clip: the stored JSON keeps its bytes, and missing keys are named."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

from data_pipelines import records
from data_pipelines.clips import ClipMeta, ClipRecord, decode_truth, encode_truth, open_split
from data_pipelines.worlds.dataset import SHARD
from tests.data_pipelines.folders import clip_meta

KEYS = "captions fps size world split seed attributes source licence sha256".split()


def test_the_committed_records_are_written_byte_for_byte():
    source = records.open_source(epath.Path(SHARD), "test", "")
    for i in range(len(source)):
        text = bytes(source[i]["meta"]).decode()
        stored = json.loads(text)
        assert list(stored) == [*KEYS, "truth"]
        assert json.dumps(ClipMeta.read(stored).write()) == text


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


def test_splits_read_metadata_alone(monkeypatch):
    split = open_split(SHARD, "validation")
    monkeypatch.setattr("sora_jax.media.decode_video", None)
    metas = split.metas()
    assert len(metas) == len(split) == 60 and split.meta(7) == metas[7]
    assert {meta.source for meta in metas} == {"orbit", "occlusion"}
    with pytest.raises(IndexError):
        split.meta(60)
