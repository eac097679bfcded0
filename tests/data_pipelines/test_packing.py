"""The packing plan and the stream of rows."""

import dataclasses
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.encode import LatentRecord
from data_pipelines.loader import PackedRows
from data_pipelines.packing import fill, plan_rows
from experiments import demo_dit, demo_vae
from sora_jax.config import DiffusionExperiment, PackingConfig, parse
from sora_jax.models.dit import DiTConfig

CAPACITY = (64, 32, 6)
LETTERS = types.SimpleNamespace(
    encode=lambda texts: [np.int32([*map(ord, text.split()), 1]) for text in texts]
)


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 32)), min_size=1, max_size=80),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_each_clip_once_and_no_capacity_exceeded(lengths, window, seed):
    lengths = np.array(lengths)
    rows = plan_rows(lengths, CAPACITY, window, np.random.default_rng(seed))
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))
    for row in rows:
        assert (lengths[row].sum(0) <= CAPACITY[:2]).all() and len(row) <= CAPACITY[2]


def test_fill_of_the_demos_mix():
    """Sizes and durations of the worlds, planned with the demo's capacities."""
    packing, patch = demo_dit.get_config().packing, demo_dit.get_config().model.patch
    side = parse(demo_vae.get_config().to_dict()).model.spatial * patch[1]
    capacity = packing.tokens, packing.text_tokens, packing.segments
    from data_pipelines.worlds import base

    rng = np.random.default_rng(0)
    frames = rng.choice(list(base.DURATIONS), 4000, p=list(base.DURATIONS.values()))
    sizes = np.array(base.SIZES)[rng.integers(len(base.SIZES), size=4000)]
    tokens = (1 + (frames - 1) // 4) * np.prod(-(-sizes // side), 1)
    # Words of no, short and detailed captions, with the demo's shares.
    words = np.stack([np.ones(4000, int), rng.integers(9, 18, 4000), rng.integers(24, 40, 4000)])
    text = words[rng.choice(3, 4000, p=(0.1, 0.4, 0.5)), np.arange(4000)]
    lengths = np.stack([tokens, text], 1)
    rows = plan_rows(lengths, capacity, 1024, np.random.default_rng(1))
    assert fill(rows, lengths, capacity[0]) >= 0.97


def test_a_clip_longer_than_a_row_is_named():
    with pytest.raises(ValueError, match="clip 1 has 65 video and 3 text tokens, a row holds 64"):
        plan_rows(np.array([[4, 4], [65, 3]]), CAPACITY, 8, np.random.default_rng(0))


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    latents = [
        LatentRecord(
            rng.normal(size=(t, 4, w, 2)).astype(np.float16),
            8.0,
            {"short": "a", "detailed": "a b"},
            {},
        )
        for t, w in zip(rng.integers(1, 4, 30), 2 * rng.integers(1, 4, 30), strict=True)
    ]
    experiment = DiffusionExperiment(
        data="", model=DiTConfig(latent_channels=2), packing=PackingConfig(2, 24, 16, 6, 8)
    )
    return PackedRows(experiment, latents, LETTERS, 100)


def test_a_row_is_a_function_of_its_number(rows):
    """Whatever was read before: forward, backward, from a fresh start."""
    forward = [rows[i] for i in range(30)]
    fresh = PackedRows(rows.experiment, rows.latents, LETTERS, 0)
    for i in reversed(range(30)):
        for a, b in zip(forward[i], fresh[i], strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_epoch_holds_every_clip_once_and_epochs_differ(rows):
    first, second = (rows.epoch(i) for i in (0, 1))
    for plan, _, _ in (first, second):
        assert sorted(np.concatenate(plan).tolist()) == list(range(30))
    assert not np.array_equal(first[1], second[1])


def test_captions_have_the_configured_shares(rows):
    chosen = np.concatenate([rows.epoch(i)[1] for i in range(200)])
    np.testing.assert_allclose(np.bincount(chosen) / len(chosen), [0.4, 0.5, 0.1], atol=0.02)


def test_processes_share_a_batch_without_overlap(rows, monkeypatch):
    from data_pipelines import loader

    whole = [b.patches for b in map(loader.packed_batches(rows, 4).__getitem__, range(3))]
    for index in range(2):
        monkeypatch.setattr(loader.jax, "process_count", lambda: 2)
        monkeypatch.setattr(loader.jax, "process_index", lambda index=index: index)
        share = loader.packed_batches(rows, 4)
        for i in range(3):
            np.testing.assert_array_equal(share[i].patches, whole[i][2 * index : 2 * index + 2])


def test_a_caption_longer_than_a_row_is_named_before_training(rows):
    """Whichever caption of a clip it is, and whenever it would be drawn."""
    longest = max(len(text) for texts in rows.texts for text in texts)
    packing = dataclasses.replace(rows.experiment.packing, text_tokens=longest - 1)
    short = dataclasses.replace(rows.experiment, packing=packing)
    with pytest.raises(ValueError, match=f"'a b' has {longest} tokens, a row holds {longest - 1}"):
        PackedRows(short, rows.latents, LETTERS, 100)
