"""The page that compares trainings says what their folders do."""

import dataclasses
import json
import re

import pytest

from sora_jax.evals import runs_page
from sora_jax.training.clock import BUCKETS
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.run_folder import save_config
from tests.processes import run_command
from tests.tiny import MODEL


def write_run(folder, seed, steps, flops=0.0):
    """A run whose second process took the last step again."""
    experiment = DiffusionExperiment("", model=MODEL, loop=LoopConfig(seed=seed))
    save_config(folder, experiment)
    lines = [{"step": s, "loss": 1 / s if s != 2 else None, "skipped": 0} for s in steps]
    lines.append({"step": steps[-1], "held_out_loss": 0.25})
    speeds = [
        {"step": s, "tokens_per_second": 10.0 * s, "seconds": dict.fromkeys(BUCKETS, float(s))}
        | ({"flops_per_step": flops} if flops else {})
        for s in (*steps, steps[0])
    ]
    for name, some in (("metrics", lines), ("speed", speeds)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in some))
    with (folder / "speed.jsonl").open("a") as file:
        file.write('{"step": 3, "seco')  # its process was killed


@pytest.fixture
def folders(tmp_path):
    made = tmp_path / "a", tmp_path / "b"
    for folder in made:
        folder.mkdir()
    write_run(made[0], 0, (1, 2, 3, 4), flops=5e15)
    write_run(made[1], 7, (2, 4, 8))
    return made


def test_curves_have_the_numbers_of_the_runs(folders):
    runs = [runs_page.read_run(folder) for folder in folders]
    a, b = (run.name for run in runs)
    found = {curve.title: curve.series for curve in runs_page.curves(runs)}
    assert found["Loss, smoothed, by step"] == {
        a: [(1, 1.0), (3, 1 / 3), (4, 0.25)],
        b: [(4, 0.25), (8, 0.125)],
    }
    assert found["Held-out loss, by step"] == {a: [(4, 0.25)], b: [(8, 0.25)]}
    assert found["Loss, smoothed, by PFLOP of training"] == {
        a: [(5.0, 1.0), (15.0, 1 / 3), (20.0, 0.25)]
    }
    assert found["Tokens per second, by step"][b] == [(2, 20.0), (4, 40.0), (8, 80.0)]
    assert not [title for title in found if title.startswith("Learning rate")]


def test_smoothing_takes_the_latest_lines():
    line = [(step, float(step % 2)) for step in range(100)]
    assert runs_page.smooth(line)[0] == (0, 0.0)
    assert {y for _, y in runs_page.smooth(line)[1:]} == {0.5}


def test_time_is_that_of_all_processes(folders):
    run = runs_page.read_run(folders[1])
    assert runs_page.seconds_by_bucket(run) == dict.fromkeys(BUCKETS, 8.0 + 2.0)
    time, settings = runs_page.tables([runs_page.read_run(f) for f in folders])
    assert time.rows[1][1:3] == ["60 s", "16.7 %"]
    assert settings.rows == [["config.loop.seed", "0", "7"]]
    (alone,) = runs_page.tables([run, run._replace(name="copy")])
    assert alone == dataclasses.replace(time, rows=alone.rows)


def test_the_command_writes_one_page(folders, tmp_path):
    page, (a, b) = tmp_path / "page.html", folders
    run_command("report", f"--workdir={a}", f"--workdir={b}", f"--output={page}")
    text = page.read_text()
    assert text.count("<figure>") == 6 and "config.loop.seed" in text
    assert not re.search(r'src="http|\bnan\b', text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workdir={a}", "--workdir={none}", "--output=p.html"), "no metrics.jsonl in"),
        (("--workdir={a}", "--workdir={a}", "--output=p.html"), "is named twice"),
        (("--workdir={a}", "--output={a}"), "--output is a file.html"),
    ],
)
def test_mistakes_are_one_line(folders, tmp_path, arguments, message):
    filled = [x.format(a=folders[0], none=tmp_path / "none") for x in arguments]
    done = run_command("report", *filled, code=2)
    assert message in done.stderr and done.stderr.count("\n") == 1
