"""The colour rule names the object's colour in real, dimmed and blurred clips, and nothing else."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from data_pipelines.worlds import ballistics
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.color import dominant_color

CLIPS = 200


@pytest.fixture(scope="module")
def clips():
    return [
        ballistics.make_clip(ClipRequest(900_000 + i, frames=1 + 4 * (i % 2))) for i in range(CLIPS)
    ]


def blur(video):
    frames = [Image.fromarray(f).filter(ImageFilter.GaussianBlur(2.5)) for f in video]
    return np.stack([np.asarray(frame) for frame in frames])


def noise(video):
    grain = np.random.default_rng(0).normal(0, 12, video.shape)
    return np.clip(video + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [(lambda v: v, 0.98), (blur, 0.95), (noise, 0.95)],
    ids=["real", "blur", "noise"],
)
def test_names_the_colour(clips, change, wanted):
    named = [dominant_color(change(c.video), ballistics.COLORS) for c in clips]
    right = [name == c.attributes["color"] for name, c in zip(named, clips, strict=True)]
    assert np.mean(right) >= wanted


@pytest.mark.parametrize("background", ballistics.BACKGROUNDS)
def test_no_colour_on_an_empty_background(background):
    video = np.empty((5, 64, 64, 3), np.uint8)
    video[:] = ballistics.BACKGROUNDS[background]
    assert dominant_color(video, ballistics.COLORS) is None
    assert dominant_color(noise(video), ballistics.COLORS) is None


def test_all_frames_vote():
    video = np.full((3, 32, 32, 3), 255, np.uint8)
    video[0, :8, :8] = ballistics.COLORS["red"]
    video[1:, :8, :8] = ballistics.COLORS["cyan"]
    assert dominant_color(video, ballistics.COLORS) == "cyan"
    assert dominant_color(video[:1], ballistics.COLORS) == "red"


def test_a_wall_does_not_vote_and_does_not_let_a_few_pixels_win():
    video = np.full((3, 40, 40, 3), 255, np.uint8)
    video[:, 10:30, 10:30] = ballistics.COLORS["blue"]
    assert dominant_color(video, ballistics.COLORS, without="blue") is None
    video[:, 0, :2] = ballistics.COLORS["red"]  # 2 of 1600 pixels
    assert dominant_color(video, ballistics.COLORS, without="blue") is None
    video[:, :4, :4] = ballistics.COLORS["red"]
    assert dominant_color(video, ballistics.COLORS) == "blue"
    assert dominant_color(video, ballistics.COLORS, without="blue") == "red"
