"""Tests of the scores of `occlusion`: what they admit, and that each notices what breaks it."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import base as simulator
from data_pipelines.worlds import occlusion as world
from data_pipelines.worlds import occlusion_physics, occlusion_story
from sora_jax.evals.worlds import base, occlusion
from sora_jax.evals.worlds import occlusion_tracking as tracking
from sora_jax.laws.palette import COLORS

SCORES = {score.name: score for score in occlusion.SCORES}
STORIES = {  # event, story of the first object: clips of the pool
    ("through", "again"): 5,
    ("through", "appears"): 1,
    ("cross", "again"): 3,
    ("back", "again"): 4,
    ("stays", "stays"): 3,
    ("beside", "stays"): 3,
    ("beside", "again"): 2,
    ("leaves", "again"): 3,
    ("pan", "again"): 2,
}


@functools.cache
def find_pool() -> tuple[int, ...]:
    """Seeds of clips with the stories of `STORIES`, found without drawing them."""
    left, pool, seed = dict(STORIES), [], 0
    while any(left.values()) and seed < 3000:
        rng = simulator.make_rng(world.NAME, seed)
        simulator.draw_canvas(rng, simulator.ClipRequest(seed), world.BROKEN)
        scene = occlusion_physics.draw_scene(rng, None, False)
        times = scene.start + np.arange(count_frames(seed))
        key = scene.event, occlusion_story.tell(scene, scene.things[0], times).story
        if left.get(key, 0):
            left[key] -= 1
            pool.append(seed)
        seed += 1
    return tuple(pool)


def count_frames(seed: int) -> int:
    return 33 if seed % 3 == 0 else 17


@functools.cache
def make(seed: int, broken: str = "") -> simulator.Clip:
    request = simulator.ClipRequest(
        seed, frames=count_frames(seed), height=48, width=56, broken=broken
    )
    return world.make_clip(request)


def expect(seed: int, given: int = 0) -> base.Expected:
    clip = make(seed)
    return base.Expected(clip.attributes, clip.truth, clip.fps, given)


@functools.cache
def score(seed: int) -> dict[str, float]:
    return base.score_video(occlusion, make(seed).video, expect(seed))


@pytest.mark.parametrize("given", [1, 5, 9])
def test_real_clips_pass_after_given_frames(given):
    values = [base.score_video(occlusion, make(s).video, expect(s, given)) for s in find_pool()]
    for name in SCORES:
        known = [v[name] for v in values if not math.isnan(v[name])]
        assert not known or np.mean(known) >= base.REAL_BAR, name


def test_errors_of_prediction_are_small_where_the_video_is_the_simulators():
    tested = 0
    for seed in find_pool():
        clip, given = make(seed), 3
        errors = occlusion.prediction_errors(occlusion.read(clip.video, expect(seed, given)))
        assert {len(values) for values in errors.values()} == {len(clip.video) - given}
        known = ~np.isnan(errors["model"])
        if known.any():
            tested += 1
            assert errors["model"][known].max() < 0.02
            assert (known == ~np.isnan(errors["copy_last"])).all()
            steady = clip.attributes["event"] == "through"
            assert not steady or errors["constant_velocity"][known].max() < 0.06
    assert tested >= 3


@pytest.mark.parametrize("shape", [(1, 64, 96), (17, 64, 96), (9, 16, 16), (40, 30, 70)])
def test_reading_never_fails_and_nothing_scores_nothing(shape):
    rng = np.random.default_rng(0)
    videos = [np.full((*shape, 3), 128, np.uint8), np.zeros((*shape, 3), np.uint8)]
    videos += [rng.integers(0, 256, (*shape, 3), np.uint8)]
    for seed in find_pool()[::7]:
        real = score(seed)
        for video in videos:
            values = base.score_video(occlusion, video, expect(seed))
            assert all(math.isnan(v) or v <= 0.3 for v in values.values()) or shape[1] < 30
            if len(video) >= len(make(seed).video):
                assert all(math.isnan(values[k]) == math.isnan(real[k]) for k in real)


def test_mild_blur_and_noise_do_not_count():
    names = [name for name in SCORES if name != "prediction"]
    kept = {name: [] for name in names}
    for seed in find_pool()[::3]:
        clip, rng = make(seed), np.random.default_rng(seed)
        soft = ndimage.gaussian_filter(clip.video.astype(float), (0, 0.7, 0.7, 0))
        soft = np.clip(soft + rng.normal(0, 2, soft.shape) + 0.5, 0, 255).astype(np.uint8)
        values = base.score_video(occlusion, soft, expect(seed))
        for name in names:
            kept[name].append(values[name])
    for name, values in kept.items():
        assert np.isnan(values).all() or np.nanmean(values) >= 0.85, name


def test_shares_of_mixed_pixels_are_exact():
    floor, color, wall = (
        np.array(c, float) for c in ((230, 219, 194), COLORS["red"], COLORS["blue"])
    )
    shares = np.array([[0.0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0.3, 0, 0.7], [0.6, 0.4, 0]])
    row = np.concatenate([np.repeat(shares[:1], 6, 0), shares[1:2], np.repeat(shares[2:3], 6, 0)])
    video = np.tile(row @ np.stack([floor, color, wall]), (1, 5, 1, 1)).round().astype(np.uint8)
    own, other = tracking.unmix(video, tracking.find_colors(video), "cream", "blue", "red", "none")
    np.testing.assert_allclose(own[0, 2], row[:, 1], atol=0.02)
    np.testing.assert_allclose(other[0, 2], row[:, 2], atol=0.02)
    left, right = tracking.track(own).left[0], tracking.track(own).right[0]
    assert left == pytest.approx(0, abs=0.02) and right == pytest.approx(6.5, abs=0.05)


def test_in_time_notices_how_late_it_is():
    """A clip whose hidden frames are cut or doubled comes out too early or too late."""
    found = 0
    for seed in find_pool():
        if math.isnan(score(seed)["comes_back_in_time"]):
            continue
        clip = make(seed)
        hidden = np.flatnonzero(clip.truth["hidden"][0])
        if len(hidden) < 8:
            continue
        found += 1
        cut = np.delete(clip.video, hidden[1:-3], 0)
        late = np.concatenate([clip.video[: hidden[1]], np.repeat(clip.video[hidden[1:2]], 6, 0),
                               clip.video[hidden[1] :]])  # fmt: skip
        for video in (cut, late):
            assert base.score_video(occlusion, video, expect(seed))["comes_back_in_time"] == 0
    assert found
