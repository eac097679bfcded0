"""Shatter's motion: balls that nothing touches, pieces that fall, what leaves the frame."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.worlds import shatter as world
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import controls, shatter
from sora_jax.evals.worlds.base import Expected, score_video
from sora_jax.evals.worlds.shatter_looks import find_airborne

pytest.importorskip("pymunk")


def find(condition, **request):
    """The first clip that meets a condition on its truth and attributes."""
    asked = {"frames": 17, "height": 64, "width": 96, "held_out": None} | request
    clips = (world.make_clip(ClipRequest(seed, **asked)) for seed in range(3000, 3400))
    return next(clip for clip in clips if condition(clip.truth, clip.attributes))


def expect(clip, given=0):
    return Expected(clip.attributes, clip.truth, clip.fps, given)


def score(clip, video=None, given=0):
    return score_video(shatter, clip.video if video is None else video, expect(clip, given))


@pytest.fixture(scope="module")
def missed():
    """A clip of a ball that flies past its target, and the first frame that shows it wholly."""

    def crosses(truth, attributes):
        return attributes["outcome"] == "is missed" and whole(truth).sum() >= 7

    def whole(truth):
        x, inset = truth["ball"][:, 0], truth["radius"] + 0.02
        return (x > inset) & (x < 1.5 - inset) & (truth["ball"][:, 1] > inset)

    clip = find(crosses)
    return clip, int(np.argmax(whole(clip.truth)))


def test_a_ball_that_touches_nothing_neither_turns_nor_stops(missed):
    clip, first = missed
    assert score(clip)["smooth"] == 1
    order = np.arange(17)
    turned = np.where(order > first + 2, np.maximum(2 * (first + 2) - order, 0), order)
    assert score(clip, clip.video[turned])["smooth"] == 0
    stopped = clip.video[np.minimum(order, first + 3)]
    assert score(clip, stopped)["smooth"] < 0.5


def test_a_ball_goes_to_a_target_that_it_has_not_touched(missed):
    clip, first = missed
    order = np.arange(17)
    order[[first, first + 1]] = first + 1, first  # it appears, goes back and comes again
    assert score(clip, clip.video[order])["smooth"] == 0


@pytest.fixture(scope="module")
def falling():
    """A clip that begins with pieces in the air."""
    return find(
        lambda truth, _: (
            truth["breaks"]
            and truth["inside"].all()
            and -3 < truth["impact"] < -1
            and (truth["poses"][-1, :, 1] - truth["poses"][0, :, 1]).mean() > 0.15
        )
    )


def test_pieces_sink_and_come_to_rest(falling):
    assert score(falling)["pieces_drop"] == 1
    held = falling.video[np.minimum(np.arange(17), 1)]
    lifted = falling.video[[0, 1, 2, 3, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]
    for video in (controls.freeze(falling.video), held, lifted, controls.swap(falling.video)):
        assert score(falling, video)["pieces_drop"] < 0.5


def test_a_piece_that_hangs_in_the_air_is_found(falling):
    reading = shatter.read(falling.video, expect(falling))
    assert not find_airborne(reading)[8:].any()  # they lie
    video = falling.video.copy()
    piece = video[-1][reading.target.share[-1] > 0.9].mean(0).astype(np.uint8)
    video[:, 10:18, -36:-28] = piece
    hanging = shatter.read(video, expect(falling))
    assert find_airborne(hanging)[8:].all()
    stops = np.minimum(np.arange(17), 8)  # the others lie and may stop
    assert (
        score(falling, video[stops])["smooth"]
        < 0.5
        < score(falling, falling.video[stops])["smooth"]
    )


def test_pieces_that_have_left_the_frame_are_not_asked_for():
    def leaves(truth, _):
        x = truth["poses"][..., 0]
        gone = ((x < 0) | (x > 1)) @ truth["areas"] / truth["areas"].sum()
        return truth["breaks"] and truth["impact"] < -3 and gone.min() > 0.15

    clip = find(leaves, width=64, outside=True)
    assert score(clip)["target"] >= 0.95
    truth = clip.truth | {"poses": clip.truth["poses"] + [9, 0, 0]}
    far = dataclasses.replace(expect(clip), truth=truth)
    assert 0 <= score_video(shatter, clip.video, far)["target"] <= 1  # none is in the frame
