"""Folders of clips: what was simulated is read back, splits stay apart, damage is noticed."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from data_pipelines import records
from data_pipelines.clips import decode_truth, open_split
from data_pipelines.records import SPLITS
from data_pipelines.worlds import dataset
from data_pipelines.worlds.base import COLORS, ClipRequest
from data_pipelines.worlds.gl import project
from sora_jax.evals.color import dominant_color

CLIPS = {"ballistics": 8, "painter": 3, "builder": 3, "orbit": 4}


def color_at(frame, column, row):
    """The name of the colour of one pixel."""
    return dominant_color(frame[None, int(row), int(column)][None, None], COLORS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("worlds") / "data"
    calls = []
    report = dataset.build(path, CLIPS, progress=lambda done, total: calls.append((done, total)))
    total = sum(split["clips"] for split in report["splits"].values())
    assert calls == [(i + 1, total) for i in range(total)]
    return path


@pytest.fixture(scope="module")
def shard():
    return {split: list(open_split(dataset.SHARD, split)) for split in SPLITS}


def test_records_are_the_simulated_clips(folder):
    for split in SPLITS:
        records = open_split(folder, split)
        counts = dict.fromkeys(CLIPS, 0)
        for record in records:
            meta = record.meta
            counts[meta.source] += 1
            assert meta.split == split and meta.size == record.video.shape[:3]
            world = dataset.WORLDS[meta.source]
            assert meta.licence == world.LICENCE
            if not world.NEEDS_GL:
                clip = world.make_clip(ClipRequest(meta.seed, held_out=split == "test"))
                np.testing.assert_array_equal(record.video, clip.video)
                assert (record.fps, record.captions) == (clip.fps, clip.captions)
                assert meta.attributes == clip.attributes
                np.testing.assert_equal(decode_truth(meta.truth), clip.truth)
        assert counts == (CLIPS if split == "train" else dict.fromkeys(CLIPS, 1))


def test_splits_share_no_seed_and_no_held_out_combination(folder, shard):
    for found in (
        {split: list(open_split(folder, split)) for split in SPLITS},
        shard,
    ):
        seeds = {s: {(r.meta.source, r.meta.seed) for r in found[s]} for s in SPLITS}
        assert sum(map(len, seeds.values())) == len(set.union(*seeds.values()))
        for split in SPLITS:
            for record in found[split]:
                held_out = dataset.WORLDS[record.meta.source].is_held_out(record.meta.attributes)
                assert held_out == (split == "test")


def test_finished_folders_are_reused_and_others_refused(folder):
    def stamp():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    before = stamp()
    assert dataset.build(folder, CLIPS)["splits"]["train"]["clips"] == sum(CLIPS.values())
    assert stamp() == before
    with pytest.raises(ValueError, match="other arguments.*choose another folder, or delete it"):
        dataset.build(folder, CLIPS, seed=1)


def test_unfinished_folders_are_made_anew_and_alike(folder, tmp_path):
    again = tmp_path / "data"
    shutil.copytree(folder, again)
    marker = again / "build.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"finished": False}))
    record = next(again.glob("worlds/*/*train*array_record*"))
    record.write_bytes(record.read_bytes()[:1000])
    dataset.build(again, CLIPS, workers=0)
    pairs = zip(open_split(folder, "train"), open_split(again, "train"), strict=True)
    assert all(one.meta == other.meta for one, other in pairs)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "worlds").mkdir()
    with pytest.raises(ValueError, match="holds other files"):
        dataset.build(tmp_path, CLIPS)
    assert (tmp_path / "worlds").exists()


def test_requests_that_cannot_be_met(tmp_path, folder, monkeypatch):
    with pytest.raises(ValueError, match="no world named chess; choose from ballistics"):
        dataset.build(tmp_path, {"chess": 1})
    with pytest.raises(ValueError, match="220 train clips of orbit, 999 were asked for"):
        dataset.build(tmp_path, {"orbit": 999})
    with pytest.raises(ValueError, match="no dataset in .*nowhere; build it"):
        open_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="no split 'dev'.*train"):
        open_split(folder, "dev")
    with pytest.raises(IndexError):
        open_split(folder, "test")[4]

    def no_gl():
        raise ValueError("no OpenGL: apt-get install libegl1")

    monkeypatch.setattr(dataset.gl, "require_gl", no_gl)
    with pytest.raises(ValueError, match="libegl1"):
        dataset.build(tmp_path, {"orbit": 1}, render_gl=True)


def test_a_flipped_byte_in_a_file_is_noticed(folder, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(folder, copy)
    path = next(copy.glob("worlds/*/*test*array_record*"))
    data = bytearray(path.read_bytes())
    video = records.open_source(folder, "test", "")[0]["video"]
    at = data.find(video[200:260])
    assert at > 0
    data[at + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged|cannot open") as error:
        list(open_split(copy, "test"))
    assert (
        "\n" not in str(error.value)
        and "delete the folder and build it with `sora-jax worlds`, `sources` or `ingest` again"
        in str(error.value)
    )


def test_a_record_with_another_hash_is_named(folder, monkeypatch):
    rows = [dict(row) for row in map(records.open_source(folder, "test", "").__getitem__, range(4))]
    meta = json.loads(rows[2]["meta"])
    rows[2]["meta"] = json.dumps(meta | {"sha256": hashlib.sha256(b"other").hexdigest()}).encode()
    monkeypatch.setattr(records, "open_source", lambda *_: rows)
    split = open_split(folder, "test")
    assert split[1].meta.write() == json.loads(rows[1]["meta"])
    with pytest.raises(
        ValueError, match="record 2 of test of .* is missing or damaged .sha256 differs."
    ):
        split[2]


def test_shard_has_the_promised_size(shard):
    for split, count in dataset.SHARD_CLIPS.items():
        worlds = [record.meta.source for record in shard[split]]
        assert worlds.count("occlusion") == worlds.count("orbit") == count
    size = sum(
        path.stat().st_size for path in pathlib.Path(dataset.SHARD).rglob("*") if path.is_file()
    )
    assert size <= 11e6


@pytest.mark.parametrize("name", ["occlusion", "orbit"])
def test_shard_is_what_its_seeds_render(shard, name):
    try:
        dataset.gl.require_gl()
    except ValueError:
        pytest.skip("no OpenGL without a display")
    record = next(r for r in shard["validation"] if r.meta.source == name and len(r.video) == 9)
    clip = dataset.WORLDS[name].make_clip(ClipRequest(record.meta.seed, held_out=False))
    assert (record.captions, record.meta.attributes) == (clip.captions, clip.attributes)
    difference = np.abs(record.video.astype(int) - clip.video)
    assert difference.mean() < 2  # drivers round differently


def test_shard_occlusion_is_true(shard):
    hidden_clips = 0
    for record in (r for split in shard.values() for r in split if r.meta.source == "occlusion"):
        truth, attributes = decode_truth(record.meta.truth), record.meta.attributes
        np.testing.assert_array_equal(truth["hidden"], truth["visible"] == 0)
        x = truth["position"][:, 0]
        u, v, _ = project(truth["position"][0], truth["pose"], truth["intrinsics"])
        assert color_at(record.video[0], u, v) == attributes["color"]
        if len(x) == 1:
            assert f"{attributes['side']} of" in record.captions["short"]
            assert (x[0] > 0) == (attributes["side"] == "right")
            continue
        hidden_clips += 1
        assert truth["hidden"].any() and not truth["hidden"][[0, -1]].any()
        assert (x[-1] > x[0]) == (attributes["direction"] == "right")
        assert f"to the {attributes['direction']}" in record.captions["detailed"]
        for i in np.flatnonzero(truth["hidden"]):  # where the object is, the wall is seen
            u, v, _ = project(truth["position"][i], truth["pose"], truth["intrinsics"])
            assert color_at(record.video[i], u, v) == attributes["wall"]
    assert hidden_clips > 100


def test_shard_orbit_is_true(shard):
    for record in (r for split in shard.values() for r in split if r.meta.source == "orbit"):
        truth, attributes = decode_truth(record.meta.truth), record.meta.attributes
        assert truth["depth"].dtype == np.float16 and np.isfinite(truth["depth"]).all()
        names = [solid.split()[0] for solid in attributes["solids"].split(", ")]
        for frame, pose in zip(record.video, truth["pose"], strict=True):
            seen = [project(p, pose, truth["intrinsics"]) for p in truth["positions"]]
            name, (u, v, _) = min(zip(names, seen, strict=True), key=lambda item: item[1][2])
            assert color_at(frame, u, v) == name
        if len(record.video) > 1:
            step = truth["pose"][1, :3, 3] - truth["pose"][0, :3, 3]
            rightwards = truth["pose"][0, :3, 0] @ step > 0
            assert rightwards == (attributes["direction"] == "right")
            assert f" {attributes['direction']} around" in record.captions["short"]
