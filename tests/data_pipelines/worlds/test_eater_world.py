"""The eater's clips obey its laws, and say what they show."""

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import eater
from data_pipelines.worlds.base import ClipRequest
from sora_jax.laws import eater as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

SEEDS = range(12)
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight"]


def make(seed, frames=33, height=64, width=64, **changes):
    return eater.make_clip(ClipRequest(seed, None, frames, height, width, **changes))


def read_masks(clip):
    t, h, w, _ = clip.video.shape
    return np.unpackbits(clip.truth["remaining"], axis=1)[:, : h * w].reshape(t, h, w).astype(bool)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("broken", ["", "bite_heals"])
def test_a_short_clip_is_the_beginning_of_a_long_one(seed, broken):
    short, long = make(seed, 9, broken=broken), make(seed, 65, broken=broken)
    np.testing.assert_array_equal(short.video, long.video[:9])
    np.testing.assert_array_equal(short.truth["mouth"], long.truth["mouth"][:9])
    np.testing.assert_array_equal(short.truth["remaining"], long.truth["remaining"][:9])
    np.testing.assert_array_equal(make(seed, 1).video, long.video[:1])


@pytest.mark.parametrize("seed", range(4))
def test_a_larger_canvas_shows_the_same_scene(seed):
    small, large = make(seed, 9, 64, 96), make(seed, 9, 128, 192)
    np.testing.assert_array_equal(small.truth["mouth"], large.truth["mouth"])
    np.testing.assert_array_equal(small.truth["bite_centers"], large.truth["bite_centers"])
    halved = large.video.reshape(9, 64, 2, 96, 2, 3).mean((2, 4))
    difference = np.abs(halved - small.video)
    assert difference.mean() < 2 and (difference > 60).mean() < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_what_remains_is_a_disc_without_discs(seed):
    """On a grid that is finer than the pixels, by the truth's centres alone."""
    clip = make(seed, 33, outside=seed % 3 == 2)
    truth, masks = clip.truth, read_masks(clip)
    fine = (np.stack(np.meshgrid(*2 * [np.arange(320)]), -1) + 0.5) / 320

    def disc(center, radius):
        return ((fine - center) ** 2).sum(-1) <= radius**2

    for i in (0, 16, 32):
        left = disc(truth["center"], truth["radius"])
        taken = truth["bite_times"] <= i / FPS
        assert taken.sum() == truth["bites"][i]
        for bite in truth["bite_centers"][taken]:
            left &= ~disc(bite, laws.BITE_RADIUS)
        assert masks[i].sum() / 64**2 == pytest.approx(left.mean(), abs=0.004)
    assert not (masks[1:] & ~masks[:-1]).any()
    assert ndimage.label(masks[-1], np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_bites_come_at_a_constant_period_where_the_face_is(seed):
    clip = make(seed, 65)
    truth = clip.truth
    low, high = laws.PERIODS[clip.attributes["pace"]]
    gaps = np.diff(truth["bite_times"])
    assert np.allclose(gaps, gaps[:1], atol=1e-4) and (gaps >= low - 1e-4).all()
    assert (gaps <= high + 1e-4).all()
    for time, bite in zip(truth["bite_times"], truth["bite_centers"], strict=True):
        frame = round(float(time) * FPS)
        if 0 <= frame < 65 and abs(frame / FPS - time) <= laws.HOLD:
            assert np.allclose(truth["mouth"][frame], bite, atol=1e-5)
    # Between two bites the face leaves the food.
    apart = np.hypot(*(truth["mouth"] - truth["center"]).T)
    for time in (truth["bite_times"][1:] + truth["bite_times"][:-1]) / 2:
        if 0 <= time * FPS < 64:
            assert apart[round(float(time) * FPS)] > truth["radius"] + 0.8 * laws.BITE_RADIUS
    side = np.array(laws.SIDES[clip.attributes["direction"]])
    taken = truth["bite_centers"] - truth["center"]
    assert (taken.mean(0) @ side) > 0.8 * np.hypot(*taken.mean(0))


@pytest.mark.parametrize("seed", SEEDS)
def test_food_and_face_are_drawn_where_the_truth_says(seed):
    clip = make(seed, 17, 128, 128)
    truth, masks = clip.truth, read_masks(clip)
    near_face = [
        ((np.stack(np.meshgrid(*2 * [np.arange(128)]), -1) + 0.5) / 128 - m) for m in truth["mouth"]
    ]
    face = np.array([np.hypot(*n.transpose(2, 0, 1)) for n in near_face])
    video = clip.video.astype(int)
    like_face = np.abs(video - laws.FACE).sum(-1) < 20
    seen = truth["in_sight"] > 0.9
    assert like_face[seen & (face < 0.9 * laws.BITE_RADIUS).any((1, 2))].any()
    # A plate's edge on a dark table is a line of such pixels; lines are no part of a face.
    elsewhere = like_face & (face > laws.BITE_RADIUS + 0.02)
    assert not ndimage.binary_opening(elsewhere, np.ones((1, 3, 3))).any()
    body = np.abs(video - COLORS[clip.attributes["color"]]).sum(-1) < 20
    assert not (body & ~ndimage.binary_dilation(masks, np.ones((1, 3, 3)))).any()
    assert (body & masks).sum() > 0.15 * masks.sum()


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("frames", [1, 9, 33])
def test_captions_tell_what_the_window_shows(seed, frames):
    clip = make(seed, frames)
    truth, attributes = clip.truth, clip.attributes
    before, bites = int(attributes["before"]), int(attributes["bites"])
    assert before == truth["bites"][0]
    late = truth["bites"][-1] - before - bites  # a bite that the face still hides is not told of
    assert late in (0, 1)
    if late:
        bite = truth["bite_centers"][truth["bites"][-1] - 1]
        assert np.hypot(*(truth["mouth"][-1] - bite)) < 0.75 * laws.BITE_RADIUS
    assert (bites > 0) == (frames > 1)
    detailed = clip.captions["detailed"]
    for caption in clip.captions.values():
        assert f"{attributes['color']} {attributes['food']}" in caption
        assert len(caption.split()) <= 40 and caption == caption.lower()
        if before:
            assert f"with {NUMBERS[before]} bite" in caption
        if frames > 1:
            assert NUMBERS[bites] in caption and ("more" in caption) == (before > 0)
    if not before:
        assert "whole" in detailed
    assert f"{attributes['background']} table" in detailed
    assert ("plate" in detailed) == (attributes["surface"] == "plate")
    if frames == 1:
        assert not any(word in detailed for word in ("takes", "bites it", "comes", "then"))
    else:
        side = {"top": "above", "bottom": "below"}.get(
            attributes["direction"], attributes["direction"]
        )
        assert side in detailed and attributes["pace"] in detailed
        assert ("then" in detailed) == (attributes["leaves"] == "yes")


def test_held_out_pairs():
    pairs = [
        (c, f) for c in COLORS for f in laws.FOODS if eater.is_held_out({"color": c, "food": f})
    ]
    assert len(pairs) == 8 and {f for _, f in pairs} == set(laws.FOODS)
    for held_out in (True, False):
        for seed in range(30):
            clip = eater.make_clip(ClipRequest(seed, held_out, 1, 48, 48))
            assert eater.is_held_out(clip.attributes) == held_out


def test_outside_has_more_bites_of_larger_foods_in_less_time():
    inside = [make(s, 1).truth for s in range(20)]
    outside = [make(s, 1, outside=True).truth for s in range(20)]
    assert min(t["radius"] for t in outside) > max(t["radius"] for t in inside)
    counts = {len(t["bite_times"]) for t in outside}
    assert min(counts) > max(len(t["bite_times"]) for t in inside) and len(counts) > 1
    quickest = min(np.diff(t["bite_times"]).min() for t in inside if len(t["bite_times"]) > 1)
    assert max(np.diff(t["bite_times"]).max() for t in outside) < quickest


@pytest.mark.parametrize("broken", eater.BROKEN)
def test_a_broken_law_changes_the_video_alone(broken):
    for seed in range(5):
        lawful, unlawful = make(seed, 17), make(seed, 17, broken=broken)
        assert unlawful.captions == lawful.captions and unlawful.attributes == lawful.attributes
        np.testing.assert_array_equal(unlawful.truth["remaining"], lawful.truth["remaining"])
        assert (unlawful.video != lawful.video).any()
        if broken in ("bite_heals", "bite_elsewhere", "food_recolored", "appears"):
            np.testing.assert_array_equal(unlawful.video[0], lawful.video[0])


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="broken is 'gravity': choose from bite_heals"):
        make(0, broken="gravity")


@pytest.mark.parametrize("size", [(48, 48), (48, 120), (120, 48), (144, 256)])
@pytest.mark.parametrize("outside", [False, True])
def test_any_canvas_shows_the_whole_food(size, outside):
    for seed in range(6):
        clip = make(seed, 9, *size, outside=outside)
        assert clip.video.shape == (9, *size, 3)
        reach = clip.truth["radius"]
        frame = np.array(size[::-1]) / min(size)
        assert (clip.truth["center"] - reach > 0).all()
        assert (clip.truth["center"] + reach < frame).all()
        table = np.array(BACKGROUNDS[clip.attributes["background"]])
        corners = clip.video[:, [0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
        assert (np.abs(corners - table).max(-1) <= 2).mean() > 0.5
