"""What holds for every world: a seed is a clip, a clip is a window, laws break in pixels alone."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipelines.clip_meta import decode_truth, encode_truth
from data_pipelines.worlds import base
from data_pipelines.worlds.base import ClipRequest
from data_pipelines.worlds.dataset import HOLD_OUT_LAWS, WORLDS

MAX_TRUTH_BYTES = 20_000  # of a clip of 64x96x17, as JSON
LONGEST = {"phyworld": 33}  # frames of a run that has fewer than `base.MAX_FRAMES`


@pytest.fixture(params=WORLDS)
def world(request):
    return WORLDS[request.param]


def small(seed, frames=5, **request):
    return ClipRequest(seed, frames=frames, height=48, width=64, **request)


def describe(clip):
    """All of a clip but its pixels."""
    return clip.fps, clip.captions, clip.attributes, json.dumps(encode_truth(clip.truth))


def test_a_module_says_what_it_is(world):
    assert WORLDS[world.NAME] is world and world.__name__.endswith(f".{world.NAME}")
    assert world.__doc__ and world.LICENCE
    assert len(world.BROKEN) and len(set(world.BROKEN)) == len(world.BROKEN)


def test_a_seed_is_a_clip(world):
    one, same, other = (world.make_clip(small(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.video, same.video)
    assert describe(one) == describe(same)
    assert (one.video != other.video).any() and describe(one) != describe(other)


def test_a_clip_is_the_beginning_of_a_longer_one(world):
    for seed in range(4):
        longest = LONGEST.get(world.NAME, base.MAX_FRAMES) if seed % 2 else 9
        short, long = (world.make_clip(small(seed, frames)) for frames in (5, longest))
        np.testing.assert_array_equal(short.video, long.video[:5])
        assert short.attributes.keys() == long.attributes.keys()


def test_any_size_and_duration(world):
    for t, h, w in ((1, 48, 48), (3, 48, 120), (5, 121, 49), (2, 128, 128)):
        clip = world.make_clip(ClipRequest(3, frames=t, height=h, width=w))
        assert clip.video.shape == (t, h, w, 3) and clip.video.dtype == np.uint8


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ClipRequest(3, height=64), "give both or neither"),
        (ClipRequest(3, height=0, width=8), "height is 0 and width 8: ask for 1 pixel or more"),
        (ClipRequest(3, frames=0), "frames is 0: ask for 1 to "),
        (ClipRequest(3, frames=66), "frames is 66: ask for 1 to "),
        (ClipRequest(3, broken="typo"), "broken is 'typo': choose from "),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_named(world, request_, message):
    with pytest.raises(ValueError, match=message):
        world.make_clip(request_)


def test_what_is_drawn_may_be_asked_for(world):
    for seed in range(2):
        drawn = world.make_clip(ClipRequest(seed))
        t, h, w, _ = drawn.video.shape
        asked = world.make_clip(ClipRequest(seed, frames=t, height=h, width=w))
        np.testing.assert_array_equal(drawn.video, asked.video)
        assert describe(drawn) == describe(asked)


def test_captions_are_short_and_vary(world):
    seen = {"short": set(), "detailed": set()}
    longest = LONGEST.get(world.NAME, base.MAX_FRAMES)
    for seed in range(24):
        clip = world.make_clip(small(seed, (1, 5, longest)[seed % 3]))
        assert clip.captions.keys() == seen.keys()
        for name, caption in clip.captions.items():
            assert caption == caption.lower().strip() and 0 < len(caption.split()) <= 40
            assert not any(mark in caption for mark in ("  ", " ,", " .", "{", "none"))
            seen[name].add(caption)
    assert len(seen["short"]) > 4 and len(seen["detailed"]) > 8


def test_held_out_combinations_stay_apart(world):
    for seed in range(12):
        for held_out in (False, True):
            clip = world.make_clip(small(seed, 1, held_out=held_out))
            assert world.is_held_out(clip.attributes) == held_out


def test_laws_may_be_outside_of_trainings_range(world):
    if world.NAME in HOLD_OUT_LAWS:
        with pytest.raises(ValueError, match="outside"):
            world.make_clip(small(0, held_out=False, outside=True))
        return
    for seed in range(4):
        inside, outside = (
            world.make_clip(small(seed, held_out=False, outside=wanted)) for wanted in (False, True)
        )
        assert not world.is_held_out(outside.attributes)
        assert describe(inside) != describe(outside)


def test_a_broken_law_is_seen_in_the_video_alone(world):
    """In some of the first clips; the tests of each world look for those of rare events."""
    unseen = set(world.BROKEN)
    for seed in range(3):
        request = ClipRequest(seed, frames=17, height=48, width=48)
        lawful = world.make_clip(request)
        for name in sorted(unseen):
            clip = world.make_clip(dataclasses.replace(request, broken=name))
            assert describe(clip) == describe(lawful)
            assert clip.video.shape == lawful.video.shape and clip.video.dtype == np.uint8
            if (clip.video != lawful.video).any():
                unseen.remove(name)
    assert len(unseen) < len(world.BROKEN) / 3


def test_truth_is_small_and_kept_by_json(world):
    sizes = []
    for seed in range(3):
        clip = world.make_clip(ClipRequest(seed, frames=17, height=64, width=96))
        text = json.dumps(encode_truth(clip.truth))
        np.testing.assert_equal(decode_truth(json.loads(text)), clip.truth)
        sizes.append(len(text))
    assert np.mean(sizes) <= MAX_TRUTH_BYTES


def test_allowed_pairs_keep_their_order_and_split_in_two():
    def is_held_out(first, second):
        return (first, second) in (("a", "y"), ("b", "x"))

    pairs = [base.allowed_pairs("ab", "xy", is_held_out, wanted) for wanted in (None, False, True)]
    assert pairs[0] == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    assert pairs[1:] == [[("a", "x"), ("b", "y")], [("a", "y"), ("b", "x")]]


def test_drawn_sizes_and_durations_are_those_announced():
    drawn = [
        base.draw_canvas(np.random.default_rng(seed), ClipRequest(0), ()) for seed in range(2000)
    ]
    assert {(h, w) for _, h, w in drawn} == set(base.SIZES)
    for frames, share in base.DURATIONS.items():
        assert np.mean([t == frames for t, _, _ in drawn]) == pytest.approx(share, abs=0.04)
