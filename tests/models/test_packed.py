"""Packed rows equal each segment alone; nothing crosses segments; sharded equals one device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax import sharding
from sora_jax.kernels import attention
from sora_jax.models import dit
from sora_jax.models.dit import DiT, DiTConfig
from sora_jax.models.dit_block import Conditioning, gather_levels, take_levels
from sora_jax.models.layers import apply_blocks, stack
from sora_jax.models.rope import rope_angles, rotation
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.rows import PackingConfig, batch_specs, make_segment, pack_row, stack_rows
from sora_jax.sharding import SHARDING
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import DiffusionExperiment

MODEL = DiTConfig(
    latent_channels=3,
    width=48,
    depth=2,
    heads=4,
    mlp_dim=64,
    time_embed_dim=16,
    rope_base=50.0,
    input_skip=True,
    absolute_positions=True,
    pooled_text=True,
    text=TextEncoderConfig(vocabulary=32, width=16, depth=1, heads=4),
)
PLAIN = dataclasses.replace(
    MODEL, input_skip=False, absolute_positions=False, pooled_text=False
)  # as Wan's
EXPERIMENT = DiffusionExperiment(data="", model=MODEL, prediction="v")
SHAPES = [(1, 2, 2), (3, 4, 2), (2, 2, 6), (5, 2, 2)]  # images and clips, tall and wide
CAPACITY = (32, 16, 6)


def mesh_of(*sizes):
    return jax.make_mesh(
        sizes,
        sharding.AXES,
        axis_types=(jax.sharding.AxisType.Explicit,) * 4,
        devices=jax.devices()[: int(np.prod(sizes))],
    )


def segments(seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for i, shape in enumerate(SHAPES):
        latent = rng.normal(size=(*shape, 3)).astype(np.float32)
        text = rng.integers(3, 32, 2 + i).tolist()
        segment = make_segment(latent, 8.0, text, MODEL.patch, 0.7)
        known = rng.uniform(size=len(segment.patches)) < (0.3 if i == 1 else 0)
        made.append(dataclasses.replace(segment, known=known))
    return made


ROWS = 8  # of every batch, the last ones of padding: programs of one shape compile once


LEVELS = np.array([0.9, 0.35, 0.6, 0.15], np.float32)


def noised(rows, numbers, noises, capacity=CAPACITY):
    """A batch of rows, with each segment's own level and noise."""
    packed = [pack_row(row, capacity, MODEL.patch_width) for row in rows]
    batch = stack_rows(packed, ROWS)
    noise = np.zeros_like(batch.patches)
    for r, row in enumerate(numbers):
        batch.levels[r, 1 : 1 + len(row)] = LEVELS[row]
        together = np.concatenate([noises[i] for i in row])
        noise[r, : len(together)] = together
    return batch, noise


def random_params(model):
    """Weights in which nothing is zero: at init gates and heads would hide every mistake."""
    rng = np.random.default_rng(0)
    with jax.set_mesh(mesh_of(1, 1, 1, 1)):
        like = jax.eval_shape(lambda: dit.init_params(jax.random.key(0), model))
    return jax.tree.map_with_path(
        lambda path, a: np.float32(0.15 * rng.normal(size=a.shape) + (path[-1].key == "scale")),
        like,
    )


@pytest.fixture(scope="module")
def params():
    return random_params(MODEL)


VALUE_AND_GRADIENTS = jax.jit(jax.value_and_grad(diffusion_task.loss), static_argnums=1)


def loss_and_gradients(
    params, batch, noise, mesh=(1, 1, 1, 1), experiment=EXPERIMENT, run=VALUE_AND_GRADIENTS
):
    with jax.set_mesh(mesh_of(*mesh)):
        like = jax.eval_shape(lambda: dit.init_params(jax.random.key(0), experiment.model))
        params = sharding.shard(params, jax.tree.map(lambda a: a.sharding.spec, like))
        specs = batch_specs()
        batch, noise = sharding.shard((batch, noise), (specs, specs.patches))
        value, gradients = run(params, experiment, batch, noise)
        for (path, p), g in zip(
            jax.tree.leaves_with_path(params), jax.tree.leaves(gradients), strict=True
        ):
            assert g.sharding.spec == p.sharding.spec, path
        return float(value), jax.tree.map(np.asarray, gradients)


def assert_close(a, b, tolerance=2e-5):
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        # The gradient of a key's bias is 0 but for rounding: softmax does not see it.
        scale = max(np.abs(y).max(), 1e-2)
        np.testing.assert_allclose(
            x / scale, y / scale, atol=tolerance, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize("model", [MODEL, PLAIN], ids=["ours", "plain"])
def test_packed_equals_each_segment_alone(model):
    params, experiment = random_params(model), dataclasses.replace(EXPERIMENT, model=model)
    made, rng = segments(), np.random.default_rng(1)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    packed = noised(
        [[made[i] for i in (2, 0)], [made[i] for i in (1, 3)]], [[2, 0], [1, 3]], noises
    )
    value, gradients = loss_and_gradients(params, *packed, experiment=experiment)
    total, weight, summed = 0.0, 0.0, jax.tree.map(np.zeros_like, gradients)
    for i, segment in enumerate(made):
        # Another capacity too: neither padding nor the row's length may matter.
        alone = noised([[segment]], [[i]], noises, (24, 8, 2))
        v, g = loss_and_gradients(params, *alone, experiment=experiment)
        total, weight = total + segment.weight * v, weight + segment.weight
        summed = jax.tree.map(lambda a, b, w=segment.weight: a + w * b, summed, g)
    np.testing.assert_allclose(value, total / weight, rtol=1e-5)
    assert_close(gradients, jax.tree.map(lambda a: a / weight, summed))


def test_the_order_of_segments_changes_nothing(params):
    made, rng = segments(), np.random.default_rng(2)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    order = [[3, 1, 0, 2]], [[0, 1, 2, 3]]
    values = [
        loss_and_gradients(params, *noised([[made[i] for i in o[0]]], o, noises)) for o in order
    ]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-5)
    assert_close(values[0][1], values[1][1])


def test_no_information_crosses_segments(params):
    made, rng = segments(), np.random.default_rng(3)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    batch, noise = noised([made], [[0, 1, 2, 3]], noises)
    with jax.set_mesh(mesh_of(1, 1, 1, 1)):
        here = jnp.asarray(batch.segment_ids == 2)[..., None]
        on_device = sharding.shard(batch, batch_specs())

        @jax.jit
        def reach(x, table):
            def output(x, table):
                moved = jax.tree.map(jnp.asarray, params)
                moved["text_encoder"]["table"] = table
                return jnp.sum(jnp.where(here, dit.apply(MODEL, moved, x, on_device), 0) ** 2)

            return jax.grad(output, (0, 1))(x, table)

        by_patch, by_word = reach(jnp.asarray(noise), jnp.asarray(params["text_encoder"]["table"]))
    by_patch = np.abs(by_patch).max(-1)[0]
    assert (by_patch[batch.segment_ids[0] == 2] > 0).all()
    assert not by_patch[batch.segment_ids[0] != 2].any()
    own = set(batch.text[0][batch.text_segment_ids[0] == 2].tolist())
    used = set(np.flatnonzero(np.abs(by_word).max(-1)).tolist())
    assert used == own


@pytest.fixture
def splash(monkeypatch):
    """The TPU's kernel, run as plain JAX."""
    kernel, calls = attention.splash_attention, []

    def run(*inputs):
        calls.append(inputs)
        return kernel(*inputs, interpret=True)

    monkeypatch.setattr(attention, "platform", lambda: "tpu")
    monkeypatch.setattr(attention, "splash_attention", run)
    yield
    assert calls


@pytest.mark.parametrize("mesh", [(1, 2, 2, 2), (1, 1, 8, 1)], ids=str)
def test_splash_equals_the_reference(params, request, mesh):
    made, rng = segments(), np.random.default_rng(4)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    numbers = [[i % 4, (i + 1) % 4] for i in range(4)]
    packed = noised([[made[i] for i in row] for row in numbers], numbers, noises)
    value, gradients = loss_and_gradients(params, *packed)
    request.getfixturevalue("splash")
    fresh = jax.jit(jax.value_and_grad(diffusion_task.loss), static_argnums=1)
    found, found_gradients = loss_and_gradients(params, *packed, mesh=mesh, run=fresh)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    assert_close(found_gradients, gradients)


# With four heads, the last gathers keys where the others spread heads.
MESHES = [(8, 1, 1, 1), (1, 8, 1, 1), (1, 2, 2, 2), (2, 1, 4, 1), (1, 1, 4, 2)]


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_sharded_equals_one_device(params, mesh):
    made, rng = segments(), np.random.default_rng(4)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    numbers = [[i % 4, (i + 1) % 4] for i in range(8)]
    packed = noised([[made[i] for i in row] for row in numbers], numbers, noises)
    value, gradients = loss_and_gradients(params, *packed)
    sharded, sharded_gradients = loss_and_gradients(params, *packed, mesh=mesh)
    np.testing.assert_allclose(sharded, value, rtol=1e-5)
    assert_close(sharded_gradients, gradients)


CHANGES = (
    *({"remat": name} for name in ("dots", "attention", "full")),
    *({"unroll": True}, {"unroll": True, "remat": "full"}),
)


@pytest.mark.parametrize("change", CHANGES)
def test_remat_and_unrolling_change_nothing(params, change):
    made, rng = segments(), np.random.default_rng(5)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    packed = noised([made], [[0, 1, 2, 3]], noises)
    plain = loss_and_gradients(params, *packed)
    again = dataclasses.replace(EXPERIMENT, model=dataclasses.replace(MODEL, **change))
    value, gradients = loss_and_gradients(params, *packed, experiment=again)
    np.testing.assert_allclose(value, plain[0], rtol=1e-6)
    assert_close(gradients, plain[1])


@pytest.mark.parametrize("unroll", [False, True])
def test_what_is_recomputed_is_kept_apart_only_where_it_could_be_merged(unroll):
    """Within a loop's body there is nothing to merge it with, and barriers cost TPUs copies."""

    class Scale(nnx.Module):
        def __init__(self, rngs):
            self.weight = nnx.Param(jax.random.normal(rngs.params(), (3,)))

        def __call__(self, x):
            return jnp.sin(x * self.weight[...][None])

    blocks, policy = stack(Scale, 2, nnx.Rngs(0)), jax.checkpoint_policies.nothing_saveable
    run = lambda x: jnp.sum(apply_blocks(blocks, x, policy=policy, unroll=unroll))  # noqa: E731
    text = jax.jit(jax.grad(run)).lower(jnp.ones((2, 3))).as_text()
    assert ("optimization_barrier" in text) == unroll


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_levels_by_product_are_the_rows_of_the_table(dtype):
    rng = np.random.default_rng(0)
    table, ids = rng.normal(size=(2, 7, 16)), rng.integers(7, size=(2, 50))
    by_row = np.stack([t[i] for t, i in zip(table, ids, strict=True)])
    with jax.set_mesh(mesh_of(2, 1, 1, 1)):
        table = jax.sharding.reshard(table.astype(np.float32), SHARDING.act_bed)
        ids = jax.sharding.reshard(ids.astype(np.int32), SHARDING.act_bl)
        found = gather_levels(table, ids, jnp.dtype(dtype))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, by_row.astype(np.float32).astype(dtype))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 2, 1, 1), (1, 2, 2, 2)])
def test_levels_by_index_are_those_by_product(shape):
    """GPUs read the table by index; the gradient's products are in bfloat16."""
    rng = np.random.default_rng(0)
    table, weights = rng.normal(size=(4, 7, 16)), rng.normal(size=(4, 50, 16))
    ids = rng.integers(7, size=(4, 50))
    by_row = np.stack([t[i] for t, i in zip(table, ids, strict=True)])
    gradient = np.zeros_like(table)
    for row in range(4):
        np.add.at(gradient[row], ids[row], weights[row])
    with jax.set_mesh(mesh_of(*shape)):
        args = (
            jax.sharding.reshard(a.astype(d), s)
            for a, d, s in (
                (table, np.float32, SHARDING.act_bed),
                (ids, np.int32, SHARDING.act_bl),
                (weights, np.float32, SHARDING.act_bld),
            )
        )

        @jax.jit
        def pulled(table, ids, weights):
            out, pull = jax.vjp(lambda table: take_levels(table, ids), table)
            return out, *pull(weights)

        out, by_table = pulled(*args)
    np.testing.assert_array_equal(out, by_row.astype(np.float32))
    np.testing.assert_allclose(by_table, gradient, atol=0.01 * np.abs(gradient).max())


def test_parameters_are_sharded_as_configured_and_nothing_else_is_in_the_model():
    with jax.set_mesh(mesh_of(1, 2, 2, 2)):
        model = DiT(MODEL, nnx.Rngs(0))
        _, params, rest = nnx.split(model, nnx.Param, ...)
        assert jax.tree.leaves(params) and not jax.tree.leaves(rest)
        block = model.blocks.self_attention
        assert jax.typeof(block.query.kernel[...]).sharding.spec == jax.P(None, *SHARDING.w_dnk)
        assert jax.typeof(block.out.kernel[...]).sharding.spec == jax.P(None, *SHARDING.w_nkd)
        state = jax.jit(
            lambda: diffusion_task.init_state(
                dataclasses.replace(EXPERIMENT, packing=PackingConfig(8, 32, 16, 6))
            )
        )()
        moments = state.opt_state[1][0].mu
        for p, m in zip(jax.tree.leaves(state.params), jax.tree.leaves(moments), strict=True):
            assert p.sharding == m.sharding


def test_blocks_start_as_the_identity_and_the_model_as_zero():
    with jax.set_mesh(mesh_of(1, 1, 1, 1)):
        params = jax.jit(dit.init_params, static_argnums=1)(jax.random.key(0), MODEL)
        model = dit.NETWORK.bind(MODEL, params)
        batch, noise = noised([segments()], [[0, 1, 2, 3]], [s.patches for s in segments()])
        batch = sharding.shard(batch, batch_specs())
        assert not np.asarray(jax.jit(model)(jnp.asarray(noise), batch)).any()
        x = jax.random.normal(jax.random.key(0), (ROWS, CAPACITY[0], MODEL.width))
        text = jax.random.normal(jax.random.key(1), (ROWS, CAPACITY[1], MODEL.width))
        x, text = (
            jax.sharding.reshard(a, s) for a, s in ((x, SHARDING.act_bld), (text, SHARDING.act_bsd))
        )
        table = jnp.zeros((ROWS, CAPACITY[2] + 1, 6, MODEL.width), out_sharding=SHARDING.act_be6d)
        turn = rotation(rope_angles(batch.positions, MODEL.width // MODEL.heads))
        segments_and_text = (batch.segment_ids, text, batch.text_segment_ids)
        row = Conditioning(table, batch.level_ids, *segments_and_text, None, turn, 6)
        passed = jax.jit(lambda x: apply_blocks(model.blocks, x, row))(x)
        np.testing.assert_array_equal(passed, x)


@pytest.mark.parametrize("model", [MODEL, PLAIN], ids=["ours", "plain"])
def test_only_the_absolute_embedding_tells_equal_patches_apart(model):
    """Rotary attention mixes equals to the same: what `DiTConfig.absolute_positions` is for."""
    params = random_params(model)
    batch, _ = noised([segments()], [[0, 1, 2, 3]], [s.patches for s in segments()])
    with jax.set_mesh(mesh_of(1, 1, 1, 1)):
        batch = sharding.shard(batch, batch_specs())
        same = jnp.ones_like(batch.patches)
        out = np.asarray(jax.jit(dit.apply, static_argnums=0)(model, params, same, batch))
    clip = out[0, np.asarray(batch.segment_ids[0]) == 4]  # 5 frames of one patch
    moved = np.abs(clip - clip[0]).max()
    assert moved > 0.1 if model.absolute_positions else moved < 1e-4


def test_bfloat16_is_float32_but_for_its_rounding(params):
    made, rng = segments(), np.random.default_rng(7)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    packed = noised([made], [[0, 1, 2, 3]], noises)
    value, gradients = loss_and_gradients(params, *packed)
    half = dataclasses.replace(EXPERIMENT, model=dataclasses.replace(MODEL, dtype="bfloat16"))
    rounded, rounded_gradients = loss_and_gradients(params, *packed, experiment=half)
    assert rounded != value
    np.testing.assert_allclose(rounded, value, rtol=0.03)
    norms = [
        np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(t)))
        for t in (jax.tree.map(np.subtract, rounded_gradients, gradients), gradients)
    ]
    assert norms[0] < 0.1 * norms[1]
    assert all(g.dtype == np.float32 for g in jax.tree.leaves(rounded_gradients))


def test_known_patches_do_not_count(params):
    made, rng = segments(), np.random.default_rng(6)
    noises = [rng.normal(size=s.patches.shape).astype(np.float32) for s in made]
    batch, noise = noised([made], [[0, 1, 2, 3]], noises)
    assert batch.known.any()
    value, _ = loss_and_gradients(params, batch, noise)
    # Known patches stand at level 0, so their noise is not seen, and their error is not counted.
    other = np.where(batch.known[..., None], 9.0, noise).astype(np.float32)
    assert loss_and_gradients(params, batch, other)[0] == value
