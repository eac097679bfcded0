"""The parts of ingest alone: shots, measures, letterbox, sidecars, near-duplicates, settings."""

import itertools
import json
import os
from collections import Counter

import cv2
import numpy as np
import pytest
from etils import epath

from data_pipelines import records
from data_pipelines.ingest import (
    config,
    dedup,
    filters,
    frames,
    manifest,
    shards,
    sidecars,
)
from sora_jax.media import Rejected
from tests.data_pipelines.folders import clip_meta
from tests.data_pipelines.ingest.films import boxed, resized, scene


def measure(video, fps=24):
    made = filters.Measure(fps, False)
    for frame in video:
        made.add(frame)
    return made.read()


def test_measures_and_faults():
    moving, thresholds = scene(0, 17), config.Filters()
    measures = measure(moving)
    assert filters.find_fault(measures, thresholds) == ""
    wanted = 2 * 24 / np.hypot(90, 160)
    assert abs(measures["motion"] / wanted - 1) < 0.15
    large = resized(moving, 180, 320)
    assert abs(measure(large)["motion"] / measures["motion"] - 1) < 0.1
    for length in (2, 60, 200):  # however many pairs are looked at
        assert abs(measure(scene(0, length))["motion"] / wanted - 1) < 0.15
    gray = cv2.cvtColor(moving[0], cv2.COLOR_RGB2GRAY)
    assert abs(measures["luma"] - np.percentile(gray, 99)) < 4

    def fault(frames, **changed):
        return filters.find_fault(measure(frames), config.Filters(**changed))

    assert fault(moving // 12) == "black"
    noise = np.random.default_rng(0).integers(0, 2, moving.shape, np.uint8)
    assert fault(moving[:1].repeat(17, 0) // 2 + noise) == "static"
    assert fault(moving[:1]) == "" == fault(moving[:1], min_motion=1.0)
    assert fault(moving, min_motion=0.5) == "too little motion"
    assert fault(moving, max_motion=0.1) == "too much motion"
    assert filters.find_fault(measures | {"text": 0.3}, config.Filters(max_text=0.2)) == "text"


@pytest.mark.skipif(not filters.is_ocr_installed(), reason="needs rapidocr-onnxruntime")
def test_burnt_in_text_is_measured():
    frame = scene(0, 1)[0] // 3
    assert filters.measure_text(frame) == 0
    cv2.putText(frame, "SUBTITLE", (20, 80), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255,) * 3, 2)
    assert 0.05 < filters.measure_text(frame) < 0.3


def area(video, max_luma=24, aspect=1.0):
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video])
    return frames.find_picture_area(gray.max(0), gray.min(0), max_luma, aspect)


@pytest.mark.parametrize("top, left", [(0, 0), (12, 0), (0, 30), (12, 30), (60, 0)])
def test_letterboxes_are_exact(top, left):
    assert area(boxed(scene(0, 3), top, left)) == (top, left, 90, 160)


def test_what_is_dark_or_odd_is_no_letterbox():
    assert area(np.zeros((2, 90, 160, 3), np.uint8)) == (0, 0, 90, 160)
    lamp = np.zeros((2, 90, 160, 3), np.uint8)
    lamp[:, 40:50, 70:90] = 255
    assert area(lamp) == (0, 0, 90, 160)
    lamp[:, 7:84] = 255
    assert area(lamp) == (8, 0, 76, 160)
    y, x = np.mgrid[:400, :600]
    disc = np.zeros((2, 400, 600, 3), np.uint8)
    disc[:, np.hypot(y - 200, x - 300) < 139] = 200
    assert area(disc) == (0, 0, 400, 600)  # its edges are not straight
    uneven = np.pad(scene(0, 2, 90, 144), ((0, 0), (30, 8), (0, 0), (0, 0)))
    assert area(uneven) == (0, 0, 128, 144)  # neither as wide on both sides nor of a usual ratio
    credit = boxed(scene(0, 4), 20)
    credit[2, 5:15, 20:140] = 90  # a subtitle in the bar
    assert area(credit) == (0, 0, 130, 160)
    flicker = boxed(scene(0, 4), 20)
    flicker[1, :20] = flicker[1, -20:] = 20  # dark, but not constant
    assert area(flicker) == (0, 0, 130, 160)
    wide = np.pad(scene(0, 2, 90, 212), ((0, 0), (20, 12), (0, 0), (0, 0)))
    assert area(wide) == (20, 0, 90, 212)  # 2.35


def test_sizes_keep_the_aspect_and_the_budget():
    assert frames.fit_size(720, 1280, 36864) == (144, 256)
    assert frames.fit_size(90, 160, 36864) == (90, 160)
    for height, width in ((1080, 1920), (333, 999), (2000, 500)):
        h, w = frames.fit_size(height, width, 65536)
        assert h * w <= 65536 and abs(w / h / (width / height) - 1) < 0.02
        assert h % 2 == w % 2 == 0
    with pytest.raises(Rejected) as error:
        frames.fit_size(16, 40_000, 65536)
    assert error.value.reason == "too small"


def test_sidecars(tmp_path):
    path = epath.Path(tmp_path) / "a.b.mp4"

    def write_all(files):
        for suffix in sidecars.SUFFIXES:
            path.with_suffix(suffix).unlink(missing_ok=True)
        for suffix, text in files.items():
            path.with_suffix(f".{suffix}").write_text(text)
        return sidecars.read(path)

    def of(start=0.0, stop=1.0, whole=True, **files):
        return write_all(files).caption_clip(start, stop, whole)

    def about(start=0.0, stop=1.0, whole=True, **files):
        return write_all(files).describe_clip(start, stop, whole)

    assert of() == {"short": "", "detailed": ""} == of(srt="no subtitles")
    assert of(txt="A dog.\nIt runs.\n") == {"short": "A dog.", "detailed": "A dog. It runs."}
    assert of(whole=False, txt="A dog.") == of()  # says nothing of one of several shots
    assert about(whole=False, txt="A dog.") == {"film": "A dog."} and about(txt="A dog.") == {}
    srt = (
        "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>One</i>\r\ntwo\r\n\r\n"
        "2\n00:00:02,500 --> 00:00:04.000\n{\\an8}three\n"
    )
    assert of(1, 2, srt=srt, txt="a dog")["short"] == "a dog"  # what is said is no caption
    assert about(0, 1, srt=srt) == {} and about(1, 2, srt=srt) == {"dialogue": "One two"}
    assert about(2, 3, srt=srt)["dialogue"] == "One two three"
    assert about(2.5, 9, srt=srt)["dialogue"] == "three"
    made = {"captions": {"detailed": "a long text"}, "licence": "CC0", "sha256": "0a"}
    assert of(json=json.dumps(made), txt="no")["short"] == "a long text"
    assert sidecars.read(path).licence == "CC0" and sidecars.read(path).sha256 == "0a"
    assert of(json='{"source": "me"}', txt="yes")["short"] == "yes"
    timed = [
        {"start": 0, "stop": 4, "short": "a dog"},
        {"start": 4, "stop": 9.5, "short": "a cat", "detailed": "a black cat"},
    ]
    wanted = {(0, 2): "a dog", (3, 6): "a black cat", (3, 4.9): "a dog", (9, 12): ""}
    for (start, stop), text in wanted.items():
        for whole in (True, False):
            found = of(start, stop, whole, json=json.dumps({"captions": timed}), txt="no")
            assert found["detailed"] == text
    for name, encoding in (("utf-16", "utf-16"), ("a mark", "utf-8-sig")):
        path.with_suffix(".json").unlink()
        path.with_suffix(".txt").write_bytes(f"{name}: a café".encode(encoding))
        assert sidecars.read(path).captions["short"] == f"{name}: a café"
        path.with_suffix(".json").write_text("{}")
    for text, encoding in (("a café", "latin-1"), ("赤いボール", "shift_jis")):
        path.with_suffix(".txt").write_bytes(text.encode(encoding))
        with pytest.raises(ValueError, match="a.b.txt is not UTF-8 text: save it as UTF-8"):
            sidecars.read(path)
    for wrong in ('{"captions": [{"start": 0}]}', '{"captions": [{"start": "a", "stop": 1}]}'):
        with pytest.raises(ValueError, match="a.b.json"):
            of(json=wrong)
    halves = ('{"captions": {"short": "\\ud800"}}', '{"licence": "\\udfff"}')
    wrongs = ("{", "[]", '{"captions": "a"}', '{"captions": {"short": 1}}', '{"licence": 3}')
    for wrong in wrongs + halves:
        with pytest.raises(ValueError, match="a.b.json"):
            of(json=wrong)
    assert of(TXT="LOUD")["short"] == "LOUD"
    assert {len(text) for text in of(txt="word " * 100_000).values()} == {
        sidecars.MAX_CAPTION_CHARACTERS
    }
    for target in ("/dev/zero", None):
        path.with_suffix(".txt").unlink(missing_ok=True)
        os.symlink(target, path.with_suffix(".txt")) if target else os.mkfifo(tmp_path / "a.b.txt")
        with pytest.raises(ValueError, match="a.b.txt is no sidecar: it is no plain file"):
            sidecars.read(path)


def compute_hash(video):
    made = dedup.Hash()
    for frame in video:
        made.add(frame)
    return made.read()


def test_flat_pictures_are_no_duplicates():
    rng = np.random.default_rng(0)
    for level in (0, 90, 255):
        assert compute_hash(np.full((9, 90, 160, 3), level, np.uint8)) == ""
        noise = np.clip(level + rng.normal(0, 3, (9, 90, 160, 3)), 0, 255).astype(np.uint8)
        assert compute_hash(noise) == ""
    assert compute_hash(scene(0, 9)) != ""


def test_copies_are_near_and_other_shots_far():
    def distance(one, two):
        return bin(int(one, 16) ^ int(two, 16)).count("1") / dedup.BITS

    hashes = [compute_hash(scene(seed, 33)) for seed in range(12)]
    assert min(distance(*pair) for pair in itertools.combinations(hashes, 2)) > 0.25
    rng = np.random.default_rng(0)
    for seed, wanted in enumerate(hashes):
        small = resized(scene(seed, 33), 54, 96)
        noisy = np.clip(small + rng.normal(0, 4, small.shape), 0, 255).astype(np.uint8)
        assert distance(compute_hash(noisy), wanted) <= config.Dedup().max_distance


@pytest.mark.parametrize("frames", [1, 17])
def test_bands_bring_few_together(frames):
    hashes = [compute_hash(scene(seed, frames, 32, 32, 1)) for seed in range(500)]
    sizes = Counter(band for digits in hashes for band in dedup.split_bands(digits, 16))
    assert sum(n * (n - 1) // 2 for n in sizes.values()) < 0.01 * 500 * 499 / 2
    for digits in hashes[:9]:  # of pictures, two of the 64 bits may differ
        for bits in itertools.combinations(range(0, 64, 5), 2):
            flipped = f"{int(digits[:16], 16) ^ sum(1 << bit for bit in bits):016x}" * 4
            for count in (4, 8, 16, 32):
                same = set(dedup.split_bands(digits[:16] * 4, count)) & set(
                    dedup.split_bands(flipped, count)
                )
                assert same or count < 16


def test_the_first_in_rank_stays():
    digits = f"{0x1234567890ABCDEF:016x}" * 4
    near = f"{int(digits, 16) ^ 0b1011:064x}"
    clips = [
        dedup.HashedClip(-100, "b", "b-0", digits),
        dedup.HashedClip(-900, "c", "c-0", near),
        dedup.HashedClip(-100, "a", "a-0", digits),
        dedup.HashedClip(-100, "d", "c-0", digits),  # the same shot as c
        dedup.HashedClip(-100, "e", "e-0", f"{int(digits, 16) ^ (1 << 100) - 1:064x}"),
    ]
    for order in itertools.permutations(clips):
        found = dict(dedup.find_duplicates(order, 0.1))
        assert found == {"a": "c", "b": "c", "d": "a"}


def test_large_bands_equal_all_pairs():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (700, 32), np.uint8)
    copies = base.copy()
    copies[:, :2] ^= rng.integers(0, 256, (700, 2), np.uint8)
    entries = [
        dedup.HashedClip(-int(rng.integers(3)), f"{i:05d}", f"s{i}", row.tobytes().hex())
        for i, row in enumerate(np.concatenate([base, copies]))
    ]
    losers = {loser for loser, _ in dedup.find_duplicates(entries, 0.1)}
    ranked = {entry.key: rank for rank, entry in enumerate(sorted(entries))}
    wanted = {max(f"{i:05d}", f"{i + 700:05d}", key=ranked.__getitem__) for i in range(700)}
    assert losers == wanted
    bands = [set(dedup.split_bands(entry.hash, 16)) for entry in entries]
    assert all(bands[i] & bands[i + 700] for i in range(700)) and len(bands[0]) == 16


@pytest.mark.parametrize(
    "part, values, message",
    [
        (config.Clips, {"max_frames": 64}, "clips.max_frames is 64: it must be 1 . 4k"),
        (
            config.Clips,
            {"min_frames": 33, "max_frames": 17},
            "min_frames 33 is above clips.max_frames 17",
        ),
        (config.Clips, {"max_pixels": 100}, "use 256 or more"),
        (config.Limits, {"seconds": 0.0}, "limits.seconds is 0.0: it must be above 0"),
        (config.Filters, {"min_motion": 5.0}, "no clip would be left"),
        (config.Filters, {"max_text": 2.0}, "it is a share"),
        (config.Dedup, {"bands": 7}, "use 4, 8, 16 or 32"),
        (config.Output, {"hold_out": "scene"}, "choose file or shot"),
        (config.Output, {"test": 0.6, "validation": 0.5}, "below 1 together"),
    ],
)
def test_settings_are_checked(part, values, message):
    with pytest.raises(ValueError, match=message):
        part(**values)


def test_shards_may_be_empty(tmp_path):
    output = epath.Path(tmp_path)
    (output / "a.mp4").write_bytes(b"clip")
    meta = clip_meta(b"clip")
    row = {"key": "a", "path": "a.mp4", "bytes": 4, "meta": meta, "file": "a"}
    made = [
        shards.write_shard(output, split, i, count, [row] * (i == 1))
        for split, count in (("train", 3), ("test", 2))
        for i in range(count)
    ]
    shards.publish(output, made)
    for split in ("train", "test"):
        assert list(records.RawSplit(output, split, "")) == [(b"clip", meta.write())]
    (output / "a.mp4").write_bytes(b"other")
    shards.write_shard(output, "train", 1, 3, [row])  # as it was
    with pytest.raises(ValueError, match="a.mp4 has changed"):
        shards.write_shard(output, "train", 0, 3, [row])


def test_lost_clips_are_noticed():
    found = {"name": "a.mp4", "clips": [{"reason": ""}, {"reason": "black"}]}
    with pytest.raises(RuntimeError, match="0 of 1 clips of a.mp4 arrived: run again"):
        manifest.summarize_file(found, [])


def test_the_recipe_is_that_of_stage_one():
    one = config.IngestConfig()
    assert one.recipe == config.IngestConfig(output=config.Output(collection="x")).recipe
    assert one.recipe != config.IngestConfig(clips=config.Clips(crf=11)).recipe
