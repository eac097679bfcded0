"""The packing plan: rows of three capacities, clips assigned to slots, steps of equal cost."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import packing
from data_pipelines.loader import TEXT_STEP
from experiments import demo_dit, demo_vae
from sora_jax.training.experiments import parse

CAPACITY = (64, 32, 6)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 32)), min_size=1, max_size=80),
    st.integers(1, 40),
)
def test_each_clip_has_a_row_and_no_capacity_is_exceeded(lengths, window):
    lengths = np.array(lengths)
    rows = packing.plan_rows(lengths, CAPACITY, window)
    count = rows.max() + 1
    assert rows.shape == (len(lengths),) and set(rows) == set(range(count))
    for need, most in zip((*lengths.T, np.ones(len(rows))), CAPACITY, strict=True):
        assert np.bincount(rows, need).max() <= most
    assert count >= np.ceil(lengths.sum(0) / CAPACITY[:2]).max()


@pytest.mark.parametrize("images", [0.05, 0.5, 0.9])
def test_rows_are_full_where_clips_are_short(images):
    rng = np.random.default_rng(0)
    frames = np.where(rng.random(20_000) < images, 1, rng.integers(2, 12, 20_000))
    lengths = np.stack([frames * rng.integers(20, 120, 20_000), rng.integers(1, 40, 20_000)], 1)
    rows = packing.plan_rows(lengths, (4096, 2048, 96), 2048)
    assert packing.fill(rows, lengths[:, 0], 4096) >= 0.99


def test_fill_of_the_demos_mix():
    """Sizes and durations of the worlds, planned with the demo's capacities."""
    wanted, patch = demo_dit.get_config().packing, demo_dit.get_config().model.patch
    side = parse(demo_vae.get_config().to_dict()).model.spatial_stride * patch[1]
    capacity = wanted.tokens, wanted.text_tokens, wanted.segments
    from data_pipelines.worlds import base

    rng = np.random.default_rng(0)
    frames = rng.choice(list(base.DURATIONS), 4000, p=list(base.DURATIONS.values()))
    sizes = np.array(base.SIZES)[rng.integers(len(base.SIZES), size=4000)]
    tokens = (1 + (frames - 1) // 4) * np.prod(-(-sizes // side), 1)
    # The longest caption of a clip, as the demo's tokenizer counts: 25 tokens of images, else 34.
    text = np.where(frames == 1, rng.integers(18, 33, 4000), rng.integers(26, 43, 4000))
    text = -(-text // TEXT_STEP) * TEXT_STEP
    rows = packing.plan_rows(np.stack([tokens, text], 1), capacity, 2048)
    assert packing.fill(rows, tokens, capacity[0]) >= 0.97


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ((65, 3), "clip 1 has 65 video and 3 text tokens, a row holds 64 and 32: raise"),
        ((4, 33), "clip 1 has 4 video and 33 text tokens"),
        ((4, 0), r"clip 1 has lengths \[4, 0\]: each must be above 0"),
    ],
)
def test_clips_that_cannot_be_packed_are_named(clip, message):
    with pytest.raises(ValueError, match=message):
        packing.plan_rows(np.array([[4, 4], clip]), CAPACITY, 8)


def test_length_buckets_tell_all_lengths_apart():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (3, 200))
    buckets = packing.length_buckets(*values)
    for i, j in rng.integers(0, 200, (500, 2)):
        assert (buckets[i] == buckets[j]) == (values[:, i] == values[:, j]).all()


@given(st.integers(1, 60), st.integers(0, 99))
def test_clips_are_assigned_to_slots_of_their_bucket_repeat_by_repeat(clips, seed):
    rng = np.random.default_rng(seed)
    buckets = rng.integers(0, 5, clips)
    repeats = rng.integers(1, 4, 5)[buckets]
    slots = rng.permutation(np.repeat(buckets, repeats))
    assigned = packing.assign_clips(buckets, repeats, slots, rng)
    np.testing.assert_array_equal(buckets[assigned], slots)
    np.testing.assert_array_equal(np.bincount(assigned, minlength=clips), repeats)
    for one in set(buckets):  # nobody comes again before all have come
        mine, count = assigned[slots == one], (buckets == one).sum()
        for start in range(0, len(mine), count):
            assert len(set(mine[start : start + count])) == count


def test_assigned_clips_are_uniform():
    buckets = np.array([0, 0, 0, 1])
    rng, slots = np.random.default_rng(0), np.array([0, 1, 0, 0])
    assigned = np.stack(
        [packing.assign_clips(buckets, np.ones(4, int), slots, rng) for _ in range(3000)]
    )
    assert (assigned[:, 1] == 3).all()
    for slot in (0, 2, 3):
        shares = np.bincount(assigned[:, slot], minlength=3) / len(assigned)
        np.testing.assert_allclose(shares[:3], 1 / 3, atol=0.04)


def test_costs_are_those_of_the_equation():
    rows, tokens = np.array([0, 1, 0, 1, 1]), np.array([10, 3, 20, 4, 5])
    found = packing.row_costs(rows, tokens, 32, 8.0)
    np.testing.assert_allclose(found, [32 + (100 + 400) / 8, 32 + (9 + 16 + 25) / 8])


@given(
    st.integers(1, 90),
    st.integers(1, 12),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 99),
    st.integers(0, 99),
)
def test_an_epoch_has_every_row_once_whatever_the_step(
    count, rows_per_step, rows_per_device, before, seed
):
    rng = np.random.default_rng(seed)
    order = packing.order_rows(
        rng.uniform(1, 3, count), rows_per_step * rows_per_device, rows_per_device, before, rng
    )
    assert sorted(order) == list(range(count))


def work(costs, rows_per_step, rows_per_device, epochs=4):
    """The work of each device in each step of a stream of epochs, and its rows' costs."""
    rng = np.random.default_rng(0)
    stream = np.concatenate(
        [
            costs[
                packing.order_rows(costs, rows_per_step, rows_per_device, epoch * len(costs), rng)
            ]
            for epoch in range(epochs)
        ]
    )
    steps = stream[: len(stream) // rows_per_step * rows_per_step].reshape(-1, rows_per_step)
    return steps, steps.reshape(len(steps), -1, rows_per_device).sum(2)


def mixed_costs():
    rng = np.random.default_rng(0)
    return rng.choice([1.0, 1.3, 2.0], 1001, p=[0.5, 0.3, 0.2]) * rng.uniform(1, 1.02, 1001)


@pytest.mark.parametrize("rows_per_step", [8, 64])
def test_steps_have_rows_of_equal_cost_across_epochs_too(rows_per_step):
    costs = mixed_costs()
    steps, _ = work(costs, rows_per_step, 1)
    uneven = steps.max(1) / steps.mean(1)
    # Two borders of costs are in an epoch, each in one step; elsewhere costs differ by 2 %.
    assert (uneven > 1.03).sum() <= 2 * 4
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(np.tile(costs, 4))[: steps.size].reshape(-1, rows_per_step)
    assert np.median(shuffled.max(1) / shuffled.mean(1)) > 1.3
    # Steps of low and of high cost are mixed along an epoch.
    mean = steps.mean(1)[: 1001 // rows_per_step]
    assert abs(np.corrcoef(mean, np.arange(len(mean)))[0, 1]) < 0.5


def test_costs_without_gaps_make_even_steps_everywhere():
    costs = np.random.default_rng(0).uniform(1, 2, 5003)
    steps, _ = work(costs, 64, 1)
    assert (steps.max(1) / steps.mean(1)).max() < 1.08


def test_devices_with_several_rows_have_equal_work_in_random_steps():
    costs = mixed_costs()
    steps, devices = work(costs, 64, 4)
    means = steps.mean(1)
    inner = means[np.abs(means - np.median(means)) < 0.2]  # without those that epochs share
    assert len(inner) > 0.9 * len(means)
    assert 0.3 < inner.std() / (costs.std() / 8) < 1.3  # as of random rows, or less
    assert np.median(devices.max(1) / devices.mean(1)) < 1.08


def test_order_does_not_depend_on_the_processor():
    """Equal costs are the rule, and numpy sorts them by what the processor can do."""
    code = """
import numpy as np
from data_pipelines import packing
from data_pipelines.loader import TEXT_STEP
costs = np.random.default_rng(0).choice(np.linspace(1, 2, 37), 3995)
for rows_per_device in (1, 4):
    order = packing.order_rows(costs, 64, rows_per_device, 10, np.random.default_rng(1))
    print(order.tobytes().hex()[:40000])
"""
    orders = set()
    for without in ("", "X86_V4", "AVX512F AVX512_SKX"):  # as numpy names them; others are ignored
        env = os.environ | {"NPY_DISABLE_CPU_FEATURES": without}
        command = [sys.executable, "-W", "ignore", "-c", code]
        orders.add(subprocess.run(command, capture_output=True, env=env, check=True).stdout)
    assert len(orders) == 1 and orders != {b""}


def test_rows_change_their_steps_from_epoch_to_epoch():
    costs, rng = mixed_costs(), np.random.default_rng(0)
    seen = [packing.order_rows(costs, 8, 1, 0, rng)[:1000].reshape(-1, 8) for _ in range(2)]
    steps = [{tuple(sorted(step)) for step in epoch} for epoch in seen]
    assert len(steps[0] & steps[1]) < 10


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [((1000, 1000), (1, 1)), ((1000, 10), (1, 1)), ((700, 900, 50), (0.2, 0.5, 0.3))],
)
def test_mixtures_have_their_shares_in_whole_repeats(sizes, weights):
    repeats = packing.repeats(sizes, weights)
    drawn = np.multiply(repeats, sizes)
    np.testing.assert_allclose(drawn / drawn.sum(), np.divide(weights, sum(weights)), rtol=0.02)
    assert min(repeats) >= 1


@pytest.mark.parametrize(
    ("sizes", "most", "wanted"),
    [((2, 3), 64, [3, 2]), ((2, 3), 1, [2, 1]), ((100, 101), 64, [1, 1]), ((100, 103), 64, [1, 1])],
)
def test_the_fewest_repeats_within_two_percent_are_chosen(sizes, most, wanted):
    """Equal shares: of 2 and 3 clips [2, 1] would be 14 % off; of 100 and 103 [1, 1] are 1.5 %."""
    assert packing.repeats(sizes, (1, 1), most) == wanted


def test_natural_shares_are_one_repeat_each():
    assert packing.repeats((30, 700, 2), (30, 700, 2)) == [1, 1, 1]


@pytest.mark.parametrize("sizes, weights", [((3, 0), (1, 1)), ((3, 3), (1, 0))])
def test_empty_sources_and_weights_of_none_are_refused(sizes, weights):
    with pytest.raises(ValueError, match="leave out empty ones and give weights above 0"):
        packing.repeats(sizes, weights)


def test_weights_that_make_an_endless_epoch_are_refused():
    with pytest.raises(ValueError, match="take 225000 repeats .* 1000 at most, so change the weig"):
        packing.repeats((4, 9), (1.0, 1e-5))
