"""The parts of ingest alone: shots, measures, letterbox, sidecars, near-duplicates, settings."""

import collections
import itertools
import json
import os
import weakref

import cv2
import numpy as np
import pytest
from etils import epath

from data_pipelines import records
from data_pipelines.ingest import config, dedup, filters, frames, manifest, shards, shots, sidecars
from tests.data_pipelines.folders import clip_meta
from tests.data_pipelines.ingest.films import boxed, film, resized, scene


def test_cuts_are_found_and_clips_are_the_films_frames():
    lengths = (40, 76, 17, 30)
    frames = film(lengths)
    found = list(shots.cut_shots(iter(frames), 24, 21, 33))
    starts = [0, 40, 40 + 33, 40 + 76, 40 + 76 + 17]
    assert [cut.start for cut in found] == starts
    assert [cut.shot for cut in found] == [0, 1, 1, 2, 3]
    assert [len(cut.frames) for cut in found] == [33, 33, 33, 17, 29]
    assert [cut.too_short for cut in found] == [False, False, False, True, False]
    for cut in found:
        np.testing.assert_array_equal(cut.frames, frames[cut.start :][: len(cut.frames)])
    quick = list(shots.cut_shots(iter(film((12, 30, 5, 30))), 24, 9, 33))
    assert [(cut.start, len(cut.frames)) for cut in quick] == [(0, 9), (12, 29), (42, 5), (47, 29)]
    assert [cut.too_short for cut in quick] == [False, False, True, False]
    (image,) = shots.cut_shots(iter(frames[:1]), 24, 21, 33)
    assert len(image.frames) == 1 and not image.too_short
    assert list(shots.cut_shots(iter([]), 24, 21, 33)) == []


def test_a_film_is_never_in_memory():
    alive, most = weakref.WeakSet(), 0

    class Frame(np.ndarray):
        """A frame that can be counted and compared by identity."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def stream():
        nonlocal most
        for frame in scene(0, 400, 32, 48, 1):
            alive.add(counted := frame.copy().view(Frame))
            most = max(most, len(alive))
            yield counted
            del counted

    assert sum(len(cut.frames) for cut in shots.cut_shots(stream(), 24, 9, 33)) == 12 * 33
    assert most <= 33 + 6


def test_measures_and_faults():
    moving, thresholds = scene(0, 17), config.Filters()
    measures = filters.measure(moving, 24, False)
    assert filters.find_fault(measures, thresholds) == ""
    wanted = 2 * 24 / np.hypot(90, 160)
    assert abs(measures["motion"] / wanted - 1) < 0.15
    large = resized(moving, 180, 320)
    assert abs(filters.measure(large, 24, False)["motion"] / measures["motion"] - 1) < 0.1

    def fault(frames, **changed):
        measures = filters.measure(frames, 24, False)
        return filters.find_fault(measures, config.Filters(**changed))

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


@pytest.mark.parametrize("top, left", [(0, 0), (12, 0), (0, 30), (12, 30), (60, 0)])
def test_letterboxes_are_exact(top, left):
    area = frames.find_picture_area(
        cv2.cvtColor(boxed(scene(0, 1), top, left)[0], cv2.COLOR_RGB2GRAY), 24
    )
    assert area == (top, left, 90, 160)


def test_what_is_dark_or_odd_is_no_letterbox():
    assert frames.find_picture_area(np.zeros((90, 160), np.uint8), 24) == (0, 0, 90, 160)
    lamp = np.zeros((90, 160), np.uint8)
    lamp[40:50, 70:90] = 255
    assert frames.find_picture_area(lamp, 24) == (0, 0, 90, 160)
    lamp[7:84] = 255
    assert frames.find_picture_area(lamp, 24) == (8, 0, 76, 160)


def test_sizes_keep_the_aspect_and_the_budget():
    assert frames.fit_size(720, 1280, 36864) == (144, 256)
    assert frames.fit_size(90, 160, 36864) == (90, 160)
    for height, width in ((1080, 1920), (333, 999), (2000, 500)):
        h, w = frames.fit_size(height, width, 65536)
        assert h * w <= 65536 and abs(w / h / (width / height) - 1) < 0.02
    with pytest.raises(frames.Rejected) as error:
        frames.fit_size(16, 40_000, 65536)
    assert error.value.args[0] == "too small"


def test_sidecars(tmp_path):
    path = epath.Path(tmp_path) / "a.b.mp4"

    def of(start=0.0, stop=1.0, **files):
        for suffix in sidecars.SUFFIXES:
            path.with_suffix(suffix).unlink(missing_ok=True)
        for suffix, text in files.items():
            path.with_suffix(f".{suffix}").write_text(text)
        return sidecars.read(path).caption_clip(start, stop)

    assert of() == {"short": "", "detailed": ""} == of(srt="no subtitles")
    assert of(txt="A dog.\nIt runs.\n") == {"short": "A dog.", "detailed": "A dog. It runs."}
    srt = (
        "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>One</i>\r\ntwo\r\n\r\n"
        "2\n00:00:02,500 --> 00:00:04.000\n{\\an8}three\n"
    )
    assert of(0, 1, srt=srt, txt="a dog")["short"] == "a dog"
    assert of(1, 2, srt=srt, txt="a dog")["short"] == "One two"
    assert of(2, 3, srt=srt)["detailed"] == "One two three"
    assert of(2.5, 9, srt=srt)["short"] == "three"
    made = {"captions": {"detailed": "a long text"}, "licence": "CC0", "sha256": "0a"}
    assert of(json=json.dumps(made), txt="no")["short"] == "a long text"
    assert sidecars.read(path).licence == "CC0" and sidecars.read(path).sha256 == "0a"
    assert of(json='{"source": "me"}', txt="yes")["short"] == "yes"
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


def test_copies_are_near_and_other_shots_far():
    def distance(one, two):
        return bin(int(one, 16) ^ int(two, 16)).count("1") / dedup.BITS

    hashes = [dedup.compute_hash(scene(seed, 33)) for seed in range(12)]
    assert min(distance(*pair) for pair in itertools.combinations(hashes, 2)) > 0.25
    rng = np.random.default_rng(0)
    for seed, wanted in enumerate(hashes):
        small = resized(scene(seed, 33), 54, 96)
        noisy = np.clip(small + rng.normal(0, 4, small.shape), 0, 255).astype(np.uint8)
        assert distance(dedup.compute_hash(noisy), wanted) <= config.Dedup().max_distance


@pytest.mark.parametrize("frames", [1, 17])
def test_bands_bring_few_together(frames):
    hashes = [dedup.compute_hash(scene(seed, frames, 32, 32, 1)) for seed in range(500)]
    sizes = collections.Counter(band for digits in hashes for band in dedup.split_bands(digits, 16))
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
