"""What the loop refuses before it starts; a stopped run on a sharded mesh goes on bit for bit."""

import dataclasses
import json

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.kernels import products
from sora_jax.models.discriminator import DiscriminatorConfig
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.processes import batch_share
from sora_jax.rows import PackingConfig
from sora_jax.sharding import MeshConfig, make_mesh
from sora_jax.training import loop
from sora_jax.training.checkpoint_io import saved_steps
from sora_jax.training.diffusion_task import DiffusionTask
from sora_jax.training.experiments import CropConfig, DiffusionExperiment, LoopConfig, VAEExperiment
from sora_jax.training.guard import guard
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.run_folder import load_experiment, read_metrics
from sora_jax.training.task import TrainingData
from sora_jax.training.vae_loss import VAELossConfig
from sora_jax.training.vae_task import VAETask
from sora_jax.types import TrainState
from tests.tiny import CAPACITY, MODEL, random_batch

TASKS = {DiffusionExperiment: DiffusionTask, VAEExperiment: VAETask}


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (
            DiffusionExperiment("", packing=PackingConfig(rows=12)),
            "config.packing.rows makes batches of 12, which 8 shards cannot share",
        ),
        (
            DiffusionExperiment("", packing=PackingConfig(rows=6), mesh=MeshConfig(tensor=2)),
            "batches of 6, which 4 shards cannot share",
        ),
        (
            VAEExperiment("", crops=(CropConfig(8), CropConfig(4))),
            "config.crops makes batches of 4",
        ),
        (DiffusionExperiment("", mesh=MeshConfig(data=3)), "needs 3 devices and 8 are present"),
    ],
    ids=["rows", "tensor", "crops", "mesh"],
)
def test_batches_that_devices_cannot_share_are_named(tmp_path, experiment, message):
    nothing = TrainingData(lambda share: grain.MapDataset.source([0]))
    with pytest.raises(ValueError, match=message):
        loop.train(TASKS[type(experiment)](experiment), tmp_path, nothing)


OPTIMIZER = OptimizerConfig(steps=4, warmup_steps=1, learning_rate=0.01)
LOOP = LoopConfig(save_every=2, log_every=1)
WORLD_MODEL = DiffusionExperiment(
    "",
    model=MODEL,
    packing=PackingConfig(2, *CAPACITY),
    mesh=MeshConfig(-1, 2, 2, 2),
    optimizer=dataclasses.replace(OPTIMIZER, name="muon"),
    loop=LOOP,
)
AUTOENCODER = VAEExperiment(
    "",
    model=CellVAEConfig(4, 2, 4, 8, 1, 1),
    crops=(CropConfig(8, 3, 16, 16),),
    loss=VAELossConfig(
        adversarial=0.5, adversarial_start=1, discriminator=DiscriminatorConfig(4, 2)
    ),
    optimizer=OPTIMIZER,
    loop=LOOP,
)


def run(experiment, folder, batches, stop=5):
    """Trains; the run is stopped when it would show so many lines of progress."""
    calls = iter(range(1, stop + 1))

    class Stopped(TASKS[type(experiment)]):
        def describe(self, metrics):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return ""

    data = grain.MapDataset.source(batches)
    named = TrainingData(lambda share: data, name_clips=lambda number: [f"clip {number}"])
    return loop.train(Stopped(experiment), folder, named)


@pytest.mark.parametrize("name", ["world model", "autoencoder"])
def test_a_stopped_sharded_run_ends_as_a_straight_one(tmp_path, name):
    rng = np.random.default_rng(0)
    if name == "world model":
        experiment, batches = WORLD_MODEL, [random_batch(rng, 2) for _ in range(4)]
    else:
        experiment = AUTOENCODER
        batches = list(np.tanh(rng.standard_normal((4, 8, 3, 16, 16, 3), np.float32)))

    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path / "stopped", batches, stop=3)
    resumed, straight = (run(experiment, tmp_path / f, batches) for f in ("stopped", "straight"))
    assert int(resumed.step) == 4
    lines = (tmp_path / "stopped" / "metrics.jsonl").read_text()
    assert lines == (tmp_path / "straight" / "metrics.jsonl").read_text()
    spread = set()
    for (path, a), b in zip(
        jax.tree.leaves_with_path(resumed), jax.tree.leaves(straight), strict=True
    ):
        leaf = jax.tree_util.keystr(path)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=leaf)
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim), leaf
        spread |= {axis for axis in a.sharding.spec if axis}
    assert bool(spread) == (name == "world model")  # an autoencoder's weights are replicated
    assert ("discriminator" in straight.opt_state) == (name == "autoencoder")
    name = "mlp_dim" if name == "world model" else "width"
    other = dataclasses.replace(experiment.model, **{name: 32})
    with pytest.raises(ValueError, match=f"holds a run with another config.model.{name}, "):
        run(dataclasses.replace(experiment, model=other), tmp_path / "straight", batches)


@pytest.mark.slow
def test_a_run_keeps_the_products_that_it_began_with(tmp_path, monkeypatch, capsys):
    """Where it goes on rounding is slow, or was so on a busy processor: its numbers stay."""
    monkeypatch.setattr(loop, "make_mesh", lambda config: make_mesh(devices=jax.devices()[:1]))
    batches = [random_batch(np.random.default_rng(0), 2) for _ in range(4)]

    def train(folder, gain, setting="auto", stop=99):
        monkeypatch.setattr(products, "gain", lambda: gain)
        settings = dataclasses.replace(WORLD_MODEL.loop, products=setting)
        experiment = dataclasses.replace(WORLD_MODEL, loop=settings)
        with jax.default_matmul_precision(None):
            return run(experiment, tmp_path / folder, batches, stop)

    with pytest.raises(KeyboardInterrupt):
        train("stopped", gain=3.0, stop=3)
    resumed, straight = train("stopped", gain=0.5), train("straight", gain=3.0)
    exact = train("exact", gain=3.0, setting="float32")
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(straight), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name)] for name in ("straight", "exact")
    ]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.01)
    assert int(exact.step) == 4
    noted = [load_experiment(tmp_path / name).loop.products for name in ("stopped", "exact")]
    assert noted == ["bfloat16", "float32"]
    said = "config.loop.products is bfloat16, 3.0 times as fast as float32 here"
    assert capsys.readouterr().out.count(said) == 2


def test_evaluations_are_in_float32_and_one_that_fails_ends_no_run(tmp_path, monkeypatch, capsys):
    """They are as a command measures them."""
    monkeypatch.setattr(loop, "make_mesh", lambda config: make_mesh(devices=jax.devices()[:1]))
    seen = []

    class Evaluated(DiffusionTask):
        def evaluate(self, state):
            seen.append(products.rounds_factors())
            raise ValueError("video 3 is not finite")

        def train_step(self, *arguments):
            assert products.rounds_factors()
            return super().train_step(*arguments)

    settings = dataclasses.replace(LOOP, products="bfloat16")
    steps = dataclasses.replace(OPTIMIZER, steps=1)
    experiment = dataclasses.replace(WORLD_MODEL, loop=settings, optimizer=steps)
    data = grain.MapDataset.source([random_batch(np.random.default_rng(0), 2)])
    for runs in (1, 2):  # the second one finds that it is missing
        loop.train(Evaluated(experiment), tmp_path, TrainingData(lambda share: data))
        assert capsys.readouterr().err.count("step 1 is not evaluated: video 3 is not fin") == 1
        assert seen == [False] * runs


def spoil(batch, value):
    """The batch with one number that is not finite."""
    patches = batch.patches.copy()
    patches[0, 0, 0] = value
    return batch._replace(patches=patches)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing_but_its_number(value):
    task, good = DiffusionTask(WORLD_MODEL), random_batch(np.random.default_rng(0), 2)
    mesh = make_mesh(WORLD_MODEL.mesh)
    share = batch_share(mesh, task.batch_specs())
    with jax.set_mesh(mesh):
        state, step = task.first_state(), jax.jit(guard(task.train_step))
        for batch, skipped in ((good, 0), (spoil(good, value), 1)):
            new, values = step(state, share.place(batch, task.batch_specs()), {})
            assert (int(values["skipped"]), int(new.step)) == (skipped, 1)
            pairs = zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True)
            changed = [a for a, b in pairs if not np.array_equal(a, b)]
            assert len(changed) == 1 if skipped else len(changed) > 10


def test_a_discriminator_that_is_not_finite_is_not_kept():
    """Though the autoencoder's own loss and gradient are: it is too late to see it a step later."""

    def step(state):
        spoilt = {"network": jnp.ones(3), "discriminator": jnp.array([1.0, jnp.nan])}
        metrics = {"loss": jnp.float32(1), "gradient_norm": jnp.float32(1)}
        return state._replace(step=state.step + 1, opt_state=spoilt), metrics

    moments = {"network": jnp.zeros(3), "discriminator": jnp.zeros(2)}
    state = TrainState(jnp.int32(4), {}, {}, moments, jnp.zeros(2, jnp.uint32), {})
    new, values = guard(step)(state)
    assert (int(new.step), int(values["skipped"])) == (5, 1)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(new.opt_state))


@pytest.mark.slow
def test_a_run_that_diverges_stops_with_its_last_good_state_saved(tmp_path):
    rng = np.random.default_rng(0)
    good = [random_batch(rng, 2) for _ in range(12)]
    bad = [spoil(batch, np.nan) for batch in good]
    experiment = dataclasses.replace(
        WORLD_MODEL,
        optimizer=dataclasses.replace(OPTIMIZER, steps=12),
        loop=dataclasses.replace(LOOP, max_skipped=2, save_every=50),
    )

    def read_lines():
        return [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]

    message = "4 steps in a row, to step 8, were not finite or spikes: they"
    with pytest.raises(ValueError, match=message):
        run(experiment, tmp_path, [good[0], bad[1], *good[2:4], *bad[4:]], stop=99)
    assert [line["skipped"] for line in read_lines()] == [0, 1, 1, 1, 2, 3, 4, 5]
    notes = [json.loads(x) for x in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [note["clips"] for note in notes] == [[f"clip {i}"] for i in (1, 4, 5, 6, 7)]
    assert notes[0] == {"step": 2, "reason": "not finite", "clips": ["clip 1"]}
    assert [line["loss"] is None for line in read_lines()] == [0, 1, 0, 0, 1, 1, 1, 1]
    assert saved_steps(tmp_path)[-1] == 8
    with pytest.raises(ValueError, match="4 steps in a row, to step 12"):  # nothing new to save
        run(experiment, tmp_path, bad, stop=99)
    assert saved_steps(tmp_path)[-1] == 8
    ended = run(experiment, tmp_path, good, stop=99)
    assert int(ended.step) == 12 and read_lines()[-1]["skipped"] == 5
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ended.params))
    assert np.isfinite(read_lines()[-1]["loss"])
