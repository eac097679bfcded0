"""The painter's scores: lawful videos pass, each control that breaks one falls below half."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import painter as simulator
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import controls, painter
from sora_jax.evals.worlds.base import CONTROL_BAR, REAL_BAR, Expected, score_video
from sora_jax.evals.worlds.painter_figure import name_figure
from sora_jax.evals.worlds.painter_scene import find_scene
from sora_jax.laws import painter as laws

SEEDS = range(300, 310)
SIZES = ((64, 64), (48, 60))
FAMILIES = (*controls.CONTROLS, *simulator.BROKEN)
SCORES = {score.name: score for score in painter.SCORES}
GIVEN = 5


def request(index, broken=""):
    height, width = SIZES[index % 4 // 2]
    return ClipRequest(SEEDS[index], None, (17, 9, 17)[index % 3], height, width, False, broken)


@functools.cache
def make(index, broken=""):
    return simulator.make_clip(request(index, broken))


def show(family, index, given):
    video = make(index).video
    if family == "frozen":
        return controls.freeze(video, given)
    if family == "shuffled":
        return controls.shuffle(video, given, index)
    if family == "reversed":
        return controls.reverse(video, given)
    if family == "grey_disc":
        return controls.grey_disc(video, make(index).attributes["color"], given)
    if family == "mismatched":
        other = controls.match_other([make(i).attributes for i in range(len(SEEDS))], index)
        t, h, w, _ = video.shape
        shown = simulator.make_clip(ClipRequest(SEEDS[other], None, t, h, w)).video
        return np.concatenate([video[:given], shown[given:]])
    if family == "codec":
        blurred = ndimage.gaussian_filter(video.astype(np.float32), (0, 0.7, 0.7, 0))
        noisy = blurred + np.random.default_rng(index).normal(0, 2, video.shape)
        return np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    return make(index, "" if family == "real" else family).video


@functools.cache
def score(family, given):
    rows = []
    for index in range(0, len(SEEDS), 2 if given else 1):
        clip = make(index)
        expected = Expected(clip.attributes, clip.truth, clip.fps, given)
        rows.append(score_video(painter, show(family, index, given), expected))
    return rows


def average(name, family):
    values = [row[name] for row in score(family, SCORES[name].min_given)]
    return float(np.nanmean(values))


@pytest.mark.parametrize("name", SCORES)
def test_real_clips_reach_the_bar(name):
    assert average(name, "real") >= REAL_BAR


@pytest.mark.parametrize("name", SCORES)
def test_real_clips_survive_a_codec(name):
    assert average(name, "codec") >= 0.9


@pytest.mark.parametrize(
    ("name", "family"), [(s.name, f) for s in SCORES.values() for f in sorted(s.broken_by)]
)
def test_controls_fall_below_the_bar(name, family):
    assert average(name, family) < CONTROL_BAR


def test_every_score_and_every_broken_law_has_its_counterpart():
    named = set().union(*(s.broken_by for s in SCORES.values()))
    assert all(s.broken_by for s in SCORES.values())
    assert named <= set(FAMILIES) and set(simulator.BROKEN) <= named


@pytest.mark.parametrize("given", [0, 1, GIVEN])
def test_any_video_has_values(given):
    rng = np.random.default_rng(0)
    for index in (0, 1):
        clip = make(index)
        t, h, w, _ = clip.video.shape
        expected = Expected(clip.attributes, clip.truth, clip.fps, given)
        applies = {k for k, v in score_video(painter, clip.video, expected).items() if v == v}
        for video in (
            np.full((t, h, w, 3), 128, np.uint8),
            rng.integers(0, 256, (t, h, w, 3)).astype(np.uint8),
            clip.video[:1],
            clip.video[:, : h // 2],
            np.concatenate([clip.video] * 2),
            np.zeros((1, 1, 1, 3), np.uint8),
            np.zeros((2, 5, 9, 3), np.uint8),
        ):
            values = score_video(painter, video, expected)
            assert {k for k, v in values.items() if not math.isnan(v)} == applies
        grey = score_video(painter, np.full((t, h, w, 3), 128, np.uint8), expected)
        assert all(not v > 0 for v in grey.values())


def test_the_tip_and_the_ink_are_those_of_the_simulator():
    for index in range(6):
        clip = make(index)
        t, h, w, _ = clip.video.shape
        scene = find_scene(clip.video, Expected(clip.attributes, clip.truth, clip.fps))
        tip = clip.truth["tip"] * min(h, w)
        inside = ((tip > 3) & (tip < np.array([w, h]) - 3)).all(1)
        error = np.hypot(*(scene.tip - tip).T)[inside]
        assert np.nanmax(error) < 1.5 and np.isnan(error).mean() < 0.2
        masks = np.unpackbits(clip.truth["painted"], axis=1)[:, : h * w].reshape(t, h, w) > 0
        wrong = (scene.ink.any(0) != masks) & ~scene.hidden
        assert wrong[-1].sum() <= 0.1 * masks[-1].sum() + 8


@pytest.mark.parametrize("figure", laws.FIGURES)
def test_figures_are_named_whatever_their_size(figure):
    for size, width, tilt in ((22, 3.0, 0.1), (40, 6.0, -0.12)):
        angle = tilt * (8 if figure in laws.TURNING else 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rows, columns = np.mgrid[:64, :64] + 0.5
        ink = np.zeros((64, 64), bool)
        for line in laws.FIGURES[figure]:
            points = line @ turn.T * size + 32
            for a, b in zip(points[:-1], points[1:], strict=True):
                for u in np.linspace(0, 1, 40):
                    x, y = a + u * (b - a)
                    ink |= np.hypot(columns - x, rows - y) <= width / 2
        name, likeness = name_figure(ink, np.zeros_like(ink))
        assert name == figure and likeness > 0.8
    half = ink & (rows > 32)
    if figure in ("circle", "square", "letter c", "letter s", "letter z", "zigzag"):
        name, likeness = name_figure(half, np.zeros_like(ink))
        assert name != figure or likeness < 0.75
