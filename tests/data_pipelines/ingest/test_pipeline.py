"""The whole ingest: folders in, records, manifest and page out; restarts, duplicates, mistakes."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

from data_pipelines import records
from data_pipelines.clips import open_split
from data_pipelines.ingest import config, inputs, pipeline, worker
from sora_jax import main
from tests.data_pipelines.ingest.films import boxed, film, resized, scene, write

CONFIG = config.IngestConfig(
    clips=config.Clips(max_pixels=54 * 96, max_frames=17),
    output=config.Output(hold_out="shot", validation=0.25, test=0.25, shard_megabytes=0.1),
)
KILLED = """
import os, signal, sys
from data_pipelines.ingest import inputs, {module}
from data_pipelines.ingest import inputs, pipeline
from tests.data_pipelines.ingest.test_pipeline import CONFIG
calls, original = 0, {module}.{name}

def hooked(*arguments, **named):
    global calls
    calls += 1
    if calls > {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)

{module}.{name} = hooked
pipeline.ingest(sys.argv[1], sys.argv[2], CONFIG, workers=1)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six files of which one is a copy, one is bad, one has a wrong hash, and a picture."""
    root = tmp_path_factory.mktemp("corpus")
    write(root / "a/one.mp4", film((40, 30), height=108, width=192))
    copy = resized(film((40, 30), height=108, width=192), 64, 112)
    write(root / "a/copy.mp4", copy, crf=26)
    write(root / "b/two.mp4", boxed(film((30, 25), first=7, height=108, width=192), 16))
    (root / "b/two.json").write_text('{"licence": "CC0", "source": "me"}')
    (root / "b/two.srt").write_text("1\n00:00:00,100 --> 00:00:00,600\nHello.\n")
    write(root / "c/black.mp4", np.zeros((20, 108, 192, 3), np.uint8))
    write(root / "c/wrong.mp4", film((20,), first=11))
    (root / "c/wrong.json").write_text(json.dumps({"sha256": "0" * 64}))
    (root / "c/bad.mp4").write_bytes(b"no film")
    Image.fromarray(scene(20, 1)[0]).save(root / "c/picture.png")
    (root / "c/picture.txt").write_text("A picture.\nOf colours.")
    (root / "c/.hidden.mp4").write_bytes(b"")
    return root


def command(*arguments):
    """`sora-jax ingest`, whose flags stand in for those of the same names while it runs."""
    names = ("input", "output", "runner", "workers", "beam")
    others = {name: flags.FLAGS[name] for name in names if name in flags.FLAGS}
    for name in others:
        delattr(flags.FLAGS, name)
    before = set(flags.FLAGS)
    try:
        main.run(["ingest", *arguments])
    finally:
        sys.modules.pop("sora_jax.commands.ingest", None)
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        for name, flag in others.items():
            flags.FLAGS[name] = flag


@pytest.fixture(scope="module")
def output(corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("output")
    command(
        *(f"--input={corpus}/**/*", f"--output={path}", "--workers=2"),
        *("--clips.max_pixels=5184", "--clips.max_frames=17"),
        *("--output.hold_out=shot", "--output.validation=0.25"),
        *("--output.test=0.25", "--output.shard_megabytes=0.1"),
    )
    return path


def clips(output):
    manifest = json.loads((output / "manifest.json").read_text())
    return [r for split in manifest["splits"] for r in open_split(output, split)]


def hashes(output):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (output / "clips/1.0.0").iterdir()
    }


def test_the_books_balance(output):
    manifest = json.loads((output / "manifest.json").read_text())
    files = manifest["files"]
    assert files["seen"] == 7 == files["kept"] + sum(files["rejected"].values())
    assert files["rejected"] == {"no clip left": 2, "no pictures": 1, "sha256 differs": 1}
    cut = manifest["clips"]
    assert cut["cut"] == cut["kept"] + sum(cut["rejected"].values())
    assert cut["rejected"] == {"black": 1, "duplicate": 4}
    frames = manifest["frames"]
    assert frames["seen"] == frames["kept"] + frames["rejected"] + frames["dropped"]
    assert frames["seen"] == 70 + 70 + 55 + 20 + 1 and frames["dropped"] == 2 * 6 + 8 + 3
    assert frames["rejected"] == 17 + 3 * 17 + 13
    assert manifest["licences"] == {"CC0": 1, "unknown": 2}
    lines = [
        json.loads(line)
        for line in (output / "files-00000-of-00001.jsonl").read_text().splitlines()
    ]
    assert [line["name"] for line in lines] == sorted(line["name"] for line in lines)
    for line in lines:
        if line["name"] != "c/bad.mp4":
            assert len(line["sha256"]) == 64
    assert sum(manifest["sizes"].values()) == cut["kept"] == len(clips(output))
    page = (output / "contact_sheet.html").read_text()
    assert page.count("<img") == cut["cut"] and "duplicate" in page and "$" not in page


def test_records_are_what_training_reads(corpus, output):
    found = {(r.meta.attributes["file"], r.meta.attributes["frame"]): r for r in clips(output)}
    wanted = {("a/one.mp4", str(t)) for t in (0, 17, 40)} | {("c/picture.png", "0")}
    assert set(found) >= wanted and not any(name == "a/copy.mp4" for name, _ in found)
    one = found["a/one.mp4", "40"]
    assert one.video.shape == (17, 54, 96, 3) and one.fps == 24 and one.meta.source == "files"
    means = film((40, 30), height=108, width=192)[40:57].reshape(17, 54, 2, 96, 2, 3).mean((2, 4))
    assert np.abs(one.video - means).mean() < 3 and one.captions == {"short": "", "detailed": ""}
    two = found["b/two.mp4", "0"].meta
    assert two.attributes["dialogue"] == "Hello." and two.captions["short"] == ""  # what is said
    assert two.licence == "CC0" and two.origin == "me"
    assert two.measures["crop"] == [16, 0, 108, 192] and two.measures["motion"] > 0
    assert "dialogue" not in found["b/two.mp4", "30"].meta.attributes
    assert found["b/two.mp4", "30"].meta.attributes["seconds"] == "1.250"
    assert two.file_sha256 == records.sha256((corpus / "b/two.mp4").read_bytes())
    picture = found["c/picture.png", "0"]
    assert len(picture.video) == 1
    assert picture.captions == {"short": "A picture.", "detailed": "A picture. Of colours."}
    shots = {}
    for record in clips(output):
        unit = record.meta.attributes["file"], record.meta.attributes["shot"]
        assert shots.setdefault(unit, record.meta.split) == record.meta.split
    assert len({record.meta.seed for record in clips(output)}) == len(found)


def test_a_second_run_does_nothing(corpus, output, monkeypatch):
    before = hashes(output), (output / "files-00000-of-00001.jsonl").read_text()
    times = {path: path.stat().st_mtime_ns for path in output.glob("clips/*/*array_record*")}
    monkeypatch.setattr(worker.Worker, "extract", None)
    pipeline.ingest(f"{corpus}/**/*", output, CONFIG)
    assert (hashes(output), (output / "files-00000-of-00001.jsonl").read_text()) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_additions_and_other_captions_redo_only_themselves(corpus, output, tmp_path, monkeypatch):
    films, again = tmp_path / "films", tmp_path / "again"
    shutil.copytree(corpus, films)
    shutil.copytree(output, again)
    (films / "a/one.txt").write_text("colours")
    (films / "c/picture.txt").write_text("squares")
    write(films / "d/new.mp4", film((20,), first=30))
    (films / "c/bad.mp4").unlink()
    done, original = [], worker.Worker.extract

    def extract(self, path, *rest):
        done.append(pathlib.Path(path).name)
        return original(self, path, *rest)

    monkeypatch.setattr(worker.Worker, "extract", extract)
    manifest = pipeline.ingest(str(films), again, CONFIG, workers=1)
    assert done == ["new.mp4"] and manifest["files"]["seen"] == 7
    found = {r.meta.attributes["file"]: r for r in clips(again)}
    one = found["a/one.mp4"]  # of two shots, which a caption of the file does not describe
    assert one.captions["short"] == "" and one.meta.attributes["film"] == "colours"
    assert found["c/picture.png"].captions["short"] == "squares"
    assert found["d/new.mp4"].captions["short"] == ""


@pytest.mark.parametrize(
    "module, name, after",
    [
        pytest.param("file_report", "write_whole", 2, id="before a report"),
        pytest.param("shards", "write_whole", 1, id="after a shard"),
        pytest.param("shards", "publish", 0, id="before the folder opens"),
    ],
)
def test_a_killed_run_goes_on(corpus, output, tmp_path, monkeypatch, module, name, after):
    code = KILLED.format(module=module, name=name, after=after)
    killed = subprocess.run(
        [sys.executable, "-c", code, str(corpus), str(tmp_path)], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(ValueError, match="no dataset"):
        open_split(tmp_path, "train")
    done = {path.stem for path in tmp_path.glob("files/*/*.json")}
    original, extracted = worker.Worker.extract, []

    def extract(self, path, folder, *rest):
        extracted.append(pathlib.Path(folder).name)
        return original(self, path, folder, *rest)

    monkeypatch.setattr(worker.Worker, "extract", extract)
    pipeline.ingest(str(corpus), tmp_path, CONFIG, workers=2)
    assert len(done) == (2 if module == "file_report" else 6)
    assert len(extracted) == 6 - len(done) and not done & set(extracted)
    assert hashes(tmp_path) == hashes(output)
    assert (tmp_path / "files-00000-of-00001.jsonl").read_text() == (
        output / "files-00000-of-00001.jsonl"
    ).read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "--input is missing: name a folder, or a pattern like"),
        (("--input=x",), "--output is missing"),
        (("--input=none/**/*", "--output=OUT"), "no files match 'none/**/*'"),
        (("--input=CORPUS", "--output=CORPUS/c/bad.mp4"), "is a file: name a folder"),
        (("--input=CORPUS", "--output=OUT", "--clips.max_frames=64"), "it must be 1 + 4k"),
        (("--input=CORPUS", "--output=OUT", "--clips.size=64"), "'clips.size'"),
        (("--input=CORPUS", "--output=OUT", "--filters.max_text=0.1"), "needs OCR"),
        (("--input=CORPUS", "--output=OUT", "--runner=Spork"), "Unexpected pipeline runner: Spork"),
    ],
)
def test_mistakes_get_one_line(corpus, tmp_path, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("data_pipelines.ingest.filters.is_ocr_installed", lambda: False)
    with pytest.raises(SystemExit):
        command(
            *(a.replace("CORPUS", str(corpus)).replace("OUT", str(tmp_path)) for a in arguments)
        )
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_links_in_a_circle_end(tmp_path):
    for name in ("in/a.mp4", "in/sub/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"film")
    links = {"loop": ".", "other": ".", "sub/up": "..", "linked": "sub", "none.mp4": "nowhere"}
    for name, target in (links | {"self.mp4": "self.mp4"}).items():
        (tmp_path / "in" / name).symlink_to(target)
    _, names = None, sorted(os.fsdecode(i.name) for i in inputs.list_inputs(str(tmp_path / "in")))
    assert names == ["a.mp4", "linked/b.mp4", "none.mp4", "self.mp4", "sub/b.mp4"]


def test_the_output_is_no_input(tmp_path):
    write(tmp_path / "in/a.mp4", scene(0, 9))
    for _ in range(2):
        manifest = pipeline.ingest(str(tmp_path), tmp_path / "out", CONFIG, workers=1)
        assert manifest["files"] == {"seen": 1, "kept": 1, "rejected": {}}
    with pytest.raises(ValueError, match="is the input folder: name another"):
        pipeline.ingest(str(tmp_path), tmp_path / ".", CONFIG)
    with pytest.raises(ValueError, match="are in the output"):
        pipeline.ingest(f"{tmp_path}/*/clips/**/*", tmp_path / "out", CONFIG)


def test_names_need_not_be_text(tmp_path):
    source = tmp_path / "in"
    path = write(source / "a.mp4", scene(0, 9))
    for name in (b"\xff.mp4", "ä \n.mp4".encode()):
        shutil.copy(path, os.fsencode(source) + b"/" + name)
    (source / os.fsdecode(b"\xfe.mp4")).write_bytes(b"no film")
    (source / os.fsdecode(b"\xfd.mp4")).mkdir()
    manifest = pipeline.ingest(str(source), tmp_path / "out", CONFIG, workers=1)
    assert manifest["files"] == {
        "seen": 4,
        "kept": 1,
        "rejected": {"no clip left": 2, "no pictures": 1},
    }
    assert "\\udcff.mp4" in (tmp_path / "out/files-00000-of-00001.jsonl").read_text()


def test_a_full_disk_is_no_files_fault(tmp_path, monkeypatch):
    write(tmp_path / "in/a.mp4", scene(0, 9))
    monkeypatch.setattr("data_pipelines.ingest.staging.stage_folder", nowhere)
    with pytest.raises(OSError, match="cannot write clips to"):
        pipeline.ingest(str(tmp_path / "in"), tmp_path / "out", CONFIG, workers=1)
    monkeypatch.undo()
    assert not list(tmp_path.glob("out/files/*/*.json"))
    manifest = pipeline.ingest(str(tmp_path / "in"), tmp_path / "out", CONFIG, workers=1)
    assert manifest["files"]["kept"] == 1


@contextlib.contextmanager
def nowhere(folder):
    yield pathlib.Path("/proc/none")


def test_every_setting_is_a_flag_that_is_explained(capsys):
    command("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for part, values in dataclasses.asdict(config.IngestConfig()).items():
        for name in values:
            assert f"--{part}.{name}: " in shown
    assert (
        "--clips.max_frames: maximum frames of a clip, 1 + 4k; longer shots become several clips."
        in shown
    )


def test_other_limits_try_again_what_they_rejected(tmp_path, monkeypatch):
    write(tmp_path / "in/long.mp4", scene(0, 48))
    write(tmp_path / "in/short.mp4", scene(1, 17))
    done, original = [], worker.Worker.extract

    def extract(self, path, *rest):
        done.append(pathlib.Path(path).stem)
        return original(self, path, *rest)

    monkeypatch.setattr(worker.Worker, "extract", extract)
    for seconds, kept in ((1.0, 1), (3.0, 2), (1.5, 2)):
        limited = dataclasses.replace(CONFIG, limits=config.Limits(seconds=seconds))
        made = pipeline.ingest(str(tmp_path / "in"), tmp_path / "out", limited, workers=1)
        assert made["files"]["kept"] == kept
    assert sorted(done) == ["long", "long", "short"]


def test_changed_files_are_seen_and_touched_ones_hashed_once(tmp_path, monkeypatch):
    picture, hashed, digest = tmp_path / "in/a.bmp", [], records.file_sha256
    picture.parent.mkdir()
    monkeypatch.setattr(records, "file_sha256", lambda path: hashed.append(path) or digest(path))

    def ingest(seed, nanoseconds):
        Image.fromarray(scene(seed, 1)[0]).save(picture)  # of the same size each time
        os.utime(picture, ns=(0, nanoseconds))
        made = dataclasses.replace(CONFIG, output=config.Output(validation=0.0, test=0.0))
        pipeline.ingest(str(picture.parent), tmp_path / "out", made, workers=1)
        ((_, meta),) = records.RawSplit(tmp_path / "out", "train", "")
        assert meta["file_sha256"] == records.sha256(picture.read_bytes())

    for seed, nanoseconds, count in (
        (0, 10**9, 1),
        (1, 10**9 + 1, 2),
        (1, 10**10, 3),
        (1, 10**10, 3),
    ):
        ingest(seed, nanoseconds)
        assert len(hashed) == count


def test_without_beam_there_is_a_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "data_pipelines.ingest.pipeline")
    monkeypatch.delattr("data_pipelines.ingest.pipeline")
    with pytest.raises(SystemExit):
        command(f"--input={tmp_path}", f"--output={tmp_path}/out")
    assert "pip install 'sora-jax[ingest]'" in capsys.readouterr().err
