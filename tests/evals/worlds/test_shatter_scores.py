"""Scores of the shattering world: readings match the truth, laws are noticed."""

import numpy as np
import pytest

from data_pipelines.worlds import shatter as world
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import controls, shatter
from sora_jax.evals.worlds.base import Expected, score_video
from sora_jax.evals.worlds.shatter_measures import fit_gravity

pytest.importorskip("pymunk")


def make(seed, **request):
    return world.make_clip(
        ClipRequest(seed, **{"frames": 17, "height": 64, "width": 96, "held_out": False} | request)
    )


def expect(clip, given=0):
    return Expected(clip.attributes, clip.truth, clip.fps, given)


def find_breaks(count):
    """Clips whose target breaks within them, with time for the pieces to land."""
    clips = (make(seed) for seed in range(500))
    found = (c for c in clips if c.truth["breaks"] and 2 <= c.truth["impact"] <= 5)
    return [next(found) for _ in range(count)]


def test_what_is_read_is_what_was_made():
    for clip in find_breaks(5):
        reading, truth = shatter.read(clip.video, expect(clip)), clip.truth
        for t in range(17):
            inside = (truth["ball"][t] > 0.1).all() and truth["ball"][t, 0] < 1.4
            if inside:
                assert np.linalg.norm(reading.ball.centers[t][0] - truth["ball"][t]) < 0.015
        np.testing.assert_allclose(reading.target.area[0], truth["areas"].sum(), rtol=0.05)
        share = truth["areas"] / truth["areas"].sum()
        middle = (truth["poses"][..., :2] * share[:, None]).sum(1)
        error = np.linalg.norm(reading.target.middle - middle, axis=1)[truth["inside"]]
        assert error.max() < 0.03 and reading.intact[0]
        assert 0 < reading.broken - truth["impact"] < 3
        np.testing.assert_allclose(fit_gravity(reading), 1.2, rtol=0.35)


@pytest.mark.parametrize("outcome", ["breaks", "holds", "is missed"])
def test_the_ball_leaves_the_impact_as_the_outcome_says(outcome):
    clips = ((seed, make(seed)) for seed in range(500))
    found = (
        (seed, clip)
        for seed, clip in clips
        if clip.attributes["outcome"] == outcome and 2 <= clip.truth["impact"] <= 7
    )
    for _ in range(2):
        seed, clip = next(found)
        turned = make(seed, broken="ball_turns").video
        for video, value in ((clip.video, 1), (turned, 0), (controls.freeze(clip.video), 0)):
            assert score_video(shatter, video, expect(clip))["ball_after"] == value


def test_without_gravity_none_is_read():
    for clip in find_breaks(4):
        still = clip.video.copy()
        hit = int(np.ceil(clip.truth["impact"]))
        still[hit + 2 :] = still[hit + 2]  # the pieces hang where they are
        values = score_video(shatter, still, expect(clip))
        assert values["pieces_fall"] == 0 and values["breaks"] == 1


def test_the_outcome_that_is_said_decides_which_scores_apply():
    for seed in range(18):
        clip = make(seed)
        truth = clip.truth
        values = score_video(shatter, clip.video, expect(clip))
        shown = truth["breaks"] and 0 <= truth["impact"] <= 13
        assert np.isnan(values["breaks"]) != shown
        assert np.isnan(values["after_impact"]) != shown
        if clip.attributes["outcome"] != "breaks":
            assert values["stays_whole"] == 1 and np.isnan(values["never_heals"])
        blank = np.full_like(clip.video, 128)
        none = score_video(shatter, blank, expect(clip))
        assert all(np.isnan(none[k]) == np.isnan(values[k]) for k in values)
        assert all(
            none[k] in (0, 1) or np.isnan(none[k]) for k in ("ball", "target", "breaks", "scene")
        )
        assert none["target"] == 0 and none["scene"] == 0


def test_errors_beside_baselines():
    clips = (make(seed) for seed in range(500))
    clip = next(
        clip
        for clip in clips
        if 5 <= clip.truth["impact"] <= 9
        and shatter.read(clip.video, expect(clip)).ball_whole[:4].all()
    )
    path, hit = clip.truth["ball"], int(clip.truth["impact"])
    moved = np.linalg.norm(path - path[2], axis=1)
    bent = 1.2 / 8**2 * np.array([0, 1, 3, 6, 10, 15, 21])[: hit - 1]  # of a fall at 1.2 units/s^2
    errors = shatter.prediction_errors(shatter.read(clip.video, expect(clip, 3)))
    moved, known = moved[3:], np.arange(hit - 2)
    np.testing.assert_allclose(errors["copy_last"][known], moved[known], atol=1e-5)
    np.testing.assert_allclose(
        errors["constant_velocity"][known], bent[1 : len(known) + 1], atol=1e-3
    )
    assert errors["model"][known].max() < 0.015
    unknown = np.setdiff1d(np.arange(14), known)
    assert all(np.isnan(error[unknown]).all() for error in errors.values())
    frozen = shatter.read(controls.freeze(clip.video, 3), expect(clip, 3))
    np.testing.assert_allclose(
        shatter.prediction_errors(frozen)["model"][known], moved[known], atol=0.015
    )


def test_any_video_is_read():
    rng = np.random.default_rng(0)
    clip = find_breaks(1)[0]
    for shape in ((17, 48, 48, 3), (1, 64, 96, 3), (5, 9, 7, 3), (20, 20, 50, 3)):
        for video in (rng.integers(0, 256, shape, np.uint8), np.full(shape, 128, np.uint8)):
            for given in (0, 1, 5):
                assert score_video(shatter, video, expect(clip, given))["target"] == 0
