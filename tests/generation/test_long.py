"""Parts go on from the latents of those before them, and are decoded as one film."""

import itertools

import numpy as np
import pytest

from sora_jax import media
from sora_jax.generation import long
from sora_jax.generation.canvas import Given, Request
from sora_jax.generation.joins import FADE, join_given
from sora_jax.generation.sampling import SamplingConfig

REQUEST = Request("a red ball", 30, 16, 24, seed=5)
CONFIG = SamplingConfig(steps=2, guidance=1.5)
CLIP = np.random.default_rng(0).integers(0, 256, (17, 16, 24, 3), np.uint8)


@pytest.fixture
def calls(tiny, monkeypatch):
    """What the model is asked for, what is known of it, and what it makes."""
    noted, sample = [], tiny.sample_latents

    def sample_latents(requests, config, given):
        (made,) = sample(requests, config, given=given)
        noted.append((*requests, *given, made))
        yield made

    monkeypatch.setattr(tiny, "sample_latents", sample_latents)
    return noted


def test_frames_are_added_by_parts_that_see_the_latents_before_them(tiny, calls):
    progress = []
    added = long.add_frames(tiny, REQUEST, CLIP, CONFIG, lambda *done: progress.append(done))
    first = next(added)
    assert len(calls) == 1  # no part is made before it is needed
    frames = np.stack([first, *added])
    assert frames.shape == (30, 16, 24, 3) and progress[-1] == (30, 30)
    assert [request.seed for request, *_ in calls] == [5, 6]
    (one, given, made), (two, seen, further) = calls
    assert one.frames == 1 + 8 * 4 and two.frames == 1 + 8 * 4
    assert given.known[:, 0, 0].tolist() == seen.known[:, 0, 0].tolist() == [1] * 3 + [0] * 6
    np.testing.assert_array_equal(given.latents[:3], tiny.codec.encode_clip(CLIP[-9:])[0])
    # Exactly: no pixel lies between.
    np.testing.assert_array_equal(seen.latents[:3], made[-3:])
    np.testing.assert_allclose(further[:3], made[-3:], rtol=1e-5, atol=1e-6)
    film = np.concatenate([given.latents[:3], made[3:], further[3:]])
    whole = media.to_uint8(np.asarray(tiny.codec.decode(film[None])[0]))
    known = np.zeros((9 + FADE, 16, 24), bool)
    known[:9] = True
    given = Given(np.concatenate([CLIP[-9:], whole[9 : 9 + FADE]]), known)
    wanted = np.concatenate([join_given(whole[: 9 + FADE], given), whole[9 + FADE :]])
    assert np.abs(frames.astype(int) - wanted[9:39]).max() <= 1
    assert np.abs(frames[0].astype(int) - whole[9]).max() > 1


def test_frames_are_put_before_a_clip_by_parts_that_see_the_latents_behind_them(tiny, calls):
    progress = []
    done = long.prepend_frames(tiny, REQUEST, CLIP, CONFIG, lambda *d: progress.append(d))
    frames = np.stack(list(done))
    assert frames.shape == (30, 16, 24, 3) and progress == [(25, 30), (30, 30)]
    (one, given, made), (_, seen, further) = calls
    assert one.frames == 1 + 8 * 4
    assert given.known[:, 0, 0].tolist() == seen.known[:, 0, 0].tolist() == [0] * 7 + [1] * 2
    # Latents of four frames each, of the first eight.
    clip = tiny.codec.encode_clip(np.concatenate([CLIP[:1], CLIP[:8]]))[0][1:]
    np.testing.assert_array_equal(given.latents[7:], clip)
    np.testing.assert_array_equal(seen.latents[7:], made[1:3])
    film = np.concatenate([further[:7], made[1:]])
    whole = media.to_uint8(np.asarray(tiny.codec.decode(film[None])[0]))
    assert len(whole) == 49 + 8
    known = np.zeros(whole.shape[:3], bool)
    known[49:] = True
    given = Given(np.concatenate([whole[:49], CLIP[:8]]), known)
    wanted = join_given(whole, given)
    assert np.abs(frames.astype(int) - wanted[19:49]).max() <= 1
    assert np.abs(frames[-1].astype(int) - whole[48]).max() > 1


@pytest.mark.parametrize("frames, seen", [(1, 1), (3, 1), (5, 2), (17, 3)])
def test_the_last_whole_latents_of_a_short_clip_are_seen(tiny, calls, frames, seen):
    next(long.add_frames(tiny, REQUEST, CLIP[:frames], CONFIG))
    ((_, given, _),) = calls
    assert given.known[:, 0, 0].tolist() == [1] * seen + [0] * 6
    last = CLIP[frames - (4 * seen - 3) : frames]
    np.testing.assert_array_equal(given.latents[:seen], tiny.codec.encode_clip(last)[0])


def test_a_picture_stands_still_for_a_latent_that_leads_to_it(tiny, calls):
    film = long.lengthen(tiny, REQUEST, CLIP[:1], CONFIG, backward=True)
    assert len(film) == 31
    np.testing.assert_array_equal(film[30], CLIP[0])
    _, given, _ = calls[0]
    assert given.known[:, 0, 0].tolist() == [0] * 7 + [1]
    still = tiny.codec.encode_clip(np.repeat(CLIP[:1], 5, 0))[0]
    np.testing.assert_array_equal(given.latents[7:], still[1:])


def test_a_long_film_repeats_no_noise(tiny, calls):
    list(itertools.islice(long.add_frames(tiny, REQUEST, CLIP, CONFIG), 30))
    (_, _, made), (_, _, further) = calls
    assert np.abs(made[3:] - further[3:]).mean() > 0.1
