"""The parts of `experiments.train_shipped` against the pipeline that users train with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.shipped import feed, weights
from sora_jax.rows import PackingConfig, batch_specs, make_segment, pack_row, stack_rows
from sora_jax.sharding import auto_axes

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


def assembled(plan, store, key):
    def run(store, plan, key):
        return feed.assemble(store, plan, PACKING.tokens, key)

    return jax.jit(auto_axes(run, out_sharding=batch_specs()))(store, plan, key)


@pytest.mark.usefixtures("one_device")
def test_rows_that_the_device_assembles_are_those_of_pack_row():
    rows, store = make_rows()
    plan = feed.plan_step(rows, PACKING, END, np.random.default_rng(0))
    batch = assembled(plan, store, jax.random.key(0))
    packed = []
    for number, row in enumerate(rows):
        segments = []
        for i, (start, grid, fps) in enumerate(zip(row.starts, row.grids, row.fps, strict=True)):
            latent = store[start : start + grid.prod()].reshape(*grid, CHANNELS)
            text = plan.text[number][plan.text_segment_ids[number] == i + 1]
            segments.append(make_segment(latent, float(fps), text, (1, 1, 1)))
        packed.append(pack_row(segments, PACKING.capacity, CHANNELS))
    wanted = stack_rows(packed, PACKING.rows)
    for name in ("patches", "positions", "remaining", "segment_ids", "text", "text_segment_ids"):
        np.testing.assert_allclose(getattr(batch, name), getattr(wanted, name), rtol=1e-6)
    ids = np.where(batch.known, batch.level_ids - PACKING.segments, batch.level_ids)
    np.testing.assert_array_equal(ids, wanted.level_ids)


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


@pytest.mark.usefixtures("one_device")
def test_known_patches_are_of_every_kind_and_never_all():
    rows, store = make_rows()
    plan = feed.plan_step(rows, PACKING, END, np.random.default_rng(0))
    kinds, levels = set(), []
    for seed in range(80):
        batch = assembled(plan, store, jax.random.key(seed))
        known, ids = np.asarray(batch.known), np.asarray(batch.segment_ids)
        assert known.dtype == bool and not known[ids == 0].any()
        levels += [np.asarray(batch.levels)]
        for r, row in enumerate(rows):
            for g, grid in enumerate(row.grids, 1):
                mask = known[r][ids[r] == g].reshape(grid)
                assert not mask.all()
                assert batch.weights[r, g - 1] == (~mask).sum()
                if grid[0] == 9:
                    kinds.add(kind_of(mask))
    assert kinds == {*feed.KINDS}
    levels = np.stack(levels)
    assert (levels[..., : 1 + PACKING.segments] == 0).all()
    drawn = levels[..., 1 + PACKING.segments :]
    assert 0.55 < (drawn == 0).mean() < 0.65 and 0.25 < drawn.max() <= feed.MAX_KNOWN_LEVEL


def kind_of(mask):
    """The name of a mask of known patches [9, h, w], by a rule of its own."""
    frames = mask.all((1, 2))
    if not mask.any():
        return "none"
    if (mask == frames[:, None, None]).all():
        text = "".join("01"[int(known)] for known in frames)
        if text == "1" + "0" * 7 + "1":
            return "ends"
        if text == "1" + "0" * 8:
            return "first"
        if text.startswith("1") and "01" not in text:
            return "prefix"
        if text.endswith("1") and "10" not in text:
            return "suffix"
        return "some"
    assert (mask == mask[:1]).all()
    picture = mask[0]
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    return "inside" if picture[np.ix_(rows, columns)].all() else "outside"


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
