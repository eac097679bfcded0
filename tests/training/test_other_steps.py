"""Runs that go on with other settings, through the loop: the same data, each row once."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.latents import Latents
from sora_jax.commands.train import diffusion_run
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.rows import PackingConfig, batch_specs
from sora_jax.sharding import MeshConfig
from sora_jax.training import loop
from sora_jax.training.checkpoint_io import read_newest, saved_steps
from sora_jax.training.diffusion_task import DiffusionTask, Evaluation
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.run_folder import load_diffusion_run, load_experiment
from sora_jax.training.task import BatchSizes, StepWork
from sora_jax.types import TrainState
from tests.data_pipelines.folders import write_latents
from tests.tiny import MODEL

SIZES = [(t, 4, 2 * w, 2) for t, w in np.random.default_rng(0).integers(1, 4, (60, 2))]
IMAGES = [(1, 4, 2 * w, 2) for w in np.random.default_rng(1).integers(1, 5, 40)]
PIXEL_MODEL = dataclasses.replace(MODEL, text=TextEncoderConfig(64, 8, 1, 4))


def latents(folder, sizes, seed=0):
    write_latents(folder, sizes, seed=seed)
    note = json.loads((folder / "encode.json").read_text())
    note |= {"channel_sensitivity": [1.0, 1.0], "vae": "nowhere", "data": "clips"}
    (folder / "encode.json").write_text(json.dumps(note))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return latents(tmp_path_factory.mktemp("latents"), SIZES)


def experiment_of(data, steps=4, rows=8, **changes):
    base = DiffusionExperiment(
        data,
        model=PIXEL_MODEL,
        packing=PackingConfig(rows, 24, 64, 6, 16),
        optimizer=OptimizerConfig(
            steps=steps, warmup_steps=1, schedule="constant", learning_rate=0.01
        ),
        loop=LoopConfig(save_every=2, log_every=1),
    )
    return dataclasses.replace(base, **changes)


class Sums:
    """A task whose loss is the sum of a batch, to see which rows the loop gives it."""

    work = StepWork("tokens", 1.0)

    def __init__(self, experiment):
        self.experiment = experiment

    def init_state(self):
        key, weights = jax.random.key_data(jax.random.key(0)), {"w": jnp.zeros(2)}
        moments, scale = {"m": jnp.zeros(1)}, {"channel_scale": jnp.ones(2)}
        return TrainState(jnp.int32(0), weights, dict(weights), moments, key, scale)

    def first_state(self):
        return jax.jit(self.init_state)()

    def train_step(self, state, batch, constants):
        seen = {"loss": jnp.abs(batch.patches).sum(), "gradient_norm": jnp.float32(1)}
        return state._replace(step=state.step + 1), seen

    def constants(self):
        return {}

    def batch_specs(self):
        return batch_specs()

    def batch_sizes(self):
        return BatchSizes("packing.rows", (self.experiment.packing.rows,))

    def describe(self, metrics):
        return ""

    def evaluate(self, state):
        return {}


def run(experiment, workdir, kind=None):
    """Trains; returns the state, and the loss of each step of the run so far."""
    task, data = diffusion_run(experiment, workdir)
    state = loop.train(kind(experiment) if kind else task, workdir, data)
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return state, [line["loss"] for line in lines]


def test_another_number_of_rows_gives_the_loop_each_row_once(folder, tmp_path, capsys):
    _, data = diffusion_run(experiment_of(folder), tmp_path)
    stream = data.open.__self__
    count = stream.rows.per_epoch
    sums = [np.abs(stream.rows[row].patches).sum() for row in range(count)]
    assert 16 < count < 32
    run(experiment_of(folder, steps=2, rows=8), tmp_path, Sums)
    position = read_newest(tmp_path, {"loader": None})[1]["loader"]
    _, losses = run(experiment_of(folder, steps=3, rows=16), tmp_path, Sums)
    assert "config.packing.rows: 8 -> 16\n" in capsys.readouterr().out
    assert load_experiment(tmp_path).packing.rows == 16
    np.testing.assert_allclose(losses[:2], [sum(sums[:8]), sum(sums[8:16])], rtol=1e-5)
    wider = diffusion_run(experiment_of(folder, steps=3, rows=16), tmp_path)[1]
    rows = wider.go_on(position, 2).open.__self__.rows
    more = [np.abs(rows[row].patches).sum() for row in range(count, 32)]  # of the next epoch
    np.testing.assert_allclose(losses[2], sum(sums[16:]) + sum(more), rtol=1e-5)
    _, losses = run(experiment_of(folder, steps=9, rows=8), tmp_path, Sums)
    position = read_newest(tmp_path, {"loader": None})[1]["loader"]
    assert position["rows"] == 2 * 8 + 16 + 6 * 8
    second = stream.rows.epoch(1)
    assert sorted(np.concatenate([second.rows[i] for i in range(count)])) == list(range(len(SIZES)))


@pytest.mark.slow
def test_what_changes_no_weight_changes_no_data(folder, tmp_path):
    """The last three steps are each taken with other settings."""
    _, straight = run(experiment_of(folder, steps=5), tmp_path / "straight")
    changes = (
        {},
        {"model": dataclasses.replace(PIXEL_MODEL, remat="full", unroll=True)},
        {"model": dataclasses.replace(PIXEL_MODEL, dtype="bfloat16")},
        {"mesh": MeshConfig(2, 2, 1, 2)},
    )
    for steps, change in enumerate(changes, 2):
        _, changed = run(experiment_of(folder, steps=steps, **change), tmp_path / "changed")
    assert len(changed) == len(straight) == 5
    np.testing.assert_allclose(changed, straight, rtol=2e-3)
    assert changed[2:] != straight[2:]
    assert min(abs(a - b) for i, a in enumerate(straight) for b in straight[:i]) > 0.005


@pytest.mark.slow
def test_images_then_clips_on_another_mesh(folder, tmp_path):
    images = latents(tmp_path / "images", IMAGES, seed=1)
    first = experiment_of(images, rows=8)
    run(first, tmp_path / "first")
    second = experiment_of(
        folder,
        steps=2,
        packing=PackingConfig(4, 48, 128, 8, 16),
        mesh=MeshConfig(1, 2, 2, 2),
        noise_levels=dataclasses.replace(first.noise_levels, shift=3.0),
        init_from=str(tmp_path / "first"),
    )
    task, data = diffusion_run(second, tmp_path / "second")
    assert isinstance(task, DiffusionTask)
    kept = {}

    class Kept(DiffusionTask):
        def first_state(self):
            state = task.first_state()
            kept.update(jax.device_get({"ema": state.ema, "step": state.step}))
            return state

    state = loop.train(Kept(second), tmp_path / "second", data)
    with jax.set_mesh(jax.make_mesh((8, 1, 1, 1), ("data", "fsdp", "context", "tensor"))):
        wanted = load_diffusion_run(tmp_path / "first")
    assert wanted.step == 4 and kept["step"] == 0
    jax.tree.map(np.testing.assert_array_equal, kept["ema"], wanted.params)
    assert int(state.step) == 2 and saved_steps(tmp_path / "second") == [2]
    with pytest.raises(ValueError, match="latents of other clips"):
        run(dataclasses.replace(first, data=folder), tmp_path / "first")
    with pytest.raises(ValueError, match="has taken 2 steps, and config.optimizer.steps is 1: rai"):
        shorter = dataclasses.replace(second.optimizer, steps=1)
        run(dataclasses.replace(second, optimizer=shorter), tmp_path / "second")


def test_a_run_goes_on_without_damaged_clips_and_counts_them(tmp_path, monkeypatch):
    data = latents(tmp_path / "data", [*SIZES, (13, 4, 4, 2)])  # the last is longer than a row
    read, bad = Latents.__getitem__, {1, 2}

    def damaged(self, index):
        if index in bad:
            raise ValueError(f"record {index} is damaged")
        return read(self, index)

    monkeypatch.setattr(Latents, "__getitem__", damaged)
    room = dataclasses.replace(experiment_of(data).packing, max_bad_share=2.5 / len(SIZES))
    experiment = experiment_of(data, steps=5, packing=room)
    state, losses = run(experiment, tmp_path / "run", Sums)
    assert int(state.step) == 5 and np.isfinite(losses).all()
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    counts = [line["bad_clips"] for line in lines]
    assert counts == sorted(counts) and counts[-1] == 2  # those of all processes, a step later
    assert {line["cut_clips"] for line in lines} == {1} and lines[0]["large_clips"] == 0
    bad.update(range(3, 9))
    with pytest.raises(ValueError, match="clips are damaged, more than config.packing.max_bad_sh"):
        run(experiment, tmp_path / "other", Sums)


def test_evaluations_come_at_their_interval_and_at_the_end():
    done = []
    evaluations = [
        Evaluation(every, lambda state, name=name: done.append(name) or {name: 1.0})
        for name, every in (("often", 2), ("rarely", 4), ("never", 0))
    ]
    task = DiffusionTask(experiment_of("", steps=7), evaluations=evaluations)
    both = ["often", "rarely"]
    wanted = {1: [], 2: ["often"], 3: [], 4: both, 6: ["often"], 7: both}
    for step, names in wanted.items():
        done.clear()
        state = Sums(task.experiment).init_state()._replace(step=jnp.int32(step))
        assert task.evaluate(state) == dict.fromkeys(names, 1.0) and done == names


def test_processes_compare_their_programs(monkeypatch):
    compared = []
    monkeypatch.setattr(loop, "check_agreement", lambda values, remedy: compared.append(values))
    step = jax.jit(lambda x: x + 1)
    for count, times in ((1, 0), (2, 1), (4, 1)):
        compared.clear()
        monkeypatch.setattr(jax, "process_count", lambda count=count: count)
        loop._check_program(step, np.float32(1))
        assert len(compared) == times and all("add" in c["the program"] for c in compared)
