"""Given pixels stay, and what the codec loses of them fades out of the frames around them."""

import numpy as np
import pytest

from sora_jax.generation.joins import FADE, MOTION_THRESHOLD, join_given

FRAMES, LOST = 24, 6


def still(change):
    return max(0.0, 1 - abs(change) / MOTION_THRESHOLD)


def weight(k, lost=LOST):
    return max(0.0, 1 - k / FADE) * still(lost)


def make(known_frames, value=100, lost=LOST):
    """A still video of a codec that loses some of what is given."""
    video = np.full((FRAMES, 2, 3, 3), value, np.uint8)
    known = np.zeros(video.shape[:3], bool)
    known[list(known_frames)] = True
    return video, video + np.uint8(lost), known


def test_what_stands_still_keeps_its_detail_for_a_while():
    video, given, known = make(range(5))
    made = join_given(video, given, known, known)
    wanted = [100 + LOST * (weight(t - 4) if t > 4 else 1) for t in range(FRAMES)]
    np.testing.assert_array_equal(made[:, 1, 2, 0], np.rint(wanted))
    backward = join_given(video, given, known[::-1], known[::-1])
    np.testing.assert_array_equal(backward, made[::-1])


def test_two_sides_are_added_and_weigh_no_more_than_one_together():
    video, given, known = make([0, 1, 6, 7, 17])
    given[6:] = 100 - 2 * LOST
    made = join_given(video, given, known, known)[:, 0, 0, 0]
    for t in range(2, 17):
        before, after = (1, 6) if t < 6 else (7, 17)
        if t in (6, 7):
            continue
        losses = [LOST if before == 1 else -2 * LOST, -2 * LOST]
        ws = [weight(k, z) for k, z in zip((t - before, after - t), losses, strict=True)]
        added = sum(w * z for w, z in zip(ws, losses, strict=True)) / max(sum(ws), 1)
        assert made[t] == np.rint(100 + added), t


def test_what_moved_away_or_was_lost_as_a_whole_leaves_nothing_behind():
    video, given, known = make(range(5))
    video[5:, 0] += np.uint8(MOTION_THRESHOLD)
    video[5:, 1, 0, 2] += np.uint8(MOTION_THRESHOLD // 2)
    video[5:, 1, 2] += np.uint8(3 * MOTION_THRESHOLD)
    given[:5, 1, 1] = 100 + MOTION_THRESHOLD
    made = join_given(video, given, known, known)
    np.testing.assert_array_equal(made[5:, 0], video[5:, 0])
    np.testing.assert_array_equal(made[5:, 1, 1:], video[5:, 1, 1:])
    values = 100, 100, 100 + MOTION_THRESHOLD // 2
    assert made[5, 1, 0].tolist() == [round(v + LOST * weight(1) / 2) for v in values]


def test_pixels_whose_latents_are_not_known_stay_and_leave_nothing_behind():
    video, given, known = make(range(6))
    given[5] = 100 + 2 * LOST
    coded = known.copy()
    coded[5] = False
    made = join_given(video, given, known, coded)
    assert (made[5] == 100 + 2 * LOST).all()
    assert made[6:, 0, 0, 0].tolist() == [round(100 + LOST * weight(t - 4)) for t in range(6, 24)]


@pytest.mark.parametrize(("value", "lost", "bound"), [(245, 8, 255), (10, -8, 0)])
def test_values_stay_within_bounds(value, lost, bound):
    video, given, known = make(range(5), value, 0)
    given[:5] = value + lost
    video[5:] = value + lost
    made = join_given(video, given, known, known)
    wanted = value + lost + lost * weight(1, lost) * still(lost)
    assert made[5, 0, 0, 0] == np.clip(np.rint(wanted), 0, 255) == bound


def test_given_pixels_stay():
    rng = np.random.default_rng(0)
    video, given = (rng.integers(0, 256, (FRAMES, 4, 5, 3), np.uint8) for _ in range(2))
    known = rng.random((FRAMES, 4, 5)) < 0.3
    made = join_given(video, given, known, known)
    np.testing.assert_array_equal(made[known], given[known])
    nothing = np.zeros(known.shape, bool)
    np.testing.assert_array_equal(join_given(video, given, nothing, nothing), video)


def test_a_region_through_time_has_nothing_to_fade():
    video, given, known = make([])
    known[:, :, :2] = True
    made = join_given(video, given, known, known)
    assert (made[:, :, :2] == 100 + LOST).all() and (made[:, :, 2] == 100).all()
