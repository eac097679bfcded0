"""A few dozen of the benchmark's damaged and disguised files: the valid ones arrive."""

import dataclasses
import json

from data_pipelines import records
from data_pipelines.clips import open_split
from data_pipelines.ingest import pipeline
from experiments.benchmarks import bad_media

LIMITS = dataclasses.replace(bad_media.LIMITS, wall_seconds=3600.0)  # however busy the machine is
CONFIG = dataclasses.replace(bad_media.CONFIG, limits=LIMITS)


def test_bad_media_never_hurts(tmp_path):
    films = list(bad_media.excerpts(None))
    made = bad_media.make(tmp_path / "files", 60, 1, films)
    assert made == bad_media.make(tmp_path / "again", 60, 1, films)
    first = pipeline.ingest(str(tmp_path / "files"), tmp_path / "output", CONFIG)
    assert bad_media.balanced(first, 60) and len(first["files"]["rejected"]) >= 2
    reasons = bad_media.outcome(tmp_path / "output")
    decoded = [name for name in made if reasons[name] in ("", "no clip left")]
    assert len(list(tmp_path.glob("output/files/*/*/"))) == len(decoded)
    assert not any(reasons[name] for name, (kind, _) in made.items() if "same" in kind)
    kept = [r.meta for split in first["splits"] for r in open_split(tmp_path / "output", split)]
    assert {m.attributes["file"] for m in kept} == {n for n in made if not reasons[n]}
    for name, (_, original) in made.items():
        beside = (tmp_path / "files" / name).with_suffix(".json")
        beside.write_text(json.dumps({"sha256": records.sha256(original)}))
    second = pipeline.ingest(str(tmp_path / "files"), tmp_path / "output", CONFIG)
    assert bad_media.balanced(second, 60)
    for name, reason in bad_media.outcome(tmp_path / "output").items():
        assert (reason == "") == ("same" in made[name][0])
