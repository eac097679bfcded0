"""Stamps and photographs as clips, and the captions written by hand: found, true to the rules."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from data_pipelines import records
from data_pipelines.clips import open_split
from data_pipelines.sources import (
    archives,
    backgrounds,
    bbb,
    build,
    choose_split,
    photos,
    read_table,
    stamps,
)
from tests.data_pipelines.packages import deb, wheel

STAMPS = "./usr/share/tuxpaint/stamps"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def cut_out(side, color, margin=0):
    """A square in one colour with a transparent margin."""
    pixels = np.zeros((side + 2 * margin,) * 2 + (4,), np.uint8)
    pixels[margin : margin + side, margin : margin + side] = (*color, 255)
    return png(pixels)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    files = {}
    for path, text, image in (
        (
            "animals/horse",
            "A horse. It eats!\nde.utf8=Ein Pferd.",
            cut_out(70, (90, 60, 30), 9),
        ),
        ("animals/cartoon/horse", "A horse.\n", cut_out(80, (200, 60, 30))),
        ("animals/mouse", "A mouse.\n", cut_out(63, (90, 60, 30), 9)),  # too small
        ("household/toilet", "Remember to flush!\n", cut_out(70, (255, 255, 255))),
        ("household/dishes/glass", "A glass.\n", cut_out(70, (5, 5, 5))),  # left out by the table
        ("household/saw_mirror", "", cut_out(70, (9, 9, 9))),  # no text
        ("letters/outlined/uppercase/A", "The letter A.\n", cut_out(90, (0, 0, 0))),
        ("letters/filled/lowercase/a", "The letter a.\n", cut_out(90, (0, 0, 0))),
    ):
        files[f"{STAMPS}/{path}.png"] = image
        files |= {f"{STAMPS}/{path}.txt": text.encode()} if text else {}
        if "case/" in path:
            files[f"{STAMPS}/{path}.dat"] = b"colorable\nnoflip\n"
    return deb(tmp_path_factory.mktemp("stamps") / "stamps.deb", files)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """All pictures of the table in one archive, each with a grey of its own at the top left."""
    files = {}
    for i, (path, *_) in enumerate(read_table("photos.tsv")):
        pixels = np.full((90, 150, 3), 100, np.uint8)
        pixels[:45, :75] = 10 * i
        file = io.BytesIO()
        kind = "jpeg" if path.endswith("jpg") else "png"
        Image.fromarray(pixels[..., 0] if i % 2 else pixels).save(file, kind, quality=95)
        files[path] = file.getvalue()
    return wheel(tmp_path_factory.mktemp("photos") / "a.whl", files | {"skimage/moon.png": b""})


def test_stamps_are_named_by_their_texts_or_by_hand(package):
    found = {clip.attributes["stamp"]: clip for clip in stamps.read_clips(package, 90)}
    short = {path: clip.captions["short"] for path, clip in found.items()}
    color = {path: clip.attributes.get("color") for path, clip in found.items()}
    outlined, filled = "letters/outlined/uppercase/A", "letters/filled/lowercase/a"
    assert short == {
        "animals/horse": "a cut-out of a horse",
        "animals/cartoon/horse": "a drawing of a horse",
        "household/toilet": "a cut-out of a toilet",
        outlined: f"an outline of the capital letter a in {color[outlined]}",
        filled: f"a cut-out of the small letter a in {color[filled]}",
    }
    splits = {path: clip.split for path, clip in found.items()}
    assert splits["animals/horse"] == splits["animals/cartoon/horse"]
    for clip in found.values():
        background = clip.attributes["background"]
        assert f"{clip.captions['short']}, on {background}, " in clip.captions["detailed"]
        assert clip.attributes.get("color", "none") not in background
        assert clip.video.shape[0] == 1 and min(clip.video.shape[1:3]) in (90, 80)


def test_stamps_stand_out_and_are_painted(package):
    for stamp in stamps.read_stamps(package):
        assert stamp.pixels[..., 3].min() == 255  # the margin is gone
        for height in (60, 90, 120):
            image, attributes = stamps._compose_stamp(stamp, height)
            wanted = stamp.pixels[0, 0, :3]
            if stamp.colorable:
                wanted = backgrounds.PALETTE[attributes["color"]]
            same = (np.abs(image[0].astype(int) - wanted) < 2).all(-1)
            assert 0.1 < same.mean() < 1


def test_photos_keep_their_shape_and_their_places_in_the_table(wheels):
    rows = read_table("photos.tsv")
    found = list(photos.read_clips(wheels, 30))
    assert len(found) == len(rows)
    for i, (clip, (path, source, licence, short, detailed)) in enumerate(
        zip(found, rows, strict=True)
    ):
        assert clip.video.shape == (1, 30, 50, 3) and clip.split == choose_split(i)
        assert np.abs(clip.video[0, 2:12, 2:22].astype(int) - 10 * i).max() < 9
        assert path.endswith(clip.attributes["picture"])
        assert (clip.origin.text, clip.origin.licence) == (source, licence)
        assert clip.captions == {"short": short, "detailed": f"{detailed}, wide view"}
    assert next(photos.read_clips(wheels, 300)).video.shape == (1, 90, 150, 3)  # never larger


def test_pictures_become_records(package, wheels, tmp_path):
    report = build.build(tmp_path / "data", [("stamps", package), ("photos", wheels)], 30)
    assert sum(s["photos"]["clips"] for s in report["splits"].values()) == len(
        read_table("photos.tsv")
    )
    for split in (s for s in records.SPLITS if report["splits"][s]):
        for record in open_split(tmp_path / "data", split):
            assert record.video.shape[0] == 1 and record.meta.licence


def test_archives_of_all_kinds_are_read_and_damage_is_named(package, wheels, tmp_path):
    read = dict(archives.read_files(package, "fetch it", lambda name: name.endswith("mouse.txt")))
    assert read == {f"{STAMPS}/animals/mouse.txt": b"A mouse.\n"}
    assert dict(archives.read_files(wheels, "it", lambda name: "moon" in name)) == {
        "skimage/moon.png": b""
    }
    for archive in (package, wheels):
        part = tmp_path / archive.name
        part.write_bytes(archive.read_bytes()[:700])
        with pytest.raises(ValueError, match="damaged or another.*fetch it again with `fetch it`"):
            list(archives.read_files(part, "fetch it", lambda name: True))
    ubuntu = deb(tmp_path / "ubuntu.deb", {}, data="data.tar.zst")
    with pytest.raises(ValueError, match="packed by zstd.*dpkg-deb --fsys-tarfile .*ubuntu.deb"):
        list(archives.read_files(ubuntu, "fetch it", lambda name: True))


def test_captions_written_by_hand_keep_to_the_rules():
    films = [(row[1], row[2]) for row in read_table("bbb_captions.tsv")]
    pictures = [(row[3], row[4]) for row in read_table("photos.tsv")]
    for short, detailed in films + pictures:
        assert 8 <= len(short.split()) <= 15 and 25 <= len(detailed.split()) <= 38
        assert re.fullmatch(r"[a-z ,'-]+", short + detailed)
    frames = [frame for frame, _, _ in bbb.CAPTIONS]
    assert frames == sorted(set(frames)) and frames[0] == 0 and frames[-1] < bbb.CREDITS
    for _, name in read_table("stamps_captions.tsv"):
        assert re.fullmatch(r"[a-z0-9 ,'-]*", name)


def test_film_captions_follow_shots_that_are_a_few_frames_off(monkeypatch):
    rows = [(0, "a", "long a"), (100, "b", "long b"), (150, "b2", "long b2"), (200, "c", "long c")]
    monkeypatch.setattr(bbb, "CAPTIONS", rows)
    assert bbb.find_captions(100, 116) == bbb.find_captions(98, 99) == ("b", "long b")
    assert bbb.find_captions(103, 119) == ("b", "long b")
    assert bbb.find_captions(100, 149)[0] == "b" and bbb.find_captions(100, 151)[0] == "b2"
    assert bbb.find_captions(204, 220)[0] == bbb.find_captions(196, 197)[0] == "c"
    generic = "a shot of the animated film big buck bunny"
    assert bbb.find_captions(120, 136) == bbb.find_captions(205, 300) == (generic, generic)
