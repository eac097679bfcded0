"""Marks lie on the objects that a clip shows."""

import numpy as np
import pytest

from data_pipelines.worlds import base, dataset
from sora_jax.evals.truth_marks import find_marks
from sora_jax.evals.worlds.base import Expected
from sora_jax.laws.palette import COLORS


def make(name, seed):
    request = base.ClipRequest(seed, False, 17, 64, 96)
    clip = dataset.WORLDS[name].make_clip(request)
    return clip, find_marks(name, Expected(clip.attributes, clip.truth, clip.fps), 64, 96)


@pytest.mark.parametrize(
    ("name", "colors"),
    [("ballistics", "colors"), ("phyworld", "color"), ("orbit", "solids"), ("shatter", "color")],
)
def test_marks_are_where_the_objects_have_their_colours(name, colors):
    """Most of them: an object may hide another one, and light changes the colours of solids."""
    right = []
    for seed in range(6):
        clip, marks = make(name, seed)
        words = [part.split()[0] for part in clip.attributes[colors].split(", ")]
        for t, n in np.argwhere(np.isfinite(marks[..., 0])):
            if n < len(words):
                x, y = marks[t, n].astype(int)
                pixel = clip.video[t, y, x].astype(float)
                known = {word: np.array(rgb, float) for word, rgb in COLORS.items()}
                cosine = {
                    word: pixel @ rgb / np.linalg.norm(pixel) / np.linalg.norm(rgb)
                    for word, rgb in known.items()
                }
                right.append(max(cosine, key=lambda word: cosine[word]) == words[n])
    assert len(right) > 30 and np.mean(right) > 0.8


def test_marks_of_occlusion_the_brush_and_bites_are_where_something_changes():
    """The picture differs from its median over time near most marks of what moves."""
    for name in ("occlusion", "painter"):
        near, elsewhere = [], []
        for seed in range(6):
            clip, marks = make(name, seed)
            still = np.median(clip.video, 0)
            changed = np.abs(clip.video - still).max(-1) > 40
            for t, n in np.argwhere(np.isfinite(marks[..., 0])):
                x, y = marks[t, n].astype(int)
                near.append(changed[t, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].any())
            elsewhere.append(changed.mean())
        assert np.mean(near) > 3 * np.mean(elsewhere) > 0, name


def test_what_is_outside_of_the_frame_and_a_world_without_places_has_no_mark():
    clip, marks = make("shatter", 0)
    outside = (clip.truth["ball"] < 0).any(1) | (clip.truth["ball"][:, 0] >= 1.5)
    assert np.isnan(marks[outside]).all()
    assert find_marks("builder", Expected({}, {}, 8.0), 64, 96) is None
