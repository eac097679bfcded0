"""The painter's scores: readers against the truth, and videos that a codec has blurred."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import painter as simulator
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import painter
from sora_jax.evals.worlds.base import Expected, score_video
from sora_jax.evals.worlds.painter_figure import name_figure
from sora_jax.evals.worlds.painter_scene import find_scene
from sora_jax.laws import painter as laws

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
    return score_video(painter, video, Expected(clip.attributes, clip.truth, clip.fps, given))


@pytest.mark.parametrize("given", [0, GIVEN])
def test_real_clips_survive_a_codec(given):
    rows = [score(blur(make(i).video), make(i), given) for i in range(0, len(SEEDS), 2)]
    for name in rows[0]:
        values = [row[name] for row in rows if not math.isnan(row[name])]
        assert not values or np.mean(values) >= 0.9, name


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


def test_the_tip_is_predicted_beside_two_guesses():
    for index in range(4):
        clip = make(index)
        t, h, w, _ = clip.video.shape
        expected = Expected(clip.attributes, clip.truth, clip.fps, GIVEN)
        found = painter.prediction_errors(painter.read(clip.video, expected))
        tip = clip.truth["tip"]
        room = np.array([w, h]) / min(h, w)
        inside = ((tip >= 0.1) & (tip <= room - 0.1)).all(1)[GIVEN:]
        for guess in found.values():
            np.testing.assert_array_equal(np.isnan(guess), ~inside)
        ahead = np.arange(1, t - GIVEN + 1)[:, None]
        last, step = tip[GIVEN - 1], tip[GIVEN - 1] - tip[GIVEN - 2]
        for name, place in (("copy_last", last), ("constant_velocity", last + ahead * step)):
            error = np.minimum(np.hypot(*(place - tip[GIVEN:]).T), 1)
            np.testing.assert_allclose(found[name][inside], error[inside], rtol=1e-5)
        assert np.median(found["model"][inside]) < 0.03
        grey = painter.read(np.full_like(clip.video, 128), expected)
        assert (painter.prediction_errors(grey)["model"][inside] == 1).all()
