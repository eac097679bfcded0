"""What each task gives: which pixels and which latents are known."""

import numpy as np
import pytest

from sora_jax.generation import tasks
from sora_jax.generation.canvas import Given, Request, fill_unknown, find_known_latents

REQUEST = Request("a red ball", 13, 16, 24)
CLIP = np.random.default_rng(0).integers(1, 256, (13, 16, 24, 3), np.uint8)


def known_latents(request):
    """By latent frame: 1 where all are known, 0 where none is, else the latents of 8x8 pixels."""
    found = find_known_latents(request.given.known, 4, 8)
    return [int(x.flat[0]) if len(np.unique(x)) == 1 else x.tolist() for x in found]


def test_clips_are_known_where_they_stand():
    start = tasks.extend(REQUEST, CLIP[:6])
    assert known_latents(start) == [1, 1, 0, 0] and start.given.known.sum() == 6 * 16 * 24
    np.testing.assert_array_equal(start.given.video[:6], CLIP[:6])
    end = tasks.extend(REQUEST, CLIP[:5], backward=True)
    assert known_latents(end) == [0, 0, 0, 1] and end.given.known[8:].all()
    np.testing.assert_array_equal(end.given.video[8:], CLIP[:5])
    both = tasks.connect(REQUEST, CLIP[:1], CLIP[9:])
    assert known_latents(both) == [1, 0, 0, 1]


def test_an_image_stands_still_in_its_latent():
    assert known_latents(tasks.animate(REQUEST, CLIP[0])) == [1, 0, 0, 0]
    for at in (5, 8):
        request = tasks.animate(REQUEST, CLIP[0], at)
        assert known_latents(request) == [0, 0, 1, 0]
        assert request.given.known[:, 0, 0].nonzero()[0].tolist() == [5, 6, 7, 8]
        assert (request.given.video[5:9] == CLIP[0]).all()


def test_regions_are_known_by_whole_latents():
    wanted = np.zeros((13, 16, 24), bool)
    wanted[6, 3, 17] = True
    request = tasks.inpaint(REQUEST, CLIP, wanted)
    assert known_latents(request) == [1, 1, [[1, 1, 0], [1, 1, 1]], 1]
    request = tasks.outpaint(REQUEST, CLIP[:, :, :10], top=0, left=6)
    assert known_latents(request) == [[[0, 1, 0]] * 2] * 4
    np.testing.assert_array_equal(request.given.video[:, :, 6:16], CLIP[:, :, :10])


def test_padding_is_known_where_the_edge_is():
    known = np.ones((2, 17, 20), bool)
    assert find_known_latents(known, 4, 8, 2).tolist() == np.ones((2, 4, 4), int).tolist()
    known[1, 16, 19] = False
    assert find_known_latents(known, 4, 8)[1].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]


def test_unknown_pixels_are_those_nearest_in_space_and_time():
    request = tasks.connect(REQUEST, CLIP[:2], CLIP[11:])
    filled = fill_unknown(request.given)
    np.testing.assert_array_equal(filled[[0, 1, 11, 12]], CLIP[[0, 1, 11, 12]])
    assert (filled[2:6] == CLIP[1]).all() and (filled[7:11] == CLIP[11]).all()
    known = np.zeros(CLIP.shape[:3], bool)
    known[:, :, 4:9] = True
    filled = fill_unknown(Given(CLIP, known))
    np.testing.assert_array_equal(filled[:, :, :4], np.repeat(CLIP[:, :, 4:5], 4, 2))
    np.testing.assert_array_equal(filled[:, :, 9:], np.repeat(CLIP[:, :, 8:9], 15, 2))
    np.testing.assert_array_equal(fill_unknown(Given(CLIP, known & False)), CLIP)


def test_clips_that_leave_nothing_between_them_are_refused():
    with pytest.raises(ValueError, match="clips of 6 and 7 frames leave none .* a video of 13"):
        tasks.connect(REQUEST, CLIP[:6], CLIP[6:])


@pytest.mark.parametrize("start", [-1, 9])
def test_clips_outside_of_the_video_are_refused(start):
    with pytest.raises(ValueError, match="does not lie inside of a video of 13x16x24: cut it"):
        tasks.place(REQUEST, [(start, CLIP[:5])])
    with pytest.raises(ValueError, match="a clip of 13x16x24 .* 8 pixels down and 0 to the right"):
        tasks.outpaint(REQUEST, CLIP, 8, 0)
