"""What an ingest reads: folders, patterns, tables, archives."""

import io
import json
import math
import os
import tarfile

import apache_beam as beam
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from etils import epath

from data_pipelines.clips import open_split
from data_pipelines.ingest import config, file_report, inputs, manifest, pipeline
from tests.data_pipelines.ingest.films import film, resized, scene, write

CONFIG = config.IngestConfig(
    clips=config.Clips(max_pixels=5184, max_frames=17),
    output=config.Output(validation=0.0, test=0.0),
)


def names(source, output=""):
    return sorted(os.fsdecode(given.name) for given in inputs.list_inputs(str(source), output))


def test_what_exists_is_no_pattern(tmp_path):
    for name in ("d [1]/a.mp4", "d [1]/[2020] clip.mp4", "d [1]/b*.mp4", "d 1/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"film")
    assert names(tmp_path / "d [1]") == ["[2020] clip.mp4", "a.mp4", "b*.mp4"]
    assert names(tmp_path / "d [1]/[2020] clip.mp4") == ["[2020] clip.mp4"]
    assert names(tmp_path / "d [1]/b*.mp4") == ["b*.mp4"]
    assert names(tmp_path / "d [0-9]/*.mp4") == ["d 1/c.mp4"]
    assert names(f"{tmp_path}/**/*") == sorted(
        ["d 1/c.mp4", "d [1]/a.mp4", "d [1]/b*.mp4", "d [1]/[2020] clip.mp4"]
    )


def test_inputs_are_listed_one_by_one(tmp_path, monkeypatch):
    """The first is there before the others are looked at, as there may be ten million."""
    table = tmp_path / "rows.jsonl"
    rows = 100_000
    table.write_text("".join(json.dumps({"path": f"{i}.mp4"}) + "\n" for i in range(rows)))
    listed = inputs.list_inputs(str(table))
    assert next(listed).name == b"rows.jsonl/0.mp4"

    def fail(*_):
        raise RuntimeError("read")

    monkeypatch.setattr(inputs, "_make_input", fail)  # what is left has not been read ahead
    with pytest.raises(RuntimeError):
        next(listed)


def test_the_driver_holds_no_names(tmp_path):
    """The pipeline's description is as long for ten thousand films as for ten."""
    lengths = []
    for count in (10, 10_000):
        table = tmp_path / f"{count:09d}.jsonl"
        table.write_text("".join(json.dumps({"path": f"{i}.mp4"}) + "\n" for i in range(count)))
        described = beam.Pipeline()
        pipeline.build_graph(described, str(table), epath.Path(tmp_path / "out"), CONFIG)
        lengths.append(len(described.to_runner_api().SerializeToString()))
    assert abs(lengths[1] - lengths[0]) < 1000 and lengths[0] < 1_000_000


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_tables_have_rows_for_parts_of_films(tmp_path, suffix):
    write(tmp_path / "films/a.mp4", np.concatenate([scene(0, 48), scene(1, 48)]))
    write(tmp_path / "films/b.mp4", scene(2, 20))
    rows = [
        {"path": "films/a.mp4", "start": 0.0, "stop": 2.0, "short": "one", "detailed": "one more"},
        {"path": "films/a.mp4", "start": 2.0, "stop": 4.0, "short": "two", "licence": "CC0"},
        {"path": str(tmp_path / "films/b.mp4"), "source": "me"},
        {"path": "films/none.mp4"},
        {"path": "films/b.mp4", "start": 3.0, "stop": 1.0},
        {"short": "no path"},
    ]
    keys = ("path", "start", "stop", "short", "detailed", "licence", "source")
    table = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == "csv":
        lines = [",".join(str(row.get(key, "")) for key in keys) for row in rows]
        table.write_text("\n".join([",".join(keys), *lines]) + "\n")
    else:
        whole = [{key: row.get(key) for key in keys} for row in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(whole), table)
    made = pipeline.ingest(str(table), tmp_path / "out", CONFIG, workers=1)
    assert made["files"]["seen"] == 6 and made["files"]["kept"] == 3
    assert made["files"]["rejected"] == {"bad row": 2, "cannot be read": 1}
    found = {}
    for record in open_split(tmp_path / "out", "train"):
        found.setdefault(record.meta.attributes["file"], []).append(record)
    one, two = (
        found[f"{table.name}/films/a.mp4#0.0-2.0"],
        found[f"{table.name}/films/a.mp4#2.0-4.0"],
    )
    assert {r.captions["detailed"] for r in one} == {"one more"}
    assert {r.captions["short"] for r in two} == {"two"} and two[0].meta.licence == "CC0"
    (b,) = found[f"{table.name}/{tmp_path / 'films/b.mp4'}"]
    assert b.meta.origin == "me" and len(b.video) == 17
    for records, seed in ((one, 0), (two, 1)):
        wanted = resized(scene(seed, 48), 54, 96).astype(int)
        for record in records:
            first = int(record.meta.attributes["frame"]) - 48 * seed
            part = wanted[first : first + len(record.video)]
            assert np.abs(record.video - part).mean() < 4
        assert sum(len(record.video) for record in records) == 17 + 17 + 13
    assert made["dropped"]["outside the part"] > 0


def test_archives_are_read_as_webdataset_writes_them(tmp_path):
    one = write(tmp_path / "one.mp4", scene(0, 20)).read_bytes()
    two = write(tmp_path / "two.mp4", film((20,), first=5)).read_bytes()
    members = {
        "set/000.mp4": one,
        "set/000.json": json.dumps({"captions": {"short": "a film"}, "licence": "CC0"}).encode(),
        "set/001.mp4": two,
        "set/001.txt": b"another film",
        "set/002.txt": b"of nothing",
        "set/003.mp4": b"no film",
    }
    for part, some in (("a", list(members)[:4]), ("b", list(members)[4:])):
        with tarfile.open(tmp_path / f"{part}.tar", "w") as archive:
            for name in some:
                info = tarfile.TarInfo(name)
                info.size = len(members[name])
                archive.addfile(info, io.BytesIO(members[name]))
    assert names(f"{tmp_path}/*.tar") == [
        "a.tar/set/000.mp4", "a.tar/set/001.mp4", "b.tar/set/003.mp4"
    ]  # fmt: skip
    made = pipeline.ingest(f"{tmp_path}/*.tar", tmp_path / "out", CONFIG, workers=1)
    assert made["files"] == {"seen": 3, "kept": 2, "rejected": {"no pictures": 1}}
    found = {r.meta.attributes["file"]: r for r in open_split(tmp_path / "out", "train")}
    assert found["a.tar/set/000.mp4"].captions["short"] == "a film"
    assert found["a.tar/set/000.mp4"].meta.licence == "CC0"
    assert found["a.tar/set/001.mp4"].captions["short"] == "another film"
    (tmp_path / "c.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match="c.tar is no tar archive, or damaged"):
        pipeline.ingest(f"{tmp_path}/c.tar", tmp_path / "other", CONFIG, workers=1)


def test_parts_have_their_range(tmp_path):
    table = tmp_path / "rows.jsonl"
    table.write_text('{"path": "a.mp4", "stop": 2.5}\n{"path": "a.mp4"}\n')
    one, two = inputs.list_inputs(str(table))
    assert (one.start, one.stop, one.name) == (0, 2.5, b"rows.jsonl/a.mp4#0.0-2.5")
    assert (two.start, two.stop, two.name) == (0, math.inf, b"rows.jsonl/a.mp4")
    assert os.fsdecode(two.path) == str(tmp_path / "a.mp4")


def test_lines_of_many_files_are_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "PART_FILES", 2)
    for i in range(7):
        write(tmp_path / f"in/{i}.mp4", scene(i, 9))
    made = pipeline.ingest(str(tmp_path / "in"), tmp_path / "out", CONFIG, workers=1)
    assert made["files"]["kept"] == 7
    paths = list((tmp_path / "out").glob("files-*-of-00004.jsonl"))
    assert 1 < len(paths) <= 4
    lines = list(manifest.read_lines(tmp_path / "out"))
    assert sorted(line["name"] for line in lines) == [f"{i}.mp4" for i in range(7)]
    monkeypatch.undo()
    pipeline.ingest(str(tmp_path / "in"), tmp_path / "out", CONFIG, workers=1)
    assert [p.name for p in (tmp_path / "out").glob("files-*.jsonl")] == [
        "files-00000-of-00001.jsonl"
    ]


def test_bad_rows_are_counted_and_end_nothing(tmp_path):
    table = tmp_path / "rows.jsonl"
    table.write_bytes(b'{"path": "a.mp4"}\n\n{oops\n[1]\n{"path": "caf\xe9.mp4"}\n{"path": 3}\n')
    found = list(inputs.list_inputs(str(table)))
    assert [bool(given.fault) for given in found] == [False, True, True, False, False]
    assert os.fsencode(found[3].film).endswith(b"/caf\xe9.mp4")
    table = tmp_path / "excel.csv"
    table.write_bytes('\ufeffpath,short\na.mp4,"two\nlines"\n'.encode())
    (given,) = inputs.list_inputs(str(table))
    assert given.read_sidecars().captions["short"] == "two\nlines" and not given.fault
    remote = tmp_path / "remote.csv"
    remote.write_text("path\ngs://bucket/a.mp4\n")
    assert next(inputs.list_inputs(str(remote))).path == b"gs://bucket/a.mp4"


def test_parts_of_a_film_are_held_out_together_and_names_are_used_once(tmp_path):
    table = tmp_path / "rows.jsonl"
    rows = [{"path": "a.mp4", "start": i + 0.1, "stop": i + 0.2} for i in range(50)]
    rows += [{"path": "a.mp4", "short": text} for text in ("one", "two", "one")]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    listed = list(inputs.list_inputs(str(table)))
    splits = {file_report._draw_split(file_report.hash_name(g.film), CONFIG) for g in listed}
    assert len(splits) == 1 and len({given.name for given in listed}) == 51
    last = [given for given in listed if given.name == listed[-1].name]
    once = list(inputs.name_once(last[::-1]))
    assert [bool(given.fault) for given in once] == [False, True]
    assert once == list(inputs.name_once(last)) and len({given.name for given in once}) == 2
