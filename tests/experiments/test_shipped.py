"""The parts of `experiments.train_shipped` against the pipeline that users train with."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.shipped import feed, transformer, weights
from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig
from sora_jax.rows import PackingConfig, batch_specs, make_segment, pack_row, stack_rows
from sora_jax.sharding import auto_axes
from sora_jax.training.experiments import DiffusionExperiment

PACKING = PackingConfig(rows=2, rows_per_device=2, tokens=512, text_tokens=64, segments=6)
GRIDS = np.array([[5, 4, 4], [1, 4, 6], [9, 3, 6], [1, 4, 4]], np.int32)
END = 1
CHANNELS = 3


def make_rows(seed=0):
    """Two rows of clips whose latents lie in one store, with gaps."""
    rng, rows, start = np.random.default_rng(seed), [], 7
    for order in ([0, 1, 2, 3], [2, 3, 0]):
        grids, sizes = GRIDS[order], GRIDS[order].prod(1)
        starts = (start + sizes.cumsum() - sizes).astype(np.int32)
        start += sizes.sum() + 5
        texts = [(rng.integers(3, 99, 3), rng.integers(3, 99, 6)) for _ in order]
        rows.append(feed.Row(starts, grids, np.float32([8, 8, 10, 8][: len(order)]), texts))
    return rows, rng.normal(size=(start, CHANNELS)).astype(np.float16)


def assembled(plan, store):
    def run(store, plan):
        return feed.assemble(store, plan, PACKING.tokens)

    return jax.jit(auto_axes(run, out_sharding=batch_specs()))(store, plan)


@pytest.mark.usefixtures("one_device")
def test_rows_that_the_device_assembles_are_those_of_pack_row():
    rows, store = make_rows()
    plan = feed.plan_step(rows, PACKING, END, np.random.default_rng(0))
    batch = assembled(plan, store)
    packed = []
    for number, row in enumerate(rows):
        segments = []
        for i, (start, grid, fps) in enumerate(zip(row.starts, row.grids, row.fps, strict=True)):
            latent = store[start : start + grid.prod()].reshape(*grid, CHANNELS)
            text = plan.text[number][plan.text_segment_ids[number] == i + 1]
            segments.append(make_segment(latent, float(fps), text, (1, 1, 1), 1.0))
        packed.append(pack_row(segments, PACKING.capacity, CHANNELS))
    wanted = stack_rows(packed, PACKING.rows)
    for name in wanted._fields:
        np.testing.assert_allclose(getattr(batch, name), getattr(wanted, name), rtol=1e-6)


def test_captions_are_the_short_the_detailed_or_none():
    rows, _ = make_rows()
    rng, seen = np.random.default_rng(0), np.zeros(3)
    for _ in range(300):
        plan = feed.plan_step(rows, PACKING, END, rng)
        for row, text, ids in zip(rows, plan.text, plan.text_segment_ids, strict=True):
            for i, texts in enumerate(row.texts):
                options = (*texts, [END])
                (which,) = [k for k in range(3) if np.array_equal(text[ids == i + 1], options[k])]
                seen[which] += 1
    np.testing.assert_allclose(seen / seen.sum(), feed.CAPTIONS, atol=0.03)


def test_weights_come_back_from_files_of_all_kinds(tmp_path):
    rng = np.random.default_rng(0)
    tree = {
        "kernel": rng.normal(size=(3, 64, 40)).astype(np.float32),
        "blocks": {0: {"bias": rng.normal(size=40).astype(np.float32)}},
        "scale": np.float32(2.5),
    }
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), jnp.float32), tree)
    weights.save(tmp_path / "whole.safetensors", tree)
    weights.save_halves(tmp_path, "cut", tree)
    weights.save_8bit(tmp_path / "small.safetensors", tree)
    halves = (tmp_path / f"cut-{i}.safetensors" for i in range(2))
    for paths, tolerance in (
        ((tmp_path / "whole.safetensors",), 2e-3),
        (tuple(halves), 2e-3),
        ((tmp_path / "small.safetensors",), 2e-2),
    ):
        read = weights.load(like, *paths)
        assert jax.tree.structure(read) == jax.tree.structure(tree)
        for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(tree), strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)
    with pytest.raises(ValueError, match="no tensor other: it is of another model"):
        weights.load({"other": like["kernel"]}, tmp_path / "whole.safetensors")


@pytest.mark.usefixtures("one_device")
def test_a_trained_transformer_is_unpacked_from_files_in_the_order_of_releases(tmp_path):
    model = DiTConfig(4, width=24, depth=2, heads=4, mlp_dim=8)  # heads of six channels
    trained = transformer.Transformer(DiffusionExperiment("", model), END, print)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: np.float32(rng.normal(size=a.shape)), dit.shapes(model))
    trained.state = types.SimpleNamespace(ema=params)
    weights.save(tmp_path / "dit.safetensors", trained.result())
    loaded = weights.load_transformer(dit.shapes(model), tmp_path / "dit.safetensors")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), loaded, params)
    bias = load_file(tmp_path / "dit.safetensors")["blocks/self_attention/key/bias"]
    ours = params["blocks"]["self_attention"]["key"]["bias"]
    np.testing.assert_array_equal(bias, ours[..., [0, 3, 1, 4, 2, 5]])
