"""Folders of worlds: what was simulated is read back, splits stay apart, any worker makes alike."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

from data_pipelines import records
from data_pipelines.clip_meta import decode_truth
from data_pipelines.clips import open_split
from data_pipelines.shard_jobs import Share
from data_pipelines.worlds import dataset
from data_pipelines.worlds.dataset import HOLD_OUT_LAWS, SPLITS, WORLDS
from sora_jax import media

CLIPS = dict.fromkeys(WORLDS, 1) | {"eater": 8}
FEW = {"eater": 5, "phyworld": 1}  # six shards of two clips


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("worlds") / "data"


@pytest.fixture(scope="module")
def report(folder):
    calls = []
    report = dataset.build(folder, CLIPS, progress=lambda *call: calls.append(call), shard_clips=8)
    total = sum(split["clips"] for split in report["splits"].values())
    assert calls == [(i + 1, total) for i in range(total)]
    return report


@pytest.fixture(scope="module")
def found(folder, report):
    """All records, by split."""
    return {split: list(open_split(folder, split)) for split in SPLITS}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = tmp_path_factory.mktemp("few") / "data"
    dataset.build(path, FEW, shard_clips=2)
    return path


def test_records_are_the_clips_made_again(found, report):
    for split in SPLITS:
        counts = dict.fromkeys(CLIPS, 0)
        for record in found[split]:
            meta, clip = record.meta, dataset.remake_clip(record.meta)
            counts[meta.source] += 1
            assert meta.split == split and meta.size == record.video.shape[:3]
            assert meta.licence == WORLDS[meta.source].LICENCE
            np.testing.assert_array_equal(record.video, clip.video)
            assert (record.fps, record.captions) == (clip.fps, clip.captions)
            assert meta.attributes == clip.attributes
            np.testing.assert_equal(decode_truth(meta.truth), clip.truth)
        assert counts == (CLIPS if split == "train" else dict.fromkeys(CLIPS, 1))
        made = report["splits"][split]
        assert made["clips"] == len(found[split])
        assert made["frames"] == sum(len(record.video) for record in found[split])
        assert made["video_bytes"] > 500 * made["clips"]


def test_splits_share_no_seed_and_no_held_out_combination_or_law(found):
    seeds = {split: {(r.meta.source, r.meta.seed) for r in found[split]} for split in SPLITS}
    assert sum(map(len, seeds.values())) == len(set.union(*seeds.values()))
    for split in SPLITS:
        for record in found[split]:
            meta = record.meta
            held_out = "test_laws" if meta.source in HOLD_OUT_LAWS else "test"
            assert WORLDS[meta.source].is_held_out(meta.attributes) == (split == held_out)
            if meta.source == "eater":
                outside = meta.attributes["pace"] == "very quickly"
                assert outside == (split == "test_laws")


def test_worlds_are_spread_over_a_split(found):
    order = [record.meta.source for record in found["train"]]
    assert order == ["eater"] * 4 + sorted(set(CLIPS) - {"eater"}) + ["eater"] * 4


def test_clips_with_a_broken_law_have_the_records_size(found):
    checked = 0
    for record in found["validation"]:
        name = dataset.list_broken(record.meta.source)[0]
        clip = dataset.remake_clip(record.meta, name)
        assert clip.video.shape == record.video.shape and clip.captions == record.captions
        checked += (clip.video != record.video).any()
        latent = dataclasses.replace(record.meta, truth=None, latent_shape=(1, 2, 3, 4))
        np.testing.assert_array_equal(dataset.remake_clip(latent, name).video, clip.video)
    assert checked > 1


def test_clips_that_cannot_be_made_again(found):
    meta = next(r.meta for r in found["validation"] if r.meta.source == "eater")
    with pytest.raises(ValueError, match="eater breaks no law named gravity; choose from bite_"):
        dataset.remake_clip(meta, "gravity")
    with pytest.raises(ValueError, match="no world named bbb"):
        dataset.remake_clip(dataclasses.replace(meta, source="bbb"))
    for name, value in (("captions", {}), ("attributes", {}), ("truth", {"radius": 1})):
        with pytest.raises(ValueError, match="of eater was simulated by another version"):
            dataset.remake_clip(dataclasses.replace(meta, **{name: value}))
    with pytest.raises(ValueError, match="no world named chess"):
        dataset.list_broken("chess")


def test_finished_folders_are_reused_and_others_refused(folder, report):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert dataset.build(folder, CLIPS, shard_clips=8) == report
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(ValueError, match=r"other arguments \(seed: 0\); choose another folder"):
        dataset.build(folder, CLIPS, seed=1, shard_clips=8)
    with pytest.raises(ValueError, match='other arguments .clips: {"ballistics": 1.*choose'):
        dataset.build(folder, {"eater": 1}, shard_clips=8)


def test_a_stopped_call_goes_on_and_ends_with_the_same_bytes(few, tmp_path, monkeypatch):
    encode, left = media.encode_video, 0

    def encode_some(*arguments):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(media, "encode_video", encode_some)
    for stop_after in (0, 5, 1):  # the second call finishes two shards of two, the third none
        left = stop_after
        with pytest.raises(KeyboardInterrupt):
            dataset.build(tmp_path / "data", FEW, shard_clips=2)
    for other in ({"seed": 1}, {"shard_clips": 3}):
        with pytest.raises(ValueError, match=f"other arguments .{next(iter(other))}: "):
            dataset.build(tmp_path / "data", FEW, **({"shard_clips": 2} | other))
    left, calls = 99, []
    dataset.build(tmp_path / "data", FEW, 0, lambda *call: calls.append(call), shard_clips=2)
    assert 99 - left == 12 - 4 and calls[0] == (4, 12) and calls[-1] == (12, 12)
    assert files(tmp_path / "data") == files(few)


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_share_the_shards(few, tmp_path, workers):
    for worker in reversed(range(workers)):
        share = Share(worker, workers)
        report = dataset.build(tmp_path / "data", FEW, share=share, shard_clips=2)
        assert report["finished"] == (worker == 0)
    assert files(tmp_path / "data") == files(few)


def test_processes_make_the_same_bytes(few, tmp_path):
    calls = []
    arguments = (0, lambda *call: calls.append(call), Share(), 2, 2)
    dataset.build(tmp_path / "data", FEW, *arguments)
    assert files(tmp_path / "data") == files(few)
    assert calls == sorted(calls) and calls[-1] == (12, 12)


def test_splits_are_listed_in_their_order(folder, report):
    assert records.splits(folder, "") == list(SPLITS)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "worlds").mkdir()
    with pytest.raises(ValueError, match="holds other files; choose an empty or a new folder"):
        dataset.build(tmp_path, FEW)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: name a folder"):
        dataset.build(tmp_path / "file", FEW)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "worlds"]


def test_a_folder_that_another_worker_is_about_to_mark_is_no_other(tmp_path):
    (tmp_path / "build.json.0123abcd.partial").touch()
    assert dataset.build(tmp_path, {"phyworld": 1})["finished"]


def test_numbers_of_clips_are_read():
    spread = dataset.read_counts(["100003"])
    assert list(spread) == list(WORLDS) and sum(spread.values()) == 100_003
    assert set(spread.values()) == {12_500, 12_501}
    assert dataset.read_counts(["eater:3", " orbit:0"]) == {"eater": 3, "orbit": 0}
    for items in (["many"], ["5", "eater:3"], ["eater"], [":3"], ["eater:-1"], ["eater:1.5"], [""]):
        with pytest.raises(ValueError, match="is no number of clips: write one number for all"):
            dataset.read_counts(items)
    with pytest.raises(ValueError, match="eater is named twice"):
        dataset.read_counts(["eater:3", "eater:4"])


@pytest.mark.parametrize(
    ("clips", "others", "message"),
    [
        ({"chess": 1}, {}, "no world named chess; choose from ballistics, occlusion"),
        ({}, {}, "no clips were asked for"),
        ({"eater": 0}, {}, "no clips were asked for"),
        ({"eater": -2}, {}, "-2 clips of eater: ask for 1 to 1000000"),
        ({"eater": 1_000_001}, {}, "1000001 clips of eater: ask for 1 to 1000000"),
        (FEW, {"seed": -1}, "seed -1 is below 0"),
        (FEW, {"shard_clips": 0}, "0 clips in a shard"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, clips, others, message):
    with pytest.raises(ValueError, match=message) as error:
        dataset.build(tmp_path / "data", clips, **others)
    assert "\n" not in str(error.value) and not (tmp_path / "data").exists()


def test_a_missing_simulator_is_named(tmp_path, monkeypatch):
    def make_clip(request):
        raise ModuleNotFoundError("No module named 'crafter'", name="crafter")

    monkeypatch.setattr(WORLDS["builder"], "make_clip", make_clip)
    with pytest.raises(ValueError, match="builder needs crafter: pip install 'sora-jax.worlds.'"):
        dataset.build(tmp_path / "data", {"builder": 1})


def test_readers_name_what_is_missing(tmp_path, few):
    with pytest.raises(ValueError, match="no dataset in .*nowhere; build it"):
        open_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="no split 'dev'.*train"):
        open_split(few, "dev")
    with pytest.raises(IndexError):
        open_split(few, "test")[2]


def test_a_flipped_byte_in_a_file_is_noticed(few, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(few, copy)
    path = next(copy.glob("worlds/*/*-test.array_record*"))
    data = bytearray(path.read_bytes())
    video = records.open_source(few, "test", "")[0]["video"]
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


def test_a_record_with_another_hash_is_named(folder, report, monkeypatch):
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
