"""Given pixels stay, and what the codec loses of them fades out of the frames around them."""

import numpy as np

from sora_jax.generation.canvas import Given
from sora_jax.generation.joins import FADE, MOVED, join_given

FRAMES, LOST = 24, 8


def make(known_frames, level=100):
    """A still video of a codec that loses eight levels of what is given."""
    video = np.full((FRAMES, 2, 3, 3), level, np.uint8)
    known = np.zeros(video.shape[:3], bool)
    known[list(known_frames)] = True
    return video, Given(np.full_like(video, level + LOST), known)


def fade(k):
    return max(0.0, 1 - k / FADE)


def test_what_stands_still_keeps_its_detail_for_a_while():
    video, given = make(range(5))
    made = join_given(video, given)
    wanted = [100 + LOST * (fade(t - 4) if t > 4 else 1) for t in range(FRAMES)]
    np.testing.assert_array_equal(made[:, 1, 2, 0], wanted)
    backward = join_given(*make(range(FRAMES - 5, FRAMES)))
    np.testing.assert_array_equal(backward, made[::-1])


def test_two_sides_that_meet_add_no_more_than_was_lost():
    video, given = make([0, 1, 6, 7])
    made = join_given(video, given)[:, 0, 0, 0]
    for t in range(2, 6):
        one, two = fade(t - 1), fade(6 - t)
        assert made[t] == round(100 + LOST * (one + two) / max(one + two, 1))


def test_what_moved_away_leaves_nothing_behind():
    video, given = make(range(5))
    video[5:, 0] += np.uint8(MOVED)
    video[5:, 1, 0, 2] += np.uint8(MOVED // 2)
    made = join_given(video, given)
    np.testing.assert_array_equal(made[5:, 0], video[5:, 0])
    assert made[5, 1, 0].tolist() == [
        round(level + LOST * fade(1) / 2) for level in (100, 100, 100 + MOVED // 2)
    ]


def test_given_pixels_stay_and_levels_stay_within_bounds():
    rng = np.random.default_rng(0)
    video, given = (rng.integers(0, 256, (FRAMES, 4, 5, 3), np.uint8) for _ in range(2))
    known = rng.random((FRAMES, 4, 5)) < 0.3
    made = join_given(video, Given(given, known))
    np.testing.assert_array_equal(made[known], given[known])
    bright = np.full_like(video, 250)
    whiter = np.full_like(video, 255)
    half = known & (np.arange(FRAMES) < 12)[:, None, None]
    assert join_given(bright, Given(whiter, half)).min() >= 250
    nothing = np.zeros(known.shape, bool)
    np.testing.assert_array_equal(join_given(video, Given(given, nothing)), video)


def test_a_region_through_time_has_nothing_to_fade():
    video, given = make([])
    given.known[:, :, :2] = True
    made = join_given(video, given)
    assert (made[:, :, :2] == 100 + LOST).all() and (made[:, :, 2] == 100).all()
