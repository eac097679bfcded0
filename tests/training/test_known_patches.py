"""Known patches of training: every kind, levels, weights, whatever the mesh."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.rows import batch_specs, make_segment, pack_row, stack_rows, token_levels
from sora_jax.training.known_patches import KINDS, KnownPatchesConfig, draw_known

GRIDS = ((5, 4, 4), (1, 4, 6), (9, 3, 6), (1, 4, 4)), ((9, 4, 4), (2, 2, 4))
CONFIG = KnownPatchesConfig(0.15, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1, clean=0.6, max_level=0.3)
SEGMENTS = 5


def make_batch():
    """Two rows of clips, and padding."""
    rng, rows = np.random.default_rng(0), []
    for grids in GRIDS:
        latents = (rng.normal(size=(*grid, 3)).astype(np.float32) for grid in grids)
        segments = [make_segment(z, 8.0, np.array([3, 1]), (1, 1, 1), 1.0) for z in latents]
        rows.append(pack_row(segments, (512, 16, SEGMENTS), 3))
    return stack_rows(rows, 2)


def draw(seed, mesh=(8, 1, 1, 1), config=CONFIG, rows=8):
    with sharding.use_mesh(sharding.MeshConfig(*mesh)):
        batch = jax.tree.map(lambda a: np.tile(a, (rows // 2, *[1] * (a.ndim - 1))), make_batch())
        batch = sharding.shard(batch, batch_specs())

        @jax.jit
        def run(key, batch):
            drawn = draw_known(key, config, batch, 1.0)
            return drawn, token_levels(drawn.levels, drawn.level_ids)

        return jax.tree.map(np.asarray, run(jax.random.key(seed), batch))


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
    assert (mask == mask[:1]).all()  # a rectangle through time
    picture = mask[0]
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    return "inside" if picture[np.ix_(rows, columns)].all() else "outside"


def test_clips_are_of_every_kind_and_something_is_left_to_predict():
    found, levels = [], []
    for seed in range(12):
        batch, level = draw(seed)
        assert not batch.known[batch.segment_ids == 0].any()
        for r in range(8):
            for number, grid in enumerate(GRIDS[r % 2], 1):
                at = batch.segment_ids[r] == number
                mask = batch.known[r][at].reshape(grid)
                assert not mask.all()
                np.testing.assert_allclose(batch.weights[r, number - 1], (~mask).sum(), rtol=1e-5)
                assert (level[r][at][~batch.known[r][at]] == 0).all()  # not drawn yet
                if mask.any():
                    (value,) = np.unique(level[r][at][batch.known[r][at]])
                    levels.append(value)
                if grid[0] == 9:
                    found.append(kind_of(mask))
    assert {*found} == {"none", *KINDS}
    # 0.2, and rectangles that are all of a picture.
    assert 0.1 < found.count("none") / len(found) < 0.35
    assert max(levels) <= CONFIG.max_level and 0.45 < np.mean(np.equal(levels, 0)) < 0.75


def test_shares_are_those_of_the_config():
    only = dataclasses.replace(KnownPatchesConfig(), first=1.0)
    batch, level = draw(0, config=only)
    for r in range(8):
        for number, grid in enumerate(GRIDS[r % 2], 1):
            mask = batch.known[r][batch.segment_ids[r] == number].reshape(grid)
            assert (mask[0] == (grid[0] > 1)).all() and not mask[1:].any()
    none, _ = draw(0, config=KnownPatchesConfig())
    assert not none.known.any()


def test_every_mesh_draws_alike():
    one, other = draw(3), draw(3, (2, 2, 2, 1))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_shares_above_one_are_refused():
    with pytest.raises(ValueError, match="shares, their sum and levels are at most 1"):
        KnownPatchesConfig(first=0.6, prefix=0.6)


def test_shares_and_levels_are_at_most_1_and_say_what_can_be_given():
    assert KnownPatchesConfig(max_level=1.0, clean=1.0, first=1.0).max_given == 1
    assert KnownPatchesConfig(first=0.2).max_given == 1 and KnownPatchesConfig().max_given == 0
    assert KnownPatchesConfig(prefix=0.2).max_given == sys.maxsize
    for wrong in ({"max_level": 1.2}, {"clean": 1.2}, {"first": 0.7, "prefix": 0.5}):
        with pytest.raises(ValueError, match="shares, their sum and levels are at most 1"):
            KnownPatchesConfig(**wrong)
