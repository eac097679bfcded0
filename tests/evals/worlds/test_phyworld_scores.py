"""phyworld's parser, the paper's velocity error, and errors of positions beside baselines."""

import math

import numpy as np
import pytest

from data_pipelines.worlds import phyworld as world
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import controls, phyworld, phyworld_parser
from sora_jax.evals.worlds.base import Expected, score_video


def expect(clip, given=0):
    return Expected(clip.attributes, clip.truth, clip.fps, given)


@pytest.mark.parametrize("side, bound", [(64, 0.004), (256, 0.003)])
def test_calibrated_error_of_real_videos_is_far_below_the_papers(side, bound):
    found, motions = [], set()
    for seed in range(8):
        clip = world.make_clip(
            ClipRequest(seed, held_out=False, frames=32, height=side, width=side)
        )
        errors = phyworld_parser.velocity_errors(clip.video, expect(clip))
        assert errors["seen"] == 1
        found.append(errors["calibrated"])
        motions.add(clip.attributes["motion"])
        if clip.attributes["motion"] == "uniform" and side == 256:
            # The paper's reading is off by the scale (n - 1) / n, whatever the speed.
            speed = float(clip.truth["velocity"][0, 0, 0])
            np.testing.assert_allclose(errors["paper"], speed / side, atol=0.004)
    assert np.mean(found) < bound and len(motions) == 3


def test_velocity_error_of_a_known_video():
    """A ball that stands still has its velocity as error, a ball that is not seen as well."""
    seed = next(s for s in range(50) if motion_of(s) == "parabola")
    clip = world.make_clip(ClipRequest(seed, held_out=False, frames=17))
    truth = clip.truth["position"][:, 0][clip.truth["in_view"][:, 0]][3:]
    wanted = np.abs((truth[-1] - truth[0]) / (len(truth) - 1) * 10).sum()
    for video in (controls.freeze(clip.video), np.full_like(clip.video, 255)):
        errors = phyworld_parser.velocity_errors(video, expect(clip))
        np.testing.assert_allclose([errors["paper"], errors["calibrated"]], wanted, rtol=1e-5)
    assert errors["seen"] == 0
    short = world.make_clip(ClipRequest(seed, held_out=False, frames=1))
    assert math.isnan(phyworld_parser.velocity_errors(short.video, expect(short))["paper"])


def motion_of(seed):
    return world.make_clip(ClipRequest(seed, held_out=False, frames=1)).attributes["motion"]


def test_velocity_error_of_collisions_counts_after_they_touch():
    seed = next(s for s in range(50) if motion_of(s) == "collision")
    clip = world.make_clip(ClipRequest(seed, held_out=False, frames=33))
    touch = math.ceil((clip.truth["touch"] - 0.01) * 10)
    video = clip.video.copy()
    video[: touch - 1] = 255
    errors = phyworld_parser.velocity_errors(video, expect(clip))
    assert errors["calibrated"] < 0.02 and errors["seen"] == 1
    stuck = world.make_clip(ClipRequest(seed, held_out=False, frames=33, broken="inelastic"))
    assert phyworld_parser.velocity_errors(stuck.video, expect(clip))["calibrated"] > 0.3


def test_the_parser_reads_position_and_radius_on_any_canvas():
    for size in ((64, 64), (54, 96), (96, 64), (128, 128)):
        for seed in range(5):
            clip = world.make_clip(ClipRequest(seed, frames=9, height=size[0], width=size[1]))
            square = phyworld_parser.crop_world(clip.video, 9)
            balls = phyworld_parser.read_balls(square, ["red", "blue"][: len(clip.truth["radius"])])
            for i, ball in enumerate(balls):
                whole = ball.whole & clip.truth["in_view"][:, i]
                np.testing.assert_allclose(
                    ball.center[whole], clip.truth["position"][whole, i], atol=0.04
                )
                np.testing.assert_allclose(ball.radius[whole], clip.truth["radius"][i], rtol=0.05)


def test_velocity_error_leaves_out_frames_that_were_given():
    seed = next(s for s in range(50) if motion_of(s) == "uniform")
    clip = world.make_clip(ClipRequest(seed, held_out=False, frames=17))
    video = clip.video.copy()
    video[:5] = 255
    for given, seen in ((3, 12 / 14), (5, 1)):
        errors = phyworld_parser.velocity_errors(video, expect(clip, given))
        np.testing.assert_allclose(errors["seen"], seen)


def test_errors_beside_baselines():
    seed = next(s for s in range(50) if motion_of(s) == "uniform")
    clip = world.make_clip(ClipRequest(seed, held_out=False, frames=9))
    due, speed = clip.truth["in_view"][:, 0] & (np.arange(9) >= 3), clip.truth["velocity"][0, 0, 0]
    moved = np.abs(speed) / 10 / 10 * (np.arange(9) - 2)
    for video, wanted in ((clip.video, 0 * moved), (controls.freeze(clip.video, 3), moved)):
        errors = phyworld.prediction_errors(phyworld.read(video, expect(clip, 3)))
        for name, right in (("copy_last", moved), ("constant_velocity", 0), ("model", wanted)):
            wrong = errors[name] - np.where(due, right, np.nan)[3:]
            np.testing.assert_allclose(wrong[due[3:]], 0, atol=0.003)
            assert np.isnan(errors[name][~due[3:]]).all() and len(errors[name]) == 6
    unseen = phyworld.prediction_errors(phyworld.read(video * 0 + 255, expect(clip, 1)))
    assert np.nanmax(unseen["model"]) == 0.5 and np.isnan(unseen["constant_velocity"]).all()


def test_a_ball_that_leaps_from_the_given_frames_is_another_ball():
    clip = world.make_clip(ClipRequest(3, held_out=False, frames=9))
    video = np.concatenate([clip.video[:5], clip.video[5:, :, ::-1]])
    assert phyworld.read(clip.video, expect(clip, 5)).shown == 1
    assert phyworld.read(video, expect(clip, 5)).shown < 0.5


def test_any_video_is_read():
    rng, clip = np.random.default_rng(0), world.make_clip(ClipRequest(0, False, 9))
    for shape in ((9, 64, 64, 3), (1, 64, 64, 3), (9, 3, 5, 3), (17, 40, 100, 3), (2, 1, 1, 3)):
        for video in (rng.integers(0, 256, shape, dtype=np.uint8), np.full(shape, 128, np.uint8)):
            for given in (0, 1, 5):
                values = score_video(phyworld, video, expect(clip, given))
                assert given or values["balls"] == values["size"] == values["steady"] == 0
