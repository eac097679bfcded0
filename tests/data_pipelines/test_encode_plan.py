"""Canvases hold all clips, with the least work among a few; batches are in the order of clips."""

import itertools

import numpy as np
import pytest

from data_pipelines import encode_plan
from data_pipelines.encode_plan import assign, choose_canvases, plan_batches

STRIDES = 4, 8


def shapes_of(count, sizes, seed=0):
    rng = np.random.default_rng(seed)
    sides = np.stack([rng.integers(2, 40, sizes), rng.integers(2, 40, sizes)], 1)
    durations = rng.choice([1, 2, 5, 6, 30], count)
    return np.concatenate([durations[:, None], sides[rng.integers(0, sizes, count)]], 1)


def work(shapes, boxes):
    """Area of the smallest box that holds each clip, times its frames."""
    areas = np.where((shapes[:, None, 1:] <= boxes).all(-1), boxes.prod(-1), np.inf).min(1)
    return (areas * shapes[:, 0]).sum()


def test_canvases_are_as_good_as_the_best_of_all_choices():
    """The best: all pairs of boxes whose sides are those of some clips, for many draws."""
    ratios = []
    for seed in range(12):
        shapes = shapes_of(40, 6, seed)
        boxes = np.array([(c.height, c.width) for c in choose_canvases(shapes, STRIDES, 1, 2, 99)])
        assert len(boxes) == 2
        sides = itertools.product(*(np.unique(shapes[:, axis]) for axis in (1, 2)))
        best = min(work(shapes, np.array(pair)) for pair in itertools.combinations(sides, 2))
        ratios.append(work(shapes, boxes) / best)
    assert max(ratios) < 1.3 and np.mean(ratios) < 1.05


def test_one_canvas_for_each_size_where_there_are_few():
    shapes = shapes_of(50, 4)
    canvases = choose_canvases(shapes, STRIDES, 1, 4, 99)
    assert {(c.height, c.width) for c in canvases} == set(map(tuple, shapes[:, 1:].tolist()))


def test_thousands_of_sizes_are_merged_at_once(monkeypatch):
    monkeypatch.setattr(encode_plan, "MAX_SIZES", 20)
    shapes = shapes_of(500, 300)
    canvases = choose_canvases(shapes, STRIDES, 1, 3, 99)
    assert len(canvases) == 3 and (assign(shapes, canvases) >= 0).all()


def test_a_clip_is_on_the_smallest_canvas_that_holds_it():
    canvases = choose_canvases(np.array([[1, 4, 4], [1, 8, 4], [1, 8, 8]]), STRIDES, 1, 3, 9)
    sides = np.array([(c.height, c.width) for c in canvases])
    shapes = np.array([[1, 3, 4], [1, 5, 4], [1, 5, 5], [1, 4, 5]])
    assert sides[assign(shapes, canvases)].tolist() == [[4, 4], [8, 4], [8, 8], [8, 8]]
    with pytest.raises(ValueError, match=r"no canvas holds latents of \[1 9 1\]"):
        assign(np.array([[1, 9, 1]]), canvases)


@pytest.mark.parametrize(
    ("durations", "pixels", "frames", "clips"),
    [
        ([1] * 64, 8 * 64 * 64, 8, 32),  # images have no later blocks
        ([5] * 64, 2**22, 16, 64),  # 17 frames: one block of 16
        ([3] * 64, 2**22, 8, 64),  # 9 frames: one block of 8
        ([5] * 64, 2 * 16 * 64 * 64, 16, 8),  # two clips a device
        ([5] * 64, 1, 4, 4),  # at least one clip a device, and one latent frame
        ([5] * 6, 2**22, 16, 8),  # no more than there are, on each device as many
    ],
)
def test_batches_are_of_what_the_clips_and_the_memory_give_reason_to(
    durations, pixels, frames, clips
):
    shapes = np.array([[u, 8, 8] for u in durations])
    (canvas,) = choose_canvases(shapes, STRIDES, 4, 1, 64, pixels)
    assert canvas == (8, 8, frames, clips)


@pytest.mark.parametrize("pending", [1, 5000, 2**40])
def test_every_clip_is_in_one_batch_and_groups_are_in_order(monkeypatch, pending):
    monkeypatch.setattr(encode_plan, "MAX_PENDING", pending)
    shapes = shapes_of(60, 9)
    canvases = choose_canvases(shapes, STRIDES, 2, 3, 60, 2**17)
    groups = list(plan_batches(shapes, canvases, 4, 768))
    assert (len(groups) == 1) == (pending == 2**40)
    seen = []
    for group in groups:
        clips = [clip for _, places in group for clip in places]
        assert min(clips) == len(seen) and len(clips) == len(set(clips))
        assert (
            len(clips) == 1 or 4 * shapes[clips].prod(1).sum() < pending + shapes.prod(1).max() * 4
        )
        seen += clips
        for canvas, places in group:
            assert len(places) <= canvas.clips
            assert (shapes[places, 1:] <= (canvas.height, canvas.width)).all()
            assert (np.diff(shapes[places, 0]) >= 0).all()
    assert sorted(seen) == list(range(60))


def test_a_batch_holds_no_more_video_than_it_may(monkeypatch):
    shapes = np.array([[u, 4, 4] for u in (1, 2, 3, 4, 5, 40)])
    canvases = choose_canvases(shapes, STRIDES, 1, 1, 9)
    monkeypatch.setattr(encode_plan, "MAX_VIDEO_BYTES", 7 * 16 * 768)
    (batches,) = plan_batches(shapes, canvases, 4, 768)
    assert [places for _, places in batches] == [[0, 1, 2], [3], [4], [5]]
