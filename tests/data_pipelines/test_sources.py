"""Archives to folders of clips: shots and emoji are found, held out whole, and composed right."""

import io
import json
import pathlib
import sys
import zipfile

import numpy as np
import pytest
from absl import flags
from PIL import Image

from data_pipelines import records
from data_pipelines.clips import open_split
from data_pipelines.sources import backgrounds, bbb, build, emoji, film, natural, split_lengths
from sora_jax import main, media
from tests.data_pipelines.packages import deb, pack

SHOTS = (38, 40, 36, 49, 33, 35, 41, 37, 34, 45, 39)  # frames
END = sum(SHOTS) - 6  # the credits of the fake film; its last shot has 33 frames before them


def fake_film(lengths, height=60, width=100):
    """Shots of squares that move slowly over grounds of very different colours."""
    rng, y, x = np.random.default_rng(0), *np.mgrid[:height, :width]
    frames = []
    for shot, length in enumerate(lengths):
        ground = np.array([40 + 180 * (shot >> bit & 1) for bit in range(3)])
        for t in range(length):
            inside = (abs(y - 20 - shot) < 9) & (abs(x - 20 - t) < 9)
            frames.append(np.where(inside[..., None], 255 - ground, ground) + rng.integers(-9, 10))
    return np.clip(frames, 0, 255).astype(np.uint8)


def webp(frames):
    """RGBA frames as a lossless webp file of 25 frames per second."""
    first, *rest = map(Image.fromarray, frames)
    file = io.BytesIO()
    first.save(file, "webp", save_all=True, append_images=rest, duration=40, lossless=True)
    return file.getvalue()


def sprite(frames, level):
    """A square of 32 pixels that turns opaque from the left, in one colour a frame."""
    pixels = np.zeros((frames, 32, 32, 4), np.uint8)
    pixels[..., 4:28, 4:28, :3] = (level, 200 - level, 90)
    pixels[..., 4:28, 4:28, 3] = 255
    pixels[np.arange(frames), np.arange(frames) % 32, 16] = (0, 0, 0, 255)  # so frames differ
    return pixels


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as inside:
        inside.writestr(
            "moviepy_10_minutes/resources/bbb.mp4", media.video_bytes(fake_film(SHOTS), 24)
        )
    names = [f"1f4{i:02x}" for i in range(10, 20)]
    files = {f"{name}.webp": webp(sprite(7 + i, 20 * i)) for i, name in enumerate(names)}
    files |= {
        "1f3c3-200d-2640-fe0f.webp": webp(sprite(72, 40)),
        "1f3c3-2640.webp": webp(sprite(72, 40)),  # the same emoji again
        "1f3c3-200d-2642-fe0f.webp": webp(sprite(6, 60)),
        "1f44d-1f3fd.webp": webp(sprite(9, 50)),  # a skin tone
        "1f1eb-1f1f7.webp": webp(sprite(1, 50)),  # a still
    }
    return {
        "bbb": pack(
            folder / "moviepy-2.2.1.tar.gz",
            {"moviepy-2.2.1/docs/moviepy_10_minutes.zip": zipped.getvalue()},
        ),
        "fluent_emoji": pack(
            folder / "emoji.tgz",
            {"package/package.json": b"{}"}
            | {f"package/assets/{name}": data for name, data in files.items()},
        ),
    }


def command(*arguments):
    """`sora-jax sources`, whose flags stand in for those of the same names while it runs."""
    names = ("output", "source", "height")
    others = {name: flags.FLAGS[name] for name in names if name in flags.FLAGS}
    for name in others:
        delattr(flags.FLAGS, name)
    try:
        main.run(["sources", *arguments])
    finally:
        sys.modules.pop("sora_jax.commands.sources")
        for name in names:
            delattr(flags.FLAGS, name)
        for name, flag in others.items():
            flags.FLAGS[name] = flag


@pytest.fixture(scope="module")
def folder(archives, tmp_path_factory):
    path = tmp_path_factory.mktemp("sources") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bbb, "CREDITS", END)
        patch.setattr("sora_jax.progress.SECONDS_BETWEEN_LINES", 0)
        command(
            *(f"--output={path}", "--height=36"),
            *(f"--source={name}:{archive}" for name, archive in archives.items()),
        )
    return path


@pytest.fixture(scope="module")
def clips(folder):
    """All records of the folder, with their splits."""
    return [r for split in records.SPLITS for r in open_split(folder, split)]


def test_pieces_are_the_longest_clips_that_fit():
    assert [split_lengths(n) for n in (0, 1, 4, 5, 8, 9)] == [[], [1], [1], [5], [5], [9]]
    assert (
        split_lengths(72) == [33, 33, 5]
        and split_lengths(70) == [33, 33]
        and split_lengths(37) == [33]
    )


def test_shots_are_found_and_cut_up_to_the_credits(clips):
    found = sorted(
        (int(r.meta.attributes["frame"]), int(r.meta.attributes["shot"]), len(r.video))
        for r in clips
        if r.meta.source == "bbb"
    )
    starts = np.cumsum((0, *SHOTS))
    wanted = []
    for shot, start in enumerate(starts[:-1]):
        for length in split_lengths(min(starts[shot + 1], END) - start):
            wanted.append((start, shot, length))
            start += length
    assert found == wanted


def test_clips_are_the_films_frames_at_the_asked_size(clips):
    whole = fake_film(SHOTS)
    for record in clips:
        if record.meta.source == "bbb":
            first = int(record.meta.attributes["frame"])
            assert record.video.shape[1:3] == (36, 60) and record.fps == 24
            wanted = whole[first : first + len(record.video)]
            # In the corner there is only ground; the codec keeps flat colours.
            difference = record.video[:, -6:, -6:].astype(int) - wanted[:, -6:, -6:]
            assert np.abs(difference).max() < 9


def test_parts_are_held_out_whole(clips):
    splits = {}
    for record in clips:
        attributes = record.meta.attributes
        key = attributes.get("shot") or attributes["emoji"].replace("-2640", "-2642")
        splits.setdefault((record.meta.source, key), set()).add(record.meta.split)
    assert all(len(found) == 1 for found in splits.values())
    for world, held_out in (("bbb", 1), ("fluent_emoji", 1)):
        found = [next(iter(s)) for (name, _), s in splits.items() if name == world]
        assert found.count("validation") == found.count("test") == held_out


def test_meta_is_complete_and_true(clips):
    assert len({(r.meta.source, r.meta.seed) for r in clips}) == len(clips)
    for record in clips:
        meta, (t, h, w, _) = record.meta, record.video.shape
        assert meta.size == (t, h, w) and t % 4 == 1 and 5 <= t <= 33 or t == 1
        assert min(h, w) in (32, 36) and meta.truth == {}
        assert meta.licence and meta.origin and len(meta.sha256) == 64
        for caption in record.captions.values():
            assert caption == caption.lower() and len(caption.split()) <= 40


def test_emoji_are_cut_named_and_not_repeated(clips):
    found = {}
    for record in clips:
        if record.meta.source == "fluent_emoji":
            found.setdefault(record.meta.attributes["emoji"], []).append(record)
            assert record.fps == 25 or len(record.video) == 1
            assert record.meta.attributes["background"] in record.captions["detailed"]
    assert len(found) == 13 and not any("1f3f" in emoji_ for emoji_ in found)
    assert sorted(len(r.video) for r in found["1f3c3-2640"]) == [5, 33, 33]
    assert found["1f3c3-2640"][0].captions["short"] == "an animated emoji, female runner"
    (flag,) = found["1f1eb-1f1f7"]
    assert flag.captions["short"] == "an image of an emoji, flag fr"


@pytest.mark.parametrize(
    "file, name",
    [
        ("assets/1f3f4-e0067_e0062_e0073_e0063_e0074.webp", "flag gbsct"),
        ("assets/0033-fe0f-20e3.webp", "keycap digit three"),
        ("assets/1f468-200d-1f9b0.webp", "man with red hair"),
        ("assets/1f468-200d-1f469-200d-1f467.webp", "man with woman and girl"),
        ("assets/2642-fe0f.webp", "male sign"),
        ("assets/10ffff.webp", ""),
    ],
)
def test_names_come_from_code_points(file, name):
    assert emoji.name_emoji(emoji.parse_codes(file)) == name
    assert (
        emoji.parse_codes(file.replace("webp", "png"))
        == emoji.parse_codes("assets/smile.webp")
        == []
    )


def test_opaque_pixels_keep_their_colour_and_transparent_ones_show_the_background():
    kinds = set()
    for seed in range(40):

        def put(color, alpha, seed=seed):
            pixels = np.full((2, 64, 64, 4), (*color, alpha), np.uint8)
            return backgrounds.compose(pixels, 54, np.random.default_rng(seed))

        ground, attributes = put((1, 2, 3), 0)
        kinds.add(
            next(k for k in ("plain", "fades", "checkered", "clouds") if k in str(attributes))
        )
        inside = (put((255, 255, 255), 255)[0] != put((0, 0, 0), 255)[0]).any(-1)
        assert 0.1 < inside.mean() and (ground[0] == ground[1]).all()
        for alpha in (255, 102):
            video, _ = put((10, 250, 130), alpha)
            mixed = alpha / 255 * np.array((10, 250, 130)) + (1 - alpha / 255) * ground
            np.testing.assert_array_equal(video[~inside], ground[~inside])
            assert np.abs(video[inside] - mixed[inside]).max() <= 0.51
    assert len(kinds) == 4


def test_folders_are_repeatable_reused_and_guarded(archives, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bbb, "CREDITS", END)
    sources = [(name, str(archive)) for name, archive in archives.items()]
    again = tmp_path / "again"
    report = build.build(again, sources[::-1], 36)
    for split in records.SPLITS:
        one, two = (open_split(path, split).metas() for path in (folder, again))
        assert one == two
    # 72 = 33 + 33 + 5 + 1; 7..16 frames leave 2, 3, 0, 1, 2, 3, 0, 1, 2, 3; the man's 6 leave 1.
    dropped = [found["fluent_emoji"]["dropped_frames"] for found in report["splits"].values()]
    assert sum(dropped) == 1 + 17 + 1
    frames = [found["bbb"]["frames"] for found in report["splits"].values()]
    dropped = [found["bbb"]["dropped_frames"] for found in report["splits"].values()]
    assert sum(frames) + sum(dropped) == END and sum(dropped) > 0

    marker = again / "build.json"
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*")}
    assert build.build(again, sources, 36) == report
    assert {path: path.stat().st_mtime_ns for path in again.rglob("*")} == before
    with pytest.raises(ValueError, match="other arguments.*choose another folder, or delete it"):
        build.build(again, sources, 45)
    renewed = tmp_path / pathlib.Path(sources[0][1]).name  # the same name, one more byte
    renewed.write_bytes(pathlib.Path(sources[0][1]).read_bytes() + b"0")
    with pytest.raises(ValueError, match="other arguments"):
        build.build(again, [(sources[0][0], str(renewed)), *sources[1:]], 36)
    marker.write_text(json.dumps(report | {"finished": False}))
    (again / "sources" / "rest").write_text("of a call that was cut off")
    assert build.build(again, sources, 36) == report and not (again / "sources" / "rest").exists()
    marker.unlink()
    with pytest.raises(ValueError, match="holds other files"):
        build.build(again, sources, 36)


def test_natural_films_are_for_tests_only(tmp_path):
    video = media.video_bytes(fake_film((33 * 8,), 24, 32), 10)
    package = deb(tmp_path / "o.deb", {"./usr/share/doc/examples/data/vtest.avi": video})
    source = pack(tmp_path / "o.tar.xz", {"x/examples/test_video.mp4": video, "x/run.mp4": b""})
    build.build(tmp_path / "data", [("natural", str(package)), ("natural", str(source))], 18)
    found = open_split(tmp_path / "data", "test")
    assert len(found) == 2 * natural.MAX_CLIPS
    assert all(record.video.shape == (33, 18, 24, 3) for record in found)
    frames = {int(meta.attributes["frame"]) // 33 for meta in found.metas()}
    assert frames == {0, 2, 3, 4, 6, 7}
    assert {m.licence for m in found.metas()} == {"LGPL-3+", "Apache-2.0 and BSD-3-Clause"}
    with pytest.raises(ValueError, match="no split 'train'.*choose from test"):
        open_split(tmp_path / "data", "train")


def test_what_is_missing_or_wrong_is_named(archives, tmp_path, monkeypatch, capsys):
    def refused(*sources, height=144):
        output = tmp_path / "data"
        with pytest.raises(ValueError) as error:
            build.build(output, [(name, str(path)) for name, path in sources], height)
        assert "\n" not in str(error.value)
        return str(error.value)

    missing = tmp_path / "moviepy-2.2.1.tar.gz"
    fetch = f"fetch it with `{bbb.FETCH}`"
    assert f"no archive at {missing}; {fetch}" in refused(("bbb", missing))
    assert not (tmp_path / "data").exists()
    assert "no source named chess; choose from bbb" in refused(("chess", missing))
    assert "use 18 or more" in refused(("bbb", archives["bbb"]), height=17)
    assert "named twice" in refused(*[("bbb", archives["bbb"])] * 2)
    for source in build.SOURCES.values():
        other = pack(tmp_path / "other.tar.gz", {"a/readme": b"text"})
        assert f"holds no {'webp' * (source is emoji)}" in refused((source.NAME, other))
        other.write_bytes(archives["bbb"].read_bytes()[:3000])
        assert "is damaged or another file" in refused((source.NAME, other))
        assert source.FETCH in refused((source.NAME, other))
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match="a.mp4 is no film that opens"):
        film.plan_clips(tmp_path / "a.mp4")
    planned = film.PlannedClip(0, 1, 0, 33, 0)
    (tmp_path / "b.mp4").write_bytes(media.video_bytes(fake_film((9,)), 24))
    with pytest.raises(ValueError, match="b.mp4 ends before frame 33"):
        list(film.cut_clips(tmp_path / "b.mp4", 36, [planned]))
    monkeypatch.setitem(__import__("sys").modules, "scenedetect", None)
    with pytest.raises(ValueError, match="pip install scenedetect-headless"):
        film.plan_clips(tmp_path / "b.mp4")
    for typed, message in (
        ((), "--output is missing"),
        ((f"--output={tmp_path}", "--source=bbb"), "write NAME:PATH, the path of its archive"),
    ):
        with pytest.raises(SystemExit):
            command(*typed)
        assert message in capsys.readouterr().err
