"""Films are cut at cuts, dissolves, fades and faults, and into clips at a rate of their own."""

import itertools
import weakref
from collections import Counter

import numpy as np
import pytest

from data_pipelines.ingest import config, shots, transitions
from sora_jax.media import Frame
from tests.data_pipelines.ingest.films import film, resized, scene


def frames_of(video, fps=24.0, run=0, times=None):
    """The frames of a film; at these times where they are given."""
    seconds = np.arange(len(video)) / fps if times is None else times
    return [Frame(*pair, i, run) for i, pair in enumerate(zip(video, seconds, strict=True))]


def cut(frames, fewest, most, fps=24.0, **clips):
    """The clips of a film: (shot, start, frames of the film, fps); and the frames left out."""
    settings, left_out = config.Clips(min_frames=fewest, max_frames=most, **clips), Counter()
    found = []
    for clip in shots.cut_shots(iter(frames), fps, settings, left_out):
        taken = list(clip.frames)
        clip.spanned = taken[-1].number - taken[0].number + 1
        found.append((clip, taken))
    return found, left_out


def test_cuts_are_found_and_clips_are_the_films_frames():
    frames = frames_of(film((40, 76, 17, 30)))
    found, left_out = cut(frames, 21, 33)
    assert [taken[0].number for _, taken in found] == [0, 33, 40, 73, 106, 116, 133]
    assert [len(taken) for _, taken in found] == [33, 7, 33, 33, 10, 17, 30]
    assert [clip.shot for clip, _ in found] == [0, 0, 1, 1, 1, 2, 3]
    assert [clip.is_first for clip, _ in found] == [True, False, True, False, False, True, True]
    assert [clip.fps for clip, _ in found] == [24] * 7 and not +left_out
    for clip, taken in found:
        first = taken[0].number
        assert taken == frames[first : first + len(taken)] and clip.seconds == first / 24
    quick, _ = cut(frames_of(film((12, 30, 5, 30))), 9, 33)
    assert [(taken[0].number, len(taken)) for _, taken in quick] == [
        (0, 12), (12, 30), (42, 5), (47, 30)
    ]  # fmt: skip
    assert len(cut(frames[:1], 21, 33)[0]) == 1 and cut([], 21, 33) == ([], {})


@pytest.mark.parametrize("speed", [0, 1, 2, 4])
@pytest.mark.parametrize("length", [6, 12, 24, 40])
def test_dissolves_are_in_no_clip(length, speed):
    one, two = (scene(seed, 50 + length, speed=speed) for seed in (3, 4))
    share = ((np.arange(length) + 1) / (length + 1))[:, None, None, None]
    mixed = (one[50:] * (1 - share) + two[:length] * share).astype(np.uint8)
    found, left_out = cut(frames_of(np.concatenate([one[:50], mixed, two[length:]])), 9, 65)
    (first, before), (second, after) = found
    assert (first.shot, second.shot) == (0, 1)
    assert abs(len(before) - 50) <= 0.15 * length + 2 and before[0].number == 0
    assert abs(len(after) - 50) <= 0.15 * length + 2 and after[-1].number == 99 + length
    assert left_out[shots.TRANSITION] == after[0].number - before[-1].number - 1 > 0.7 * length


def test_fades_end_shots():
    one, two = scene(3, 40), scene(4, 40)
    down = np.linspace(1, 0, 14)[1:-1, None, None, None]
    dark = np.zeros((10, *one.shape[1:]), np.uint8)
    film_ = [one, (one[-1:] * down).astype(np.uint8), dark, (two[:1] * down[::-1]).astype(np.uint8)]
    found, left_out = cut(frames_of(np.concatenate([*film_, two])), 9, 65)
    lit = [taken for _, taken in found if taken[0].pixels.max() > 100]
    assert [abs(len(taken) - 40) <= 2 for taken in lit] == [True, True]
    assert left_out[shots.TRANSITION] >= 16


@pytest.mark.parametrize("speed", [0, 1, 2, 4, 8])
def test_what_moves_or_shakes_is_no_transition(speed):
    for seed, (height, width) in itertools.product(range(3), ((90, 160), (180, 320))):
        found, left_out = cut(frames_of(scene(seed, 90, height, width, speed)), 9, 121)
        assert len(found) == 1 and not +left_out
    rng = np.random.default_rng(speed)
    shaken = scene(9, 90, 110, 180, 0)
    places = rng.integers(0, 20, (90, 2))
    moved = [v[y:, x:][:90, :160] for v, (y, x) in zip(shaken, places, strict=True)]
    assert not +cut(frames_of(np.stack(moved)), 9, 121)[1]


def test_a_clip_has_the_rate_of_its_time():
    video = scene(0, 90)
    times = np.concatenate([np.arange(45) / 30, 45 / 30 + np.arange(45) / 6])
    found, left_out = cut(frames_of(video, times=times), 9, 45)
    assert [clip.fps for clip, _ in found] == [30, 6]
    assert [len(taken) for _, taken in found] == [45, 45] and not +left_out
    jitter = np.arange(90) / 30 + np.random.default_rng(0).uniform(-0.004, 0.004, 90)
    ((clip, taken), *_), _ = cut(frames_of(video, times=jitter), 9, 65)
    assert abs(clip.fps / 30 - 1) < 0.002
    assert [frame.number for frame in taken] == list(range(65))  # each once


def test_runs_of_frames_are_shots():
    video = scene(0, 80)
    later = [frame._replace(number=frame.number + 30) for frame in frames_of(video[30:], run=1)]
    frames = frames_of(video[:30]) + later
    found, _ = cut(frames, 9, 65)
    assert [(clip.shot, taken[0].number, len(taken)) for clip, taken in found] == [
        (0, 0, 30), (1, 30, 50)
    ]  # fmt: skip
    small = frames_of(resized(video[:40], 46, 80), run=1)
    found, _ = cut(frames_of(video[:30]) + small, 9, 65)
    assert [taken[0].pixels.shape[:2] for _, taken in found] == [(90, 160), (46, 80)]


def test_a_film_is_never_in_memory():
    alive, most = weakref.WeakSet(), 0

    class Pixels(np.ndarray):
        """Pixels that can be counted and compared by identity."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def stream():
        nonlocal most
        for number, pixels in enumerate(scene(0, 400, 32, 48, 1)):
            alive.add(counted := pixels.copy().view(Pixels))
            most = max(most, len(alive))
            yield Frame(counted, number / 24, number, 0)
            del counted

    clips = shots.cut_shots(stream(), 24.0, config.Clips(max_frames=321), Counter())
    length = sum(sum(1 for _ in clip.frames) for clip in clips)
    assert length == 400 and most <= transitions.LONGEST + shots.WINDOW + 4  # not the 321 of a clip
