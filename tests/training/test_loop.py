"""What the loop refuses before it starts; a stopped run on a sharded mesh goes on bit for bit."""

import dataclasses

import grain
import jax
import numpy as np
import pytest

from sora_jax.config import (
    CropConfig,
    DiffusionExperiment,
    LoopConfig,
    MeshConfig,
    PackingConfig,
    VAEExperiment,
)
from sora_jax.training import loop, step
from sora_jax.training.optimizer import OptimizerConfig
from tests.tiny import CAPACITY, MODEL, random_batch


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (
            DiffusionExperiment("", packing=PackingConfig(rows=12)),
            "config.packing.rows makes batches of 12, which 8 devices cannot share",
        ),
        (
            DiffusionExperiment("", packing=PackingConfig(rows=6), mesh=MeshConfig(tensor=2)),
            "batches of 6, which 4 devices cannot share",
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
    nothing = grain.MapDataset.source([0])
    with pytest.raises(ValueError, match=message):
        loop.train(experiment, tmp_path, nothing, lambda: None, lambda _: "")


def test_a_stopped_sharded_run_ends_as_a_straight_one(tmp_path):
    experiment = DiffusionExperiment(
        "",
        model=MODEL,
        packing=PackingConfig(2, *CAPACITY),
        mesh=MeshConfig(-1, 2, 2, 2),
        optimizer=OptimizerConfig("muon", steps=4, warmup=1, learning_rate=0.01),
        loop=LoopConfig(save_every=2, log_every=1),
    )
    rng = np.random.default_rng(0)
    batches = [random_batch(rng, 2) for _ in range(4)]

    def run(folder, stop=5):
        calls = iter(range(1, stop + 1))

        def describe(_):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return ""

        def init():
            return jax.jit(lambda: step.init_state(experiment))()

        data = grain.MapDataset.source(batches)
        return loop.train(experiment, tmp_path / folder, data, init, describe)

    with pytest.raises(KeyboardInterrupt):
        run("stopped", stop=3)
    resumed, straight = run("stopped"), run("straight")
    assert int(resumed.step) == 4
    lines = (tmp_path / "stopped" / "metrics.jsonl").read_text()
    assert lines == (tmp_path / "straight" / "metrics.jsonl").read_text()
    spread = set()
    for (path, a), b in zip(
        jax.tree.leaves_with_path(resumed), jax.tree.leaves(straight), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim), name
        spread |= {axis for axis in a.sharding.spec if axis}
    assert spread  # something was sharded at all
    other = dataclasses.replace(experiment, prediction="v")
    nothing = grain.MapDataset.source([0])
    with pytest.raises(ValueError, match="holds a run with another config.prediction"):
        loop.train(other, tmp_path / "straight", nothing, lambda: None, lambda _: "")
