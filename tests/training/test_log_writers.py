"""What TensorBoard and Weights & Biases get of a run, by fake packages that record their calls."""

import dataclasses
import json
import math
import sys
import types

import grain
import numpy as np
import pytest

from sora_jax.config import build, to_dict
from sora_jax.training import loop
from sora_jax.training.diffusion_task import DiffusionTask, Evaluation
from sora_jax.training.experiments import LoopConfig
from sora_jax.training.log_writers import LogWriters
from sora_jax.training.task import TrainingData
from tests.tiny import random_batch
from tests.training.test_loop import WORLD_MODEL

BOTH = ("tensorboard", "wandb")


def with_logs(*names, **changes):
    config = dataclasses.replace(WORLD_MODEL.loop, log_to=names, **changes)
    return dataclasses.replace(WORLD_MODEL, loop=config)


class FakeTensorBoard:
    """tensorboardX, as far as it hides events of steps that are purged."""

    def __init__(self, fails=False):
        self.opened, self.events, self.closed, self.fails = [], {}, 0, fails
        self.SummaryWriter = self.open

    def open(self, folder, purge_step):
        self.opened.append((folder, purge_step))
        self.events = {k: v for k, v in self.events.items() if k[0] < purge_step}
        return self

    def add_scalar(self, name, value, step):
        if self.fails:
            raise RuntimeError("no room\nfor events")
        assert (step, name) not in self.events
        self.events[step, name] = value

    def close(self):
        self.closed += 1


class FakeWandb:
    """wandb, as far as a run that is resumed refuses the steps that it has."""

    def __init__(self):
        self.runs, self.opened, self.step, self.history, self.finished = {}, [], 0, [], 0

    def init(self, **named):
        self.opened.append(named)
        self.history = self.runs.setdefault(named["id"], [])
        self.step = 1 + max((step for step, _ in self.history), default=-1)
        return self

    def log(self, values, step):
        assert step >= self.step
        self.step = step
        self.history.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture
def packages(monkeypatch):
    fakes = FakeTensorBoard(), FakeWandb()
    for name, functions in (
        ("tensorboardX", {"SummaryWriter": fakes[0].open}),
        ("wandb", {"init": fakes[1].init}),
    ):
        module = types.ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    return fakes


def run(experiment, folder, stop=99):
    """Trains four steps; the run is killed when it would show its line of step `stop`."""
    calls = iter(range(1, stop + 1))

    class Stopped(DiffusionTask):
        def describe(self, metrics):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return ""

    rng = np.random.default_rng(0)
    data = grain.MapDataset.source([random_batch(rng, 2) for _ in range(4)])
    scored = Evaluation(2, lambda state: {"held_out_loss": 1.0 / int(state.step)})
    task = Stopped(experiment, evaluations=(scored,))
    loop.train(task, folder, TrainingData(lambda share: data))


@pytest.mark.slow
def test_both_get_each_number_of_a_stopped_run_once(tmp_path, packages):
    board, wandb = packages
    experiment, folder = with_logs(*BOTH), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(experiment, folder, stop=4)  # after step 4's metrics, before its checkpoint
    assert (4, "loss") in board.events
    run(experiment, folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    wanted = {
        (line["step"], name): value
        for line in lines
        for name, value in line.items()
        if name != "step" and value is not None
    }
    assert (2, "held_out_loss") in wanted and len({step for step, _ in wanted}) == 4
    found = {key: value for key, value in board.events.items() if "speed/" not in key[1]}
    assert found == pytest.approx(wanted, rel=1e-5)
    assert {step for step, name in board.events if name == "speed/tokens_per_second"} >= {2, 4}
    assert (4, "speed/seconds/train") in board.events
    assert board.opened == [(str(folder / "tensorboard"), step) for step in (1, 3)]
    assert board.closed == 2

    logged = [(step, name) for step, values in wandb.history for name in values]
    assert len(logged) == len(set(logged))
    # Its last step had been logged when the run was killed before that step's evaluation.
    assert set(wanted) - set(logged) == {(4, "held_out_loss")}
    ids = {opened["id"] for opened in wandb.opened}
    assert ids == {(folder / "wandb_id").read_text()} and wandb.finished == 2
    first = wandb.opened[0]
    assert (first["project"], first["name"], first["dir"]) == ("sora-jax", "run", str(folder))
    assert first["resume"] == "allow" and first["config"] == to_dict(experiment)


def test_variables_name_the_run(tmp_path, packages, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with LogWriters(tmp_path, with_logs("wandb"), 0, writes=True):
        assert "project" not in packages[1].opened[0] and "name" in packages[1].opened[0]


def test_other_processes_write_nothing(tmp_path, packages):
    with LogWriters(tmp_path, with_logs(*BOTH), 0, writes=False) as writers:
        writers.write(1, {"loss": 1.0})
    assert not (packages[0].opened or packages[1].opened or list(tmp_path.iterdir()))


def test_numbers_that_are_not_finite_are_left_out(tmp_path, packages):
    with LogWriters(tmp_path, with_logs(*BOTH), 0, writes=True) as writers:
        writers.write(3, {"loss": math.nan, "norm": math.inf, "skipped": 1.0})
    assert packages[0].events == {(3, "skipped"): 1.0}
    assert packages[1].history == [(3, {"skipped": 1.0})]


@pytest.mark.slow
def test_a_writer_that_fails_is_said_once_and_stops_nothing(tmp_path, packages, capsys):
    board, wandb = packages
    board.fails = True
    run(with_logs(*BOTH), tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "tensorboard" in line]
    assert said == ["tensorboard does not get all metrics, training goes on: RuntimeError: no room"]
    assert {step for step, _ in wandb.history} == {1, 2, 3, 4}
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6


def test_a_writer_that_does_not_open_is_left_out(tmp_path, packages, capsys, monkeypatch):
    def refuse(**named):
        raise RuntimeError("no login")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with LogWriters(tmp_path, with_logs(*BOTH), 0, writes=True) as writers:
        writers.write(1, {"loss": 1.0})
    assert packages[0].events == {(1, "loss"): 1.0}
    assert capsys.readouterr().err.count("wandb does not get all metrics") == 1


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_one_line_before_training(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)  # importing it is refused
    message = rf"config.loop.log_to names '{name}', and {package} is not installed: pip install"
    with pytest.raises(ValueError, match=message):
        run(with_logs(name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_name_is_refused():
    with pytest.raises(
        ValueError, match="config.log_to has 'tensorbord': choose of tensorboard, w"
    ):
        build(LoopConfig, {"log_to": ("tensorbord",)})
