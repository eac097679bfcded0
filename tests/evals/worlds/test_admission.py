"""Admission of every score, on small clips: real ones pass, controls and what shows nothing fail.

`experiments/benchmarks/scores.py` prints the same table for more and larger clips.
"""

import functools

import numpy as np
import pytest

from data_pipelines.worlds import base, dataset
from data_pipelines.worlds.alike import make_picker
from experiments.benchmarks.scores import draw_cases, measure
from sora_jax.evals.noticed import NEVER_RIGHT, count_noticed, is_visible
from sora_jax.evals.world_scores import WORLDS, world_of
from sora_jax.evals.worlds import controls
from sora_jax.evals.worlds.base import CONTROL_BAR, REAL_BAR

CLIPS, MIN_CLIPS, DRAWS = 2, 2, 60
SIZES = ((64, 64), (48, 60))  # height, width
FRAMES = (17, 17, 9)
GIVENS = (0, 5)
NOTHING = ("grey", "black", "white", "noise", "ends")
"""Videos that show nothing after what is given; the last one is real for five frames."""


def request(name, number):
    height, width = SIZES[number // 2 % 2]
    return base.ClipRequest(2000 + number, None, FRAMES[number % 3], height, width)


@functools.cache
def draw(name):
    pytest.importorskip({"builder": "crafter", "shatter": "pymunk"}.get(name, "numpy"))
    requests = (request(name, number) for number in range(DRAWS))
    return draw_cases(name, CLIPS, requests, MIN_CLIPS)


def show_nothing(real, kind):
    if kind == "noise":
        return np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    levels = {"grey": 128, "black": 0, "white": 255, "ends": 128}
    video = np.full_like(real, levels[kind])
    if kind == "ends":
        video[:5] = real[:5]
    return video


@functools.cache
def score(name):
    cases = draw(name)
    videos = {kind: [show_nothing(case.real, kind) for case in cases] for kind in NOTHING}
    return measure(name, cases, GIVENS, videos, MIN_CLIPS)


@pytest.mark.slow
@pytest.mark.parametrize("given", GIVENS)
@pytest.mark.parametrize("name", WORLDS)
def test_scores_are_admitted_and_nothing_passes_none(name, given):
    missed = []
    for score_name, found in score(name)[given]["scores"].items():
        means = {variant: figure["mean"] for variant, figure in found["figures"].items()}
        if found["figures"]["real"]["clips"] < MIN_CLIPS:
            # Few windows show a whole law after given frames.
            assert given, f"{score_name} applies to too few clips"
            continue
        if not means["real"] >= REAL_BAR:
            missed.append(f"{score_name}: real {means['real']:.2f}")
        for variant in (*NOTHING, *found["broken_by"]):
            if not means[variant] < CONTROL_BAR:
                missed.append(f"{score_name}: {variant} {means[variant]:.2f}")
    assert not missed, "\n".join(missed)


@pytest.mark.parametrize("name", WORLDS)
def test_some_score_notices_each_video_that_cannot_be_right(name):
    counted = score(name)[0]["noticed"]
    assert set(counted) == set(NEVER_RIGHT)
    missed = [f"{control} {clip}" for control, one in counted.items() for clip in one["missed"]]
    total = sum(one["clips"] for one in counted.values())
    # Of two clips, one may be of pieces of glass that hardly move any more.
    assert total >= len(NEVER_RIGHT) and len(missed) <= 0.25 * total, missed


def test_a_control_is_noticed_where_a_score_of_the_real_clip_falls():
    case = draw("phyworld")[0]
    values = {
        "one": {control: [1.0] for control in ("real", *NEVER_RIGHT)},
        "two": {control: [1.0] for control in ("real", *NEVER_RIGHT)} | {"boxed": [0.4]},
        "three": {control: [0.3] for control in ("real", *NEVER_RIGHT)} | {"frozen": [0.0]},
    }
    counted = count_noticed([case], values, 0)
    assert counted["boxed"] == {"clips": 1, "missed": []}
    assert counted["frozen"] == {"clips": 1, "missed": [case.name]}


def test_a_change_is_visible_in_some_pixels_of_some_frames():
    real = np.full((9, 20, 30, 3), 100, np.uint8)
    for frames, rows, level, seen in ((3, 2, 140, True), (2, 2, 140, False), (3, 0, 140, False)):
        video = real.copy()
        video[:frames, :rows, :2] = level
        assert is_visible(video, real) == seen
    assert not is_visible(real + np.uint8(20), real)


def test_a_picker_takes_the_options_in_turn():
    pick = make_picker(4)
    assert [pick(None, "abc") for _ in range(4)] == ["b", "c", "a", "b"]
    assert pick(None, (1, 2)) == 1


@pytest.mark.parametrize("name", WORLDS)
def test_every_broken_law_breaks_a_score_and_every_score_is_broken(name):
    scores = world_of(name).SCORES
    known = {*controls.CONTROLS, *dataset.WORLDS[name].BROKEN}
    assert not set(controls.CONTROLS) & set(dataset.WORLDS[name].BROKEN)
    assert all(one.broken_by and one.broken_by <= known for one in scores)
    assert set(dataset.WORLDS[name].BROKEN) <= set().union(*(one.broken_by for one in scores))
    for one in scores:
        assert "grey_disc" in one.broken_by, one.name
        assert "mismatched" in one.broken_by or one.kind not in ("what", "where"), one.name
