"""Tests of the scores of `occlusion`: what they admit, and that each notices what breaks it."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import base as simulator
from data_pipelines.worlds import occlusion as world
from data_pipelines.worlds import occlusion_physics, occlusion_story
from sora_jax.evals.worlds import base, controls, occlusion
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
BROKEN = 5  # clips on which a broken law is tried, of those to which a score applies


@functools.cache
def find_pool() -> tuple[int, ...]:
    """Seeds of clips with the stories of `STORIES`, found without drawing them."""
    left, pool, seed = dict(STORIES), [], 0
    while any(left.values()) and seed < 3000:
        rng = simulator.make_rng(world.NAME, seed)
        simulator.draw_canvas(rng, simulator.ClipRequest(seed))
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
def score(seed: int, control: str, given: int) -> dict[str, float]:
    clip = make(seed)
    video = clip.video
    if control == "mismatched":
        attributes = [make(s).attributes for s in find_pool()]
        other = make(find_pool()[controls.match_other(attributes, find_pool().index(seed))]).video
        other = other[np.minimum(np.arange(len(video)), len(other) - 1)]
        video = np.concatenate([video[:given], other[given:]])
    elif control == "grey_disc":
        video = controls.grey_disc(video, clip.attributes["color"], given)
    elif control == "shuffled":
        video = controls.shuffle(video, given, seed)
    elif control in ("frozen", "reversed"):
        video = {"frozen": controls.freeze, "reversed": controls.reverse}[control](video, given)
    elif control:
        video = make(seed, control).video
    return base.score_video(occlusion, video, expect(seed, given))


@functools.cache
def find_clips(name: str) -> list[int]:
    """Seeds of the pool's clips to which a score applies."""
    given = SCORES[name].min_given
    return [seed for seed in find_pool() if not math.isnan(score(seed, "", given)[name])]


@pytest.mark.parametrize("name", SCORES)
def test_score_is_admitted(name):
    wanted, given = SCORES[name], SCORES[name].min_given
    seeds = find_clips(name)[:12]
    assert len(seeds) >= 5 and wanted.broken_by
    assert np.mean([score(seed, "", given)[name] for seed in seeds]) >= base.REAL_BAR
    for control in sorted(wanted.broken_by):
        step = max(len(seeds) // BROKEN, 1) if control in world.BROKEN else 1
        values = [score(seed, control, given)[name] for seed in seeds[::step]]
        assert np.mean(values) < base.CONTROL_BAR, f"{control} keeps {np.mean(values):.2f}"


def test_controls_are_known():
    known = {*controls.CONTROLS, *world.BROKEN}
    for wanted in occlusion.SCORES:
        assert wanted.broken_by <= known
    assert set(world.BROKEN) <= set().union(*(s.broken_by for s in occlusion.SCORES))


@pytest.mark.parametrize("shape", [(1, 64, 96), (17, 64, 96), (9, 16, 16), (40, 30, 70)])
def test_reading_never_fails_and_nothing_scores_nothing(shape):
    rng = np.random.default_rng(0)
    videos = [np.full((*shape, 3), 128, np.uint8), np.zeros((*shape, 3), np.uint8)]
    videos += [rng.integers(0, 256, (*shape, 3), np.uint8)]
    for seed in find_pool()[::7]:
        real = score(seed, "", 0)
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
    own, other = tracking.unmix(
        video, tracking.classify_hues(video), "cream", "blue", "red", "none"
    )
    np.testing.assert_allclose(own[0, 2], row[:, 1], atol=0.02)
    np.testing.assert_allclose(other[0, 2], row[:, 2], atol=0.02)
    left, right = tracking.track(own).left[0], tracking.track(own).right[0]
    assert left == pytest.approx(0, abs=0.02) and right == pytest.approx(6.5, abs=0.05)


def test_in_time_notices_how_late_it_is():
    """A clip whose hidden frames are cut or doubled comes out too early or too late."""
    found = 0
    for seed in find_clips("comes_back_in_time"):
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
