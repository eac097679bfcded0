"""Halts, standing still and disorder, on a square that moves by known steps."""

import numpy as np
import pytest

from sora_jax.evals.worlds import controls, morphology
from sora_jax.evals.worlds.continuity import both, find_stops, measure_smoothness

FRAMES = 24
MOVING = np.arange(FRAMES) * 2


def film(places, noise=0.0):
    """A white square of 6 pixels on grey whose left side is at these columns."""
    video = np.full((len(places), 16, 64, 3), 100.0)
    for frame, x in zip(video, places, strict=True):
        frame[5:11, x : x + 6] = 250
    video += noise * np.random.default_rng(0).standard_normal(video.shape)
    return np.clip(video, 0, 255).round().astype(np.uint8)


def due(frames=FRAMES):
    return np.ones(frames - 1, bool)


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_steady_motion_is_smooth_and_its_broken_copies_are_not(noise):
    video = film(MOVING, noise)
    assert measure_smoothness(video, due()) == 1
    for broken in (controls.freeze, controls.stop, controls.stutter, controls.swap):
        assert measure_smoothness(broken(video), due()) == 0, broken.__name__
    assert measure_smoothness(controls.reverse(video), due()) == 1


def test_a_rest_counts_only_where_motion_is_due():
    places = np.minimum(MOVING, 20)
    moving = np.diff(MOVING) > 0
    assert measure_smoothness(film(places), moving) == 0
    assert measure_smoothness(film(places), np.diff(places) > 0) == 1
    assert measure_smoothness(film(places)) == 1


def test_stops_are_the_steps_that_stand_still():
    change = np.array([50.0, 50, 3, 50, 50, 50, 0, 0, 0])
    none, last = np.zeros(9, bool), np.arange(9) == 8
    np.testing.assert_array_equal(np.flatnonzero(find_stops(change, none)), [2])
    np.testing.assert_array_equal(np.flatnonzero(find_stops(change, last)), [2, 8])


def test_what_hardly_moves_does_not_halt():
    change = np.array([1.0, 2, 0, 2, 1, 0, 0])
    assert not find_stops(change, np.zeros(7, bool)).any()
    assert find_stops(4 * change, np.zeros(7, bool)).tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_frames_held_for_long_are_stops():
    held = film(MOVING)[np.arange(FRAMES) // 6 * 6]
    assert measure_smoothness(held, due()) == 0


def test_what_crosses_the_picture_in_two_frames_is_in_order():
    video = film(np.zeros(12, int))
    video[:] = 100
    video[5:7] = film([20, 30])
    assert measure_smoothness(video) == 1


def test_pairs_are_out_of_order_in_a_few_frames_too():
    video = film(MOVING[:5])
    assert measure_smoothness(video, due(5)) == 1
    assert measure_smoothness(controls.swap(video, 1), due(5)) == 0


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_videos_have_a_value(frames):
    assert measure_smoothness(film(MOVING[:frames]), due(frames)) == float(frames > 1)


def test_both_joins_neighbours():
    seen = np.array([True, True, False, True, True])
    np.testing.assert_array_equal(both(seen), [True, False, False, True])


def test_blots_are_large_and_in_one_piece():
    mask = np.zeros((4, 40, 60), bool)
    mask[0, 4:9, 4:9] = True  # 25 pixels of the 16 that a blot of 40 x 40 has
    mask[1, 4:7, 4:7] = True
    mask[2, 10:12, :] = True  # a line
    mask[3, ::4, ::4] = True  # dots
    np.testing.assert_array_equal(morphology.find_blots(mask), [True, False, False, False])


def test_the_stopped_control_keeps_half_of_the_change():
    video = film(MOVING)
    stopped = controls.stop(video)
    np.testing.assert_array_equal(stopped[:12], video[:12])
    assert (stopped[12:] == video[11]).all()
    given = controls.stop(video, 9)
    np.testing.assert_array_equal(given[:16], video[:16])
    assert (given[16:] == video[15]).all()
    np.testing.assert_array_equal(controls.stop(video[:1]), video[:1])


def test_the_swapped_control_exchanges_pairs_behind_the_given_frames():
    video = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert controls.swap(video)[:, 0, 0, 0].tolist() == [1, 0, 3, 2, 5, 4, 6]
    assert controls.swap(video, 2)[:, 0, 0, 0].tolist() == [0, 1, 3, 2, 5, 4, 6]


def test_the_boxed_control_adds_a_box_that_is_seen():
    video = film(MOVING)
    boxed = controls.box(video, 3)
    np.testing.assert_array_equal(boxed[:3], video[:3])
    changed = (boxed[3:] != video[3:]).any((0, 3))
    rows, columns = np.nonzero(changed)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (3, 3)
    assert set(np.unique(boxed[3:][:, changed])) == {255}  # on grey of 100


def test_the_tilted_control_turns_by_twelve_degrees():
    video = np.full((2, 65, 65, 3), 0, np.uint8)
    video[:, :, 32:] = 200
    tilted = controls.tilt(video, 1)
    np.testing.assert_array_equal(tilted[0], video[0])
    edge = [(row > 100).argmax() for row in tilted[1, ..., 0]]
    slope = np.polyfit(np.arange(65), edge, 1)[0]
    assert abs(abs(slope) - np.tan(np.radians(12))) < 0.02
