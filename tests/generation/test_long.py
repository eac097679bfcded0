"""Parts go on from the latents of those before them, and are decoded as one film."""

import dataclasses
import itertools

import numpy as np
import pytest

from sora_jax import media
from sora_jax.generation import joins, long
from sora_jax.generation.canvas import Given, Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.joins import FADE, join_given
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.training.known_patches import KnownPatchesConfig
from tests.generation.conftest import make_generator

REQUEST = Request("a red ball", 30, 16, 24, seed=5)
CONFIG = SamplingConfig(steps=2, guidance=1.5)
CLIP = np.random.default_rng(0).integers(0, 256, (17, 16, 24, 3), np.uint8)


@pytest.fixture(autouse=True)
def faithful(monkeypatch):
    """Random codecs lose more of a clip than any that is trained."""
    monkeypatch.setattr(joins, "MOTION_THRESHOLD", 1000)


@pytest.fixture
def calls(tiny, monkeypatch):
    """What the model is asked for, what is known of it, and what it makes."""
    noted, sample = [], tiny.sample_latents

    def sample_latents(requests, config, known):
        (made,) = sample(requests, config, known=known)
        noted.append((*requests, *known, made))
        yield made

    monkeypatch.setattr(tiny, "sample_latents", sample_latents)
    return noted


def test_frames_are_added_by_parts_that_see_the_latents_before_them(tiny, calls):
    progress = []
    added = long.append_frames(tiny, REQUEST, CLIP, CONFIG, lambda *done: progress.append(done))
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
    near = np.concatenate([CLIP[-9:], whole[9 : 9 + FADE]])
    near = join_given(whole[: 9 + FADE], near, known, known)
    wanted = np.concatenate([near, whole[9 + FADE :]])
    assert np.abs(frames.astype(int) - wanted[9:39]).max() <= 1
    assert np.abs(frames[0].astype(int) - whole[9]).max() > 1  # and not as the codec returns it


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
    wanted = join_given(whole, np.concatenate([whole[:49], CLIP[:8]]), known, known)
    assert np.abs(frames.astype(int) - wanted[19:49]).max() <= 1
    assert np.abs(frames[-1].astype(int) - whole[48]).max() > 1


@pytest.mark.parametrize("frames, seen", [(1, 1), (3, 1), (5, 2), (17, 3)])
def test_the_last_whole_latents_of_a_short_clip_are_seen(tiny, calls, frames, seen):
    next(long.append_frames(tiny, REQUEST, CLIP[:frames], CONFIG))
    ((_, given, _),) = calls
    assert given.known[:, 0, 0].tolist() == [1] * seen + [0] * 6
    last = CLIP[frames - (4 * seen - 3) : frames]
    np.testing.assert_array_equal(given.latents[:seen], tiny.codec.encode_clip(last)[0])


def test_a_picture_stands_still_for_a_latent_that_leads_to_it(tiny, calls):
    for frames, taken in ((1, [0, 0, 0, 0]), (3, [0, 1, 2, 2])):
        calls.clear()
        film = list(long.lengthen(tiny, REQUEST, CLIP[:frames], CONFIG, backward=True))
        assert len(film) == 30 + frames
        np.testing.assert_array_equal(film[30:], CLIP[:frames])
        _, given, _ = calls[0]
        assert given.known[:, 0, 0].tolist() == [0] * 7 + [1]
        still = tiny.codec.encode_clip(CLIP[[0, *taken]])[0]
        np.testing.assert_array_equal(given.latents[7:], still[1:])


def test_a_long_film_repeats_no_noise(tiny, calls):
    list(itertools.islice(long.append_frames(tiny, REQUEST, CLIP, CONFIG), 30))
    (_, _, made), (_, _, further) = calls
    assert np.abs(made[3:] - further[3:]).mean() > 0.1


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("frames", [1, 3, 7, 26])
def test_any_number_of_frames_is_added(tiny, frames, backward):
    """Forward, fewer are the beginning of more; backward, the end of as many parts."""
    asked = dataclasses.replace(REQUEST, frames=frames)
    film = np.stack(list(long.lengthen(tiny, asked, CLIP, CONFIG, backward)))
    assert len(film) == frames + 17
    more = dataclasses.replace(REQUEST, frames=49 if frames == 26 else 25)
    more = np.stack(list(long.lengthen(tiny, more, CLIP, CONFIG, backward)))
    wanted = more[-len(film) :] if backward else more[: len(film)]
    assert np.abs(film.astype(int) - wanted).max() <= 1


def test_sizes_that_need_padding_are_added_to(tiny):
    """By a model whose patches are two latents high and wide."""
    generator = make_generator((1, 2, 2))
    clip = CLIP[:9, :, :20]
    asked = Request("a red ball", 5, 16, 20)
    film = np.stack(list(long.lengthen(generator, asked, clip, CONFIG)))
    assert film.shape == (14, 16, 20, 3)


def test_what_cannot_be_added_is_refused(tiny):
    pixels = Given(CLIP, np.zeros(CLIP.shape[:3], bool))
    odd = dataclasses.replace(REQUEST, frames=17, given=pixels)
    loop = dataclasses.replace(REQUEST, loop=True)
    for request in (odd, loop):
        for add in (long.append_frames, long.prepend_frames):
            with pytest.raises(ValueError, match="frames are added to a clip alone"):
                next(add(tiny, request, CLIP, CONFIG))
    known = KnownPatchesConfig(first=0.5)
    experiment = dataclasses.replace(tiny.run.experiment, known=known)
    first = Generator(tiny.run._replace(experiment=experiment), tiny.text_inputs, tiny.codec)
    with pytest.raises(ValueError, match="goes on from that for 24 frames, not 30"):
        next(long.append_frames(first, REQUEST, CLIP[:1], CONFIG))
    asked = dataclasses.replace(REQUEST, frames=24)
    assert len(list(long.append_frames(first, asked, CLIP[:1], CONFIG))) == 24
