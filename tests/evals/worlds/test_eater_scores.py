"""The eater's scores: readers against the truth, and videos that a codec has blurred."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import eater as simulator
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import eater
from sora_jax.evals.worlds.base import Expected, score_video
from sora_jax.evals.worlds.eater_food import fit_circle, measure_distance_to
from sora_jax.evals.worlds.eater_scene import find_scene
from sora_jax.laws import eater as laws

SEEDS = range(300, 310)
SIZES = ((64, 64), (48, 60))
GIVEN = 5


@functools.cache
def make(index):
    height, width = SIZES[index % 4 // 2]
    return simulator.make_clip(
        ClipRequest(SEEDS[index], None, (17, 9, 17)[index % 3], height, width)
    )


def blur(video):
    noise = np.random.default_rng(0).normal(0, 2, video.shape)
    soft = ndimage.gaussian_filter(video.astype(np.float32), (0, 0.7, 0.7, 0))
    return np.clip(soft + noise + 0.5, 0, 255).astype(np.uint8)


def score(video, clip, given=0):
    return score_video(eater, video, Expected(clip.attributes, clip.truth, clip.fps, given))


@pytest.mark.parametrize("given", [0, GIVEN])
def test_real_clips_survive_a_codec(given):
    rows = [score(blur(make(i).video), make(i), given) for i in range(0, len(SEEDS), 2)]
    for name in rows[0]:
        values = [row[name] for row in rows if not math.isnan(row[name])]
        assert not values or np.mean(values) >= 0.9, name


def test_a_face_in_front_of_a_bite_that_it_has_not_taken_has_not_bitten():
    clips = map(make, range(len(SEEDS)))
    clip = next(c for c in clips if np.diff(c.truth["bites"][GIVEN:]).sum() and len(c.video) == 17)
    counts = np.asarray(clip.truth["bites"])
    last = int(np.flatnonzero(np.diff(counts) > 0)[-1])  # before the last bite is seen
    parked = clip.video[np.minimum(np.arange(17), last)]
    assert score(clip.video, clip, GIVEN)["only_by_mouth"] >= 0.95
    new = counts[-1] - counts[GIVEN - 1]
    assert score(parked, clip, GIVEN)["only_by_mouth"] <= (new - 1) / new / 0.8 + 0.05


@pytest.mark.parametrize("given", [0, 1, GIVEN])
def test_any_video_has_values(given):
    rng = np.random.default_rng(0)
    for index in (0, 1):
        clip = make(index)
        t, h, w, _ = clip.video.shape
        expected = Expected(clip.attributes, clip.truth, clip.fps, given)
        applies = {k for k, v in score_video(eater, clip.video, expected).items() if v == v}
        for video in (
            np.full((t, h, w, 3), 128, np.uint8),
            rng.integers(0, 256, (t, h, w, 3)).astype(np.uint8),
            clip.video[:1],
            clip.video[:, : h // 2],
            np.concatenate([clip.video] * 2),
            np.zeros((1, 1, 1, 3), np.uint8),
            np.zeros((2, 5, 9, 3), np.uint8),
        ):
            values = score_video(eater, video, expected)
            assert {k for k, v in values.items() if not math.isnan(v)} == applies
        grey = score_video(eater, np.full((t, h, w, 3), 128, np.uint8), expected)
        assert all(not v > 0 for v in grey.values())


def test_centers_and_bites_are_those_of_the_simulator():
    for index in range(6):
        clip = make(index)
        unit = min(clip.video.shape[1:3])
        scene = find_scene(clip.video, Expected(clip.attributes, clip.truth, clip.fps))
        assert scene is not None
        assert np.hypot(*(scene.center - clip.truth["center"] * unit)) < 1
        assert abs(scene.radius - clip.truth["radius"] * unit) < 1
        seen = clip.truth["in_sight"] > 0.9
        error = np.hypot(*(scene.face - clip.truth["mouth"] * unit).T)
        assert np.nanmax(error[seen]) < 1.5 and not np.isnan(error[seen]).any()
        # A bite is seen when the face lets go of it.
        lag = clip.truth["bites"] - scene.counts
        assert lag.min() >= 0 and lag.max() <= 1


@pytest.mark.parametrize("bites", [0, 3])
def test_circles_are_fitted_to_what_is_left(bites):
    center, radius = np.array([30.3, 33.8]), 19.4
    mask = measure_distance_to(center, 64, 64) <= radius
    for i in range(bites):
        bite = center + radius * np.array([np.cos(i * 0.7), np.sin(i * 0.7)])
        mask &= measure_distance_to(bite, 64, 64) > laws.BITE_RADIUS * 64
    found = fit_circle(mask, 12.0, 26.0)
    assert found is not None
    assert np.hypot(*(found[0] - center)) < 0.4 and abs(found[1] - radius) < 0.4
    assert fit_circle(np.zeros((64, 64), bool), 12.0, 26.0) is None
