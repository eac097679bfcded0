"""Tests of what the scores of `orbit` are read with: cameras, outlines, hues, solids."""

import functools
import math

import numpy as np
import pytest

from data_pipelines.worlds import base, camera, orbit
from sora_jax.evals.worlds import orbit as scores
from sora_jax.evals.worlds import (
    orbit_camera,
    orbit_path,
    orbit_sight,
    orbit_solids,
    orbit_truth,
    orbit_warp,
)
from sora_jax.evals.worlds.base import Expected, score_video
from sora_jax.laws import orbit as laws
from sora_jax.laws.palette import COLORS, FPS

SEEDS = (2001, 2005, 2012, 2018, 2028, 2035)  # some with one solid, some with a rolling ball
FRAMES, HEIGHT, WIDTH = 12, 48, 48


@functools.cache
def _make(seed: int, broken: str = "") -> base.Clip:
    return orbit.make_clip(
        base.ClipRequest(seed, frames=FRAMES, height=HEIGHT, width=WIDTH, broken=broken)
    )


def _project_truth(clip: base.Clip):
    """Returns where the simulator's standing solids are, as the fit takes them, and their z."""
    h, w = clip.video.shape[1:3]
    first = int(clip.attributes["path"] != "none")
    center = orbit_truth.project(clip.truth, h, w)[first:]
    seen = (center - np.array([w / 2, h / 2])) / min(h, w)
    return seen, clip.truth["positions"][0, first:, 2].astype(np.float64), first


def test_a_fit_of_exact_tracks_finds_the_camera():
    tested = 0
    for seed in SEEDS:
        clip = _make(seed)
        seen, z, first = _project_truth(clip)
        if len(seen) < 2:
            continue
        tested += 1
        motion = clip.attributes["motion"]
        distance = laws.middle_distance(len(seen) + first, bool(first))
        fits = {
            m: orbit_camera.fit(m, seen, np.ones(seen.shape[:2], bool), z, distance)
            for m in laws.MOTIONS
        }
        assert min(fits, key=lambda m: orbit_camera.measure_cost(fits[m].errors)) == motion
        u = fits[motion].u if motion == "dolly" else np.degrees(fits[motion].u)
        truth = clip.truth["u"] - clip.truth["u"][0]
        np.testing.assert_allclose(u, truth, atol=0.1 * np.ptp(truth))
        path = orbit_path.fit_path(motion, u, np.ones(len(u), bool), FPS, distance)
        assert abs(path.rate) == pytest.approx(abs(clip.truth["camera_speed"]), rel=0.12)
        assert laws.name_directions(motion, path.u) == clip.attributes["direction"]
    assert tested >= 5


def test_places_are_found_from_their_pictures():
    z, u = np.array([0.3, 0.5]), np.array([0.0, 0.2, -0.3])
    places = np.array([[-0.5, 3.0], [0.4, 2.2]])
    for motion in laws.MOTIONS:
        seen, depth = orbit_camera.project(motion, 2.0, 0.45, places, z, u)
        assert (depth > 0).all()
        found = orbit_camera.locate(motion, 2.0, 0.45, seen, z, u)
        np.testing.assert_allclose(found, np.broadcast_to(places[:, None], found.shape), atol=1e-9)


def test_hues_survive_shade_and_mixture_with_a_grey_floor():
    for i, (name, color) in enumerate(COLORS.items()):
        for gain, grey in ((1.0, 0.0), (0.55, 0.0), (0.8, 40.0)):
            pixel = np.clip(gain * np.array(color) + grey, 0, 255).astype(np.uint8)
            index, _ = orbit_sight.find_colors(pixel[None, None, None])
            assert index.item() == i, name
    grey, _ = orbit_sight.find_colors(np.full((1, 1, 1, 3), 128, np.uint8))
    assert grey.item() == -1


def test_outlines_agree_with_masks():
    """Centroids of the simulator's outlines are those of the pixels where solids are whole."""
    clip = _make(SEEDS[0])
    h, w = clip.video.shape[1:3]
    pairs = [pair.split() for pair in clip.attributes["solids"].split(", ")]
    sight = orbit_sight.select(orbit_sight.look(clip.video, 2), [color for color, _ in pairs])
    truth, _ = orbit_truth.find_outlines(clip.truth, [solid for _, solid in pairs], h, w)
    assert sight.whole.any()
    miss = np.abs(truth - sight.center)[sight.whole]
    assert np.median(miss) < 0.25 and miss.max() < 1


def test_projection_is_that_of_the_simulator():
    clip = _make(SEEDS[1])
    h, w = clip.video.shape[1:3]
    seen = orbit_truth.project(clip.truth, h, w)
    for i in range(len(seen)):
        points = clip.truth["positions"][:, i]
        column, row, _ = camera.project(points, clip.truth["pose"], clip.truth["intrinsics"])
        np.testing.assert_allclose(seen[i], np.stack([column, row], -1), atol=1e-6)
    np.testing.assert_allclose(orbit_truth.project(clip.truth, 2 * h, 2 * w), 2 * seen, atol=1e-6)


def test_warp_notices_the_order_of_frames():
    clip = _make(SEEDS[0])
    assert orbit_warp.measure_warp(clip.truth, clip.video, 0) > 0.9
    for order in (np.r_[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 11], np.r_[0, FRAMES - 1 : 0 : -1]):
        assert orbit_warp.measure_warp(clip.truth, clip.video[order], 0) < 0.2


def test_errors_of_prediction_are_small_where_the_video_is_the_simulators():
    clip = _make(SEEDS[2])
    given = 4
    reading = scores.read(clip.video, Expected(clip.attributes, clip.truth, FPS, given))
    errors = scores.prediction_errors(reading)
    assert all(len(values) == FRAMES - given for values in errors.values())
    assert np.nanmax(errors["model"]) < 0.02
    assert np.nanmax(errors["copy_last"]) > 2 * np.nanmax(errors["constant_velocity"])
    still = clip.video[np.minimum(np.arange(FRAMES), given - 1)]
    reading = scores.read(still, Expected(clip.attributes, clip.truth, FPS, given))
    errors = scores.prediction_errors(reading)
    np.testing.assert_allclose(errors["model"], errors["copy_last"], atol=0.01)
    none = scores.read(clip.video, Expected(clip.attributes, clip.truth, FPS, 1))
    assert not any(len(values) for values in scores.prediction_errors(none).values())


@pytest.mark.parametrize("given", [0, 5])
@pytest.mark.parametrize("shape", [(1, 48, 48, 3), (3, 20, 30, 3), (20, 48, 64, 3)])
def test_any_video_is_read(shape, given):
    rng = np.random.default_rng(0)
    clip = _make(SEEDS[1])
    for video in (
        rng.integers(0, 256, shape, np.uint8),
        np.full(shape, 128, np.uint8),
        np.full(shape, COLORS["red"], np.uint8),
    ):
        values = score_video(scores, video, Expected(clip.attributes, clip.truth, FPS, given))
        assert values["colors"] < 1 and not values["motion_class"] > 0 and not values["rigid"] > 0
        assert not values["depth_warp"] > 0.5 and not values["prediction"] > 0.5


def test_what_applies_is_decided_by_the_expected_clip_alone():
    clip = _make(SEEDS[2])
    expected = Expected(clip.attributes, clip.truth, FPS, 5)
    real = score_video(scores, clip.video, expected)
    grey = score_video(scores, np.full_like(clip.video, 128), expected)
    assert {k for k, v in real.items() if math.isnan(v)} == {
        k for k, v in grey.items() if math.isnan(v)
    }
    still = orbit.make_clip(base.ClipRequest(SEEDS[2], frames=1, height=HEIGHT, width=WIDTH))
    values = score_video(scores, still.video, Expected(still.attributes, still.truth, FPS))
    assert math.isnan(values["rigid"]) and values["colors"] == 1


def test_a_solid_may_only_vanish_behind_something():
    area = np.array([50, 20, 0, 0, 30, 50])
    beside, nowhere, everywhere = np.ones(6, bool), np.zeros(6, bool), np.ones(6, bool)
    assert orbit_solids.share_missing(area, beside, nowhere) == 0
    assert orbit_solids.share_missing(area, nowhere, nowhere) == pytest.approx(2 / 6)
    assert orbit_solids.share_missing(area, beside, everywhere) == pytest.approx(2 / 6)
    assert orbit_solids.share_missing(50 * (area > 0), beside, nowhere) == pytest.approx(2 / 6)
    assert orbit_solids.share_missing(0 * area, beside, nowhere) == 1
