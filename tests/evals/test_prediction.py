"""Errors of positions over time, of a made-up world in which one dot moves by 2 pixels a frame."""

import types

import numpy as np
import pytest

from sora_jax.evals import prediction, score_tables
from sora_jax.evals.world_scores import Case
from sora_jax.evals.worlds.base import Expected


def slide(frames=9, step=2):
    video = np.zeros((frames, 10, 40, 3), np.uint8)
    for t in range(frames):
        video[t, 5, 3 + step * t] = 255
    return video


def errors(reading):
    found, wanted, given = reading
    ahead = np.arange(1, len(wanted) - given + 1)
    return {
        "model": np.abs(found - wanted)[given:] / 10,
        "copy_last": 2 * ahead / 10,
        "constant_velocity": 0.0 * ahead,
    }


WORLD = types.SimpleNamespace(
    NAME="slider",
    read=lambda video, e: (video.max((1, 3)).argmax(-1), e.truth["x"], e.given),
    prediction_errors=errors,
)


def make_case(number, frames):
    expected = Expected({}, {"x": 3 + 2 * np.arange(frames)}, 8.0)
    real = slide(frames)
    return Case(f"slider-{number}", "slider", "", expected, real.shape[:3], real=real)


CASES = [make_case(0, 9), make_case(1, 5)]


def test_errors_of_each_number_of_frames_ahead():
    """A model whose dot stands still is 0.2 short sides further off in each frame."""
    still = [np.repeat(case.real[1:2], len(case.real), 0) for case in CASES]
    found = prediction.measure(WORLD, CASES, {"model": still}, 2)
    assert found.keys() == {"real", "model", "last frame copied", "constant velocity"}
    for name, figures in found.items():
        assert [(ahead, figures[ahead].clips) for ahead in figures] == [(1, 2), (2, 2), (4, 1)]
        slope = 0.2 if name in ("model", "last frame copied") else 0
        for ahead, figure in figures.items():
            assert figure.mean == pytest.approx(slope * ahead)


def test_without_given_frames_or_positions_there_are_none():
    assert prediction.measure(WORLD, CASES, {}, 0) == {}
    assert prediction.measure(types.SimpleNamespace(NAME="x"), CASES, {}, 2) == {}


def test_the_page_has_a_table_of_them(monkeypatch):
    monkeypatch.setattr(prediction, "world_of", lambda name: WORLD)
    group = {"split": "test", "given": 2, "worlds": {"slider": {"scores": {}}}}
    prediction.attach(group, CASES, {"model": [case.real for case in CASES]})
    (table,) = score_tables.prediction_tables(group)
    assert table.header[1:] == ["1", "2", "4"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["model"][0].startswith("0.000") and rows["last frame copied"][2].startswith("0.800")
    assert "velocity" not in group["worlds"]["slider"] and not score_tables.velocity_tables(group)
