"""Micro-batches give the gradient of the whole batch; every shard has a part of each."""

import dataclasses
import re

import grain
import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.models import dit
from sora_jax.rows import PackedBatch, PackingConfig, batch_specs, make_segment, pack_row
from sora_jax.sharding import P
from sora_jax.training import diffusion_task, loop, micro_batches
from sora_jax.training.experiments import DiffusionExperiment, parse
from sora_jax.training.known_patches import KnownPatchesConfig
from sora_jax.training.micro_batches import split_rows
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.task import TrainingData
from tests.tiny import MODEL, random_params

ROWS, CAPACITY, MESH = 8, (24, 4, 3), sharding.MeshConfig(2, 1, 2, 2)
EXPERIMENT = DiffusionExperiment(
    "",
    model=MODEL,
    known=KnownPatchesConfig(first=0.3, prefix=0.3, inside=0.3),
    packing=PackingConfig(ROWS, *CAPACITY),
    mesh=MESH,
)


def with_parts(parts):
    return dataclasses.replace(EXPERIMENT, optimizer=OptimizerConfig(micro_batches=parts))


def unequal_batch():
    """Rows of different clips; later rows of a shard weigh more, and the last one is padding."""
    rng, rows = np.random.default_rng(0), []
    for number in range(ROWS):
        sizes = ((2, 4, 4), (1, 2, 4))[: 1 + number % 2] if number < ROWS - 1 else ()
        latents = [rng.normal(size=(*size, MODEL.latent_channels)) for size in sizes]
        segments = [
            make_segment(z.astype(np.float32), 8.0, [1, 2], MODEL.patch, 1.0) for z in latents
        ]
        row = pack_row(segments, CAPACITY, MODEL.patch_width)
        rows.append(row._replace(weights=row.weights * (1 + 10 * (number % 4))))
    return PackedBatch(*(np.stack(field) for field in zip(*rows, strict=True)))


@pytest.fixture(scope="module")
def arguments():
    """Weights and a batch on the mesh."""
    with sharding.use_mesh(MESH):
        like = jax.eval_shape(lambda: dit.init_params(jax.random.key(0), MODEL))
        specs = jax.tree.map(lambda a: a.sharding.spec, like)
        params = sharding.shard(random_params(np.random.default_rng(1)), specs)
        yield params, sharding.shard(unequal_batch(), batch_specs())


@pytest.fixture(scope="module")
def drawn(arguments):
    """The batch with its known patches and levels, and its noise."""
    params, batch = arguments
    draw = jax.jit(diffusion_task.sample_noise, static_argnums=1)
    batch, noise = draw(jax.random.key(2), EXPERIMENT, batch)
    assert batch.known.any(1).sum() > 2  # in rows of several micro-batches
    return params, batch, noise


@pytest.fixture(scope="module")
def whole(drawn):
    params, batch, noise = drawn
    run = jax.jit(jax.value_and_grad(diffusion_task.loss), static_argnums=1)
    return run(params, EXPERIMENT, batch, noise)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_loss_and_gradients_are_those_of_the_whole_batch(drawn, whole, parts):
    params, batch, noise = drawn
    run = jax.jit(diffusion_task.loss_and_gradients, static_argnums=1)
    metrics, gradients = run(params, with_parts(parts), batch, noise)
    np.testing.assert_allclose(metrics["loss"], whole[0], rtol=1e-5)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(gradients), jax.tree.leaves(whole[1]), strict=True
    ):
        name, scale = jax.tree_util.keystr(path), max(np.abs(b).max(), 1e-2)
        assert a.sharding == b.sharding and a.dtype == np.float32, name
        np.testing.assert_allclose(a / scale, b / scale, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_step_draws_noise_for_the_whole_batch(arguments):
    params, batch = arguments
    found = []
    for parts in (1, 2):
        experiment = with_parts(parts)

        @jax.jit
        def step(params, batch, experiment=experiment):
            state = diffusion_task.init_state(experiment)._replace(params=params)
            return diffusion_task.train_step(state, batch, experiment)[1]

        found.append({name: float(value) for name, value in step(params, batch).items()})
    assert {"loss", "loss/level_0.25-0.5", "gradient_norm"} < found[0].keys()
    # Clips have 2 tokens or 8.
    finite = {name[12:]: np.isfinite(v) for name, v in found[0].items() if "/tokens_" in name}
    assert finite == {"1-1": False, "2-3": True, "4-7": False, "8-15": True, "16-24": False}
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-5, err_msg=name)


def test_a_micro_batch_has_a_part_of_each_shards_rows_and_moves_none():
    rows, parts, shards = 24, 3, 4
    with sharding.use_mesh(sharding.MeshConfig(2, 2, 2, 1)):
        array = sharding.put(np.arange(rows * 4.0).reshape(rows, 4), batch_specs().segment_ids)
        split = jax.jit(lambda a: split_rows(a, parts))
        found = split(array)
        assert jax.typeof(found).sharding.spec == P(None, *batch_specs().segment_ids)
        found, program = np.asarray(found), split.lower(array).compile().as_text()
    assert not re.search("all-|collective|reduce-scatter", program)
    by_shard = np.arange(rows).reshape(shards, parts, rows // shards // parts)
    for part in range(parts):
        np.testing.assert_array_equal(found[part, :, 0] / 4, by_shard[:, part].ravel())


def test_rows_that_do_not_divide_are_named(tmp_path):
    packing = PackingConfig(rows=8)
    experiment = dataclasses.replace(with_parts(4), packing=packing, mesh=sharding.MeshConfig(4, 2))
    task = diffusion_task.DiffusionTask(experiment)
    nothing = TrainingData(lambda share: grain.MapDataset.source([0]))
    message = (
        "batches of 8, which 8 shards of 4 micro-batches cannot share: give it a multiple of 32"
    )
    with pytest.raises(ValueError, match=message):
        loop.train(task, tmp_path, nothing)
    with pytest.raises(ValueError, match="rows 8 must be divisible by optimizer.micro_batches, 3"):
        dataclasses.replace(with_parts(3), packing=packing)
    with pytest.raises(ValueError, match="optimizer.micro_batches is 2: give an autoencoder 1"):
        parse({"experiment": "vae", "data": "x", "optimizer": {"micro_batches": 2}})


def test_a_loss_sees_a_part_of_the_rows_at_a_time():
    with sharding.use_mesh(MESH):
        batch = sharding.shard({"x": np.arange(16.0, dtype=np.float32)}, {"x": P("data")})
        for parts, rows in ((1, 16), (2, 8), (4, 4)):
            seen = set()

            def loss(weight, batch):
                seen.add(len(batch["x"]))  # noqa: B023
                return (weight["w"] * batch["x"]).sum(), batch["x"].max()

            compute = jax.jit(lambda w, b, n=parts: micro_batches.sum_gradients(loss, w, b, n))
            (total, _), gradient = compute({"w": np.float32(2)}, batch)
            assert seen == {rows} and total == 240 and gradient["w"] == 120
