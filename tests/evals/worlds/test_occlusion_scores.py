"""Tests of the scores of `occlusion`: what they admit, and that each notices what breaks it."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import base as simulator
from data_pipelines.worlds import occlusion as world
from sora_jax.evals.worlds import base, controls, occlusion
from sora_jax.evals.worlds import occlusion_tracking as tracking
from sora_jax.laws.palette import COLORS

SIZES = ((64, 64), (64, 96), (96, 54))
SCORES = {score.name: score for score in occlusion.SCORES}
CLIPS = 12  # for each score


@functools.cache
def make(seed: int, broken: str = "") -> simulator.Clip:
    h, w = SIZES[seed % len(SIZES)]
    frames = 33 if seed % 4 == 0 else 17
    request = simulator.ClipRequest(seed, frames=frames, height=h, width=w, broken=broken)
    return world.make_clip(request)


def expect(seed: int, given: int = 0) -> base.Expected:
    clip = make(seed)
    return base.Expected(clip.attributes, clip.truth, clip.fps, given)


@functools.cache
def score(seed: int, control: str, given: int) -> dict[str, float]:
    clip = make(seed)
    video = clip.video
    if control == "mismatched":
        peers = [s for s in range(400, 500) if make(s).video.shape == video.shape]
        attributes = [clip.attributes, *(make(s).attributes for s in peers[:10])]
        other = make(peers[controls.match_other(attributes, 0) - 1]).video
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
def find_clips(name: str) -> tuple[int, ...]:
    """Seeds of clips to which a score applies, as the real clips decide."""
    given, found, seed = SCORES[name].min_given, [], 0
    while len(found) < CLIPS and seed < 150:
        if not math.isnan(score(seed, "", given)[name]):
            found.append(seed)
        seed += 1
    return tuple(found)


@pytest.mark.parametrize("name", SCORES)
def test_score_is_admitted(name):
    wanted, given = SCORES[name], SCORES[name].min_given
    seeds = find_clips(name)
    assert len(seeds) >= 8
    assert np.mean([score(seed, "", given)[name] for seed in seeds]) >= base.REAL_BAR
    assert wanted.broken_by
    for control in sorted(wanted.broken_by):
        values = [score(seed, control, given)[name] for seed in seeds]
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
    for seed in (0, 1, 6, 7, 12):
        for given in (0, 5):
            real = score(seed, "", given)
            for video in videos:
                values = base.score_video(occlusion, video, expect(seed, given))
                for name in ("color", "wall", "shape", "size", "direction", "hides", "stays"):
                    assert math.isnan(values[name]) or values[name] <= 0.3
                if len(video) >= len(make(seed).video):
                    assert all(math.isnan(values[k]) == math.isnan(real[k]) for k in real)


def test_mild_blur_and_noise_do_not_count():
    names = [name for name in SCORES if name != "prediction"]
    kept = {name: [] for name in names}
    for seed in range(16):
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
    own, other = tracking.unmix(video, tracking.classify_hues(video), "cream", "red", "blue")
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
        if len(hidden) < 9:
            continue
        found += 1
        cut = np.delete(clip.video, hidden[1:-3], 0)
        late = np.concatenate([clip.video[: hidden[1]], np.repeat(clip.video[hidden[1:2]], 6, 0),
                               clip.video[hidden[1] :]])  # fmt: skip
        for video in (cut, late):
            assert base.score_video(occlusion, video, expect(seed))["comes_back_in_time"] == 0
    assert found
