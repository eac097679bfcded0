"""Clocks for frames that come when they come."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sora_jax.media import Ahead, Frame, choose_rate, resample


def frames_at(times):
    return [Frame(np.empty((0, 0, 3), np.uint8), float(t), i, 0) for i, t in enumerate(times)]


@pytest.mark.parametrize("rate", [8.0, 23.976, 24.0, 25.0, 29.97, 30.0, 59.94, 60.0, 240.0, 0.5])
@pytest.mark.parametrize("unit", [1e-3, 1e-6])
def test_rates_are_found_in_rounded_times(rate, unit):
    exact = {23.976: 24000 / 1001, 29.97: 30000 / 1001, 59.94: 60000 / 1001}.get(rate, rate)
    times = np.round(np.arange(33) / exact / unit) * unit
    assert choose_rate(times, exact) == exact
    assert abs(choose_rate(times, 1.0) / exact - 1) < 0.0015  # whatever the container says
    missing = np.delete(times, [7, 8, 20])
    if rate == 240.0 and unit == 1e-3:  # intervals of 4 or 5 ms
        return
    assert abs(choose_rate(missing, 1.0) / exact - 1) < 0.005


def test_rates_that_vary_have_that_of_the_median():
    assert choose_rate([0.0], 24.0) == 24
    assert choose_rate(np.array([0, 1, 1.1, 1.2, 1.3, 1.4]), 5.0) == 10
    assert choose_rate(np.array([0, 0.1, 0.2, 0.3, 1.0, 2.03]), 5.0) == 10


@hypothesis.given(
    steps=st.lists(st.floats(0.005, 0.3), min_size=1, max_size=30), fps=st.floats(4, 60)
)
def test_each_tick_has_the_nearest_frame(steps, fps):
    times = np.concatenate([[3.0], 3.0 + np.cumsum(steps)])
    found = list(resample(frames_at(times), fps))
    for tick, frame in enumerate(found):
        away = np.abs(times - times[0] - tick / fps)
        assert abs(frame.seconds - times[0] - tick / fps) <= away.min() + 1e-5
    assert abs((len(found) - 1) / fps - (times[-1] - times[0])) <= 0.5 / fps + 1e-5
    assert [f.number for f in found] == sorted(f.number for f in found)


def test_a_constant_rate_passes_as_it_is_and_a_higher_one_is_thinned():
    frames = frames_at(np.arange(50) / 30)
    assert list(resample(frames, 30)) == frames
    assert [f.number for f in resample(frames, 15)] == list(range(0, 50, 2))
    assert list(resample([], 24)) == [] and list(resample(frames[:1], 24)) == frames[:1]


def test_only_what_is_shown_is_taken():
    ahead = Ahead(frames_at(np.arange(50) / 30))
    assert [frame.number for frame in ahead.peek(3)] == [0, 1, 2] and ahead.taken == 0
    ticks = resample(ahead, 15)
    assert [next(ticks).number for _ in range(4)] == [0, 2, 4, 6]
    assert ahead.taken == 7 and ahead.peek(1)[0].number == 7
    assert len(list(ahead)) == 43 and ahead.peek(2) == []
