"""What becomes of sampled patches, and how canvases share rows."""

import dataclasses

import jax
import numpy as np
import pytest

from sora_jax import media
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.generation import generate, joins, sampling, tasks
from sora_jax.generation.canvas import (
    Given,
    KnownLatents,
    Request,
    draw_noise,
    fill_unknown,
    find_known_latents,
    make_canvas,
)
from sora_jax.generation.generate import CAPACITY_STEP, Generator, assign_rows
from sora_jax.generation.joins import join_given
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.models.denoiser import Denoiser
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.vae_config import VAEConfig
from sora_jax.patches import patchify, unpatchify
from sora_jax.rows import RowCapacity, token_levels
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.known_patches import KnownPatchesConfig
from sora_jax.training.run_folder import DiffusionRun
from tests.tiny import Words

VAE = VAEConfig(3, 8, (8, 8), ((2, 1),))
PATCH = (1, 2, 2)


class FlatCodec(VideoCodec):
    """Every latent is a flat square, twice along time but for the first."""

    def __init__(self):
        pass

    def decode(self, latents):
        frames = np.concatenate([latents[:, :1], np.repeat(latents[:, 1:], 2, 1)], 1)
        return np.repeat(np.repeat(frames, 8, 2), 8, 3)


class NoText:
    def encode(self, captions):
        raise AssertionError("no caption is encoded")


def canvas(frames, height, width, prompt="a red ball"):
    request = Request(prompt, frames, height, width)
    words = np.arange(1, 1 + len(prompt.split()), dtype=np.int32)
    return make_canvas(request, VAE, PATCH, words)


def test_sampled_patches_are_unscaled_put_together_decoded_and_cut_to_the_request():
    experiment = DiffusionExperiment("", DiTConfig(latent_channels=3, patch=PATCH))
    run = DiffusionRun(experiment, {}, np.float32([0.5, 2.0, 3.0]), 0)

    generator = Generator(run, NoText(), FlatCodec())
    row = [canvas(1, 16, 16), canvas(4, 20, 40)]  # canvases of 1x16x16 and 5x32x48
    rng = np.random.default_rng(0)
    latents = [
        rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((1, 2, 2, 3), (3, 4, 6, 3))
    ]
    patches = np.concatenate([patchify(z * run.channel_scale, PATCH) for z in latents])
    unpacked = generator._unpack(row, np.pad(patches, ((0, 3), (0, 0))))
    image, video = (
        np.stack(list(generator._decode(c.request, z))) for c, z in zip(row, unpacked, strict=True)
    )
    assert image.shape == (1, 16, 16, 3) and video.shape == (4, 20, 40, 3)
    for shown, latent in ((image, latents[0]), (video, latents[1])):
        t, h, w, _ = shown.shape
        wanted = media.to_uint8(FlatCodec().decode(latent[None])[0, :t, :h, :w])
        assert np.abs(shown.astype(int) - wanted).max() <= 1  # rounding of the scales


def test_latents_that_are_not_finite_are_named_and_not_handed_out():
    experiment = DiffusionExperiment("", DiTConfig(latent_channels=3, patch=PATCH))
    run = DiffusionRun(experiment, {}, np.ones(3, np.float32), 0)
    row = [canvas(1, 16, 16), canvas(1, 16, 16, "a blue box")]
    for broken in (np.nan, np.inf):
        patches = np.ones((8, 12), np.float32)
        patches[len(row[0].noise), 3] = broken
        latents = Generator(run, NoText(), FlatCodec())._unpack(row, patches)
        assert next(latents).shape == (1, 2, 2, 3)
        with pytest.raises(ValueError, match="the video of 'a blue box' are not finite"):
            next(latents)


def test_rows_are_as_long_as_the_longest_canvas_and_hold_what_fits():
    small, large, wordy = canvas(1, 16, 16), canvas(1, 48, 32), canvas(1, 16, 16, "a b c d e f")
    canvases = [small, large, small, small, wordy, wordy]  # of 1, 6, 1, 1, 1 and 1 tokens
    rows, capacity = assign_rows(canvases, RowCapacity(2048, 9, 2))
    # 1 + 6 tokens do not fit in 6, nor a third segment in 2, nor 6 + 6 words in 9.
    assert [len(row) for row in rows] == [1, 1, 2, 1, 1]
    assert [c for row in rows for c in row] == canvases
    assert capacity == (CAPACITY_STEP, CAPACITY_STEP, 2)
    longer = [*[canvas(1, 48, 64)] * 3, canvas(5, 256, 256)]  # 12, 12, 12 and 3 * 256 tokens
    rows, capacity = assign_rows(longer, RowCapacity(64, 9, 8))
    assert [len(row) for row in rows] == [3, 1] and capacity.tokens == 768


REQUEST = Request("a red ball", 9, 16, 24)
CONFIG = SamplingConfig(steps=2, guidance=1.5)


def test_a_video_begins_with_the_frames_that_are_given_and_follows_from_them(tiny, monkeypatch):
    frames = [np.full((6, 16, 24, 3), value, np.uint8) for value in (20, 230)]
    frames[0][5] = 120
    asked = [tasks.extend(REQUEST, given) for given in frames]
    free, *videos = tiny.sample([REQUEST, *asked], CONFIG)
    for video, given in zip(videos, frames, strict=True):
        assert video.shape == (9, 16, 24, 3)
        np.testing.assert_array_equal(video[:6], given)
    # Five frames are whole latents: the sixth, which is not, changes nothing of those that follow.
    (five,) = tiny.sample([tasks.extend(REQUEST, frames[0][:5])], CONFIG)
    np.testing.assert_allclose(five[6:].astype(int), videos[0][6:], atol=1)
    # The codec's error at those five fades out of the frames behind them, if it is not too large.
    monkeypatch.setattr(joins, "MOTION_THRESHOLD", 1000)
    (faded,) = tiny.sample([asked[0]], CONFIG)
    (latents,) = tiny.sample_latents([asked[0]], CONFIG)
    decoded = media.to_uint8(np.asarray(tiny.codec.decode(latents[None])[0]))
    known, coded = np.zeros((2, 9, 16, 24), bool)
    known[:6] = coded[:5] = True
    wanted = join_given(decoded, asked[0].given.video, known, coded)
    np.testing.assert_allclose(faded.astype(int), wanted, atol=1)
    assert np.abs(faded[6:].astype(int) - decoded[6:]).max() > 2
    for other in (free, videos[1]):
        assert np.abs(videos[0][6:].astype(int) - other[6:]).mean() > 1


def test_known_latents_are_scaled_as_in_training_and_stay(tiny):
    frames = np.random.default_rng(1).integers(0, 256, (5, 16, 24, 3), np.uint8)
    words, empty = Words().encode(["a red ball", ""])
    request = tasks.extend(REQUEST, frames)
    given = tiny._encode_given(request)
    latents = given.latents
    np.testing.assert_allclose(latents[:2], tiny.codec.encode_clip(frames)[0], atol=1e-5)
    made = make_canvas(request, tiny.codec.config, (1, 1, 1), words, given)
    assert made.segment.known.sum() == 2 * 2 * 3 and made.segment.known[:12].all()
    patches = tiny._sample([[made]], RowCapacity(32, 8, 2), 8, empty, SamplingConfig(2, 1.0))[0]
    wanted = latents[:2].reshape(12, 3) * tiny.run.channel_scale
    np.testing.assert_allclose(patches[:12], wanted, rtol=1e-5, atol=1e-5)


def test_an_edit_begins_between_the_clip_and_noise(tiny):
    """Strength 0 is the clip's reconstruction, 1 what the prompt alone makes."""
    clip = np.random.default_rng(2).integers(0, 256, (9, 16, 24, 3), np.uint8)
    strengths = 0.0, 0.05, 0.5, 1.0
    asked = [tasks.edit(REQUEST, clip, strength) for strength in strengths]
    free, *videos = tiny.sample([REQUEST, *asked], CONFIG)
    reconstruction = tiny.codec.decode_clip(*tiny.codec.encode_clip(clip))
    np.testing.assert_allclose(videos[0].astype(int), reconstruction, atol=1)
    np.testing.assert_array_equal(videos[-1], free)
    away = [np.abs(video.astype(int) - reconstruction).mean() for video in videos]
    assert away == sorted(away) and away[1] < 0.5 * away[-1]


def replaced(tiny):
    """The generator of a model that was not trained with known patches."""
    known = KnownPatchesConfig(replaced=True)
    experiment = dataclasses.replace(tiny.run.experiment, known=known)
    return Generator(tiny.run._replace(experiment=experiment), Words(), tiny.codec)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_known_patches_are_replaced_at_every_step(tiny, sampler, monkeypatch):
    """The model sees them on their straight way from noise, and they end at their values."""
    frames = np.random.default_rng(5).integers(0, 256, (5, 16, 24, 3), np.uint8)
    words, empty = Words().encode(["a red ball", ""])
    request, seen = tasks.extend(REQUEST, frames), []
    given = tiny._encode_given(request)
    latents = given.latents
    made = make_canvas(request, tiny.codec.config, (1, 1, 1), words, given)
    whole = Denoiser.velocity

    def velocity(self, params, x, batch):
        levels = token_levels(batch.levels, batch.level_ids)
        jax.debug.callback(
            lambda *pair: seen.append([np.asarray(a)[0, :12] for a in pair]), x, levels
        )
        return whole(self, params, x, batch)

    monkeypatch.setattr(Denoiser, "velocity", velocity)
    config = SamplingConfig(3, 1.0, sampler)
    patches = replaced(tiny)._sample([[made]], RowCapacity(32, 8, 2), 8, empty, config)[0]
    wanted = latents[:2].reshape(12, 3) * tiny.run.channel_scale
    np.testing.assert_allclose(patches[:12], wanted, rtol=1e-4, atol=1e-4)
    assert len({float(levels[0, 0]) for _, levels in seen}) >= 3
    for x, level in seen:
        assert (level == level[0]).all() and level[0] > 0
        if sampler != "ancestral":
            np.testing.assert_allclose(x, (1 - level) * wanted + level * made.noise[:12], atol=1e-4)


def test_replaced_patches_change_what_follows_them(tiny):
    frames = [np.full((5, 16, 24, 3), value, np.uint8) for value in (20, 230)]
    asked = [tasks.extend(REQUEST, given) for given in frames]
    videos = replaced(tiny).sample(asked, CONFIG)
    for video, given in zip(videos, frames, strict=True):
        np.testing.assert_array_equal(video[:5], given)
    assert np.abs(videos[0][5:].astype(int) - videos[1][5:]).mean() > 0.5


def test_added_noise_is_of_the_seed_alone(tiny):
    config = SamplingConfig(4, 1.5, "ancestral", repeats=2)
    large = dataclasses.replace(REQUEST, frames=5, height=32, seed=7)
    (alone,) = tiny.sample([REQUEST], config)
    beside = tiny.sample([large, dataclasses.replace(REQUEST, seed=1), REQUEST], config)
    assert np.abs(beside[-1].astype(int) - alone).max() <= 1
    assert np.abs(beside[1].astype(int) - alone).mean() > 1
    (flow,) = tiny.sample([REQUEST], CONFIG)
    assert np.abs(flow.astype(int) - alone).mean() > 1


def test_pixels_that_are_not_wanted_anew_stay(tiny):
    clip = np.random.default_rng(3).integers(0, 256, (9, 16, 24, 3), np.uint8)
    wanted = np.zeros((9, 16, 24), bool)
    wanted[:, :, 13:] = True
    (video,) = tiny.sample([tasks.inpaint(REQUEST, clip, wanted)], CONFIG)
    np.testing.assert_array_equal(video[~wanted], clip[~wanted])
    assert (video[wanted] != clip[wanted]).mean() > 0.5
    # What is wanted anew was never seen.
    other = np.where(wanted[..., None], 255 - clip, clip)
    np.testing.assert_array_equal(
        tiny.sample([tasks.inpaint(REQUEST, other, wanted)], CONFIG)[0], video
    )


def test_unknown_pixels_are_filled_before_they_are_encoded_but_not_where_sampling_begins(tiny):
    clip = np.random.default_rng(4).integers(0, 256, (9, 16, 24, 3), np.uint8)
    wanted = np.zeros((9, 16, 24), bool)
    wanted[3:, :, 13:] = True
    for strength, video in ((1.0, fill_unknown(Given(clip, ~wanted))), (0.5, clip)):
        found = tiny._encode_given(tasks.inpaint(REQUEST, clip, wanted, strength))
        np.testing.assert_array_equal(found.latents, tiny.codec.encode_clip(video)[0])


def test_a_patch_is_known_if_all_of_its_latents_are():
    known = np.zeros((5, 32, 32), bool)
    known[:3, :24, :16] = True
    request = Request("a red ball", 5, 32, 32)
    latents = np.ones((3, 4, 4, 3), np.float32)
    strides = VAE.temporal_stride, VAE.spatial_stride
    given = KnownLatents(latents, find_known_latents(known, *strides, PATCH[1]))
    made = make_canvas(request, VAE, PATCH, np.arange(1, 4), given)
    assert made.segment.known.tolist() == [True, False, False, False] * 2 + [False] * 4


def test_more_than_a_model_was_trained_to_be_given_is_refused(tiny):
    frames = np.zeros((5, 16, 24, 3), np.uint8)
    plain = dataclasses.replace(tiny.run.experiment, known=KnownPatchesConfig())
    one = dataclasses.replace(plain, known=KnownPatchesConfig(first=0.2))
    for experiment, message in ((plain, "to be given none"), (one, "more than the first frame")):
        generator = Generator(tiny.run._replace(experiment=experiment), Words(), tiny.codec)
        with pytest.raises(ValueError, match=message):
            generator.sample([tasks.extend(REQUEST, frames)])
        edited = tasks.edit(REQUEST, np.zeros((9, 16, 24, 3), np.uint8), 0.5)
        assert generator.sample([edited], CONFIG)[0].shape == (9, 16, 24, 3)
    with pytest.raises(ValueError, match="all of the video of 'a red ball' is given"):
        tiny.sample([tasks.extend(REQUEST, np.zeros((9, 16, 24, 3), np.uint8))])


def test_the_latents_of_a_loop_are_decoded_on_a_ring(tiny):
    """A loop that begins elsewhere is the same loop: its frames and no others, turned."""
    vae_config, patch = tiny.codec.config, tiny.run.experiment.model.patch
    asked = tasks.loop(dataclasses.replace(REQUEST, frames=16))
    loop = make_canvas(asked, vae_config, patch, np.ones(3))
    assert loop.grid == (4, 2, 3) and loop.ring == (4, 2.0)  # 16 positions a second, 8 frames
    latents = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    videos = []
    for turn in (0, 1):
        patches = patchify(np.roll(latents, turn, 0), patch)
        (unpacked,) = tiny._unpack([loop], patches)
        videos.append(np.stack(list(tiny._decode(asked, unpacked))))
    assert videos[0].shape == (16, 16, 24, 3)
    np.testing.assert_array_equal(np.roll(videos[0], 4, 0), videos[1])
    # Its first frames depend on all latents that the decoder sees, and on no fewer.
    assert tiny.codec.config.decoder_reach == 2
    latents = latents / tiny.run.channel_scale
    whole = tiny.codec.decode(np.tile(latents, (3, 1, 1, 1))[None])[0]
    wanted = media.to_uint8(np.asarray(whole)[-16:])
    assert np.abs(videos[0].astype(int) - wanted).max() <= 1
    for before, near in ((1, False), (2, True)):
        short = tiny.codec.decode(np.concatenate([latents[-before:], latents])[None])[0]
        gap = np.abs(np.asarray(short)[-16:] - np.asarray(whole)[-16:]).max()
        assert (gap < 1e-6) if near else (gap > 1e-4)


def test_large_videos_are_decoded_in_parts(tiny, monkeypatch):
    asked = [REQUEST, tasks.loop(dataclasses.replace(REQUEST, frames=16))]
    whole = tiny.sample(asked, CONFIG)
    monkeypatch.setattr(generate, "MAX_WHOLE_PIXELS", 0)
    for one, other in zip(whole, tiny.sample(asked, CONFIG), strict=True):
        np.testing.assert_array_equal(one, other)
    steps, decode_step = [], tiny.codec.decode_step
    monkeypatch.setattr(tiny.codec, "decode_step", lambda *a: steps.append(a) or decode_step(*a))
    (frames,) = tiny.sample_frames([REQUEST], CONFIG)
    np.testing.assert_array_equal(next(frames), whole[0][0])
    assert len(steps) == 1  # the others are decoded when they are read
    np.testing.assert_array_equal(list(frames), whole[0][1:])


def test_a_ring_turns_in_each_step_and_nothing_else_does(tiny, monkeypatch):
    asked = tasks.loop(dataclasses.replace(REQUEST, frames=16))
    seen, velocity = [], sampling.Denoiser.velocity

    def watch(self, params, x, batch):
        note = lambda *arrays: seen.append([np.array(array) for array in arrays])  # noqa: E731
        jax.debug.callback(note, batch.positions, batch.remaining)
        return velocity(self, params, x, batch)

    plain = tiny.sample([REQUEST], CONFIG)[0]
    monkeypatch.setattr(sampling.Denoiser, "velocity", watch)
    config = dataclasses.replace(CONFIG, steps=7, guidance=1.25)
    video, looped = tiny.sample([dataclasses.replace(REQUEST, seed=3), asked], config)
    assert looped.shape == (16, 16, 24, 3)
    first, ring = slice(0, 18), slice(0, 24)  # of one row each, tokens of 3 and 4 latents of 2x3
    starts = set()
    for positions, remaining in seen:
        # Nine frames at eight a second: latents at positions 0, 2, 4.
        assert positions[0, first, 0].tolist() == [t for t in (0, 2, 4) for _ in range(6)]
        turned = positions[1, ring, 0].reshape(4, 6)
        assert (turned == turned[:, :1]).all() and sorted(turned[:, 0]) == [0, 2, 4, 6]
        assert set(np.diff(np.append(turned[:, 0], turned[0, 0])) % 8) == {2}
        np.testing.assert_array_equal(remaining[1, ring, 0].reshape(4, 6), 6 - turned)
        starts.add(turned[0, 0])
    assert len(starts) > 2
    monkeypatch.undo()
    # A loop in the same row changes nothing of a video.
    longer = dataclasses.replace(REQUEST, frames=33)
    beside = tiny.sample([longer, REQUEST, asked], CONFIG)[1]
    np.testing.assert_allclose(beside.astype(int), plain, atol=1)


def test_a_preview_begins_with_the_low_frequencies_of_the_noise():
    whole = Request("a red ball", 9, 64, 96, seed=5)
    small = tasks.preview(whole, 2)
    assert (small.height, small.width, small.seed) == (32, 48, 5)
    fine, coarse = (make_canvas(r, VAE, PATCH, np.ones(3)) for r in (whole, small))
    fine, coarse = (unpatchify(c.noise, c.grid, PATCH) for c in (fine, coarse))
    blocks = fine.reshape(5, 4, 2, 6, 2, 3).sum((2, 4)) / 2
    np.testing.assert_allclose(coarse, blocks, atol=1e-6)
    many = np.asarray(draw_noise(jax.random.key(0), (4, 32, 32, 4), 3))
    assert abs(many.std() - 1) < 0.02 and abs(many.mean()) < 0.02
    with pytest.raises(ValueError, match="1 / 5 of 64x96 pixels: give sides that are multiples"):
        tasks.preview(whole, 5)
    assert tasks.preview(whole, 1) == whole
    # Of a row of latents and a half, the larger canvas has another grid and other noise.
    odd = tasks.preview(dataclasses.replace(whole, width=104), 2)
    with pytest.raises(ValueError, match="a preview of 32x52 pixels is no part of 64x112"):
        make_canvas(odd, VAE, PATCH, np.ones(3))
    with pytest.raises(ValueError, match="fps and coarse are 0.0 and 1"):
        dataclasses.replace(whole, fps=0.0)
    with pytest.raises(ValueError, match="a loop of 9 frames: give a multiple of 2"):
        make_canvas(tasks.loop(whole), VAE, PATCH, np.ones(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {
                "loop": True,
                "given": Given(np.zeros((9, 16, 24, 3), np.uint8), np.zeros((9, 16, 24), bool)),
            },
            "a loop is made from text alone",
        ),
        ({"prompt": " "}, "the prompt is empty"),
        ({"unconditional": True}, "unconditional, and the prompt is 'a red ball'"),
        ({"strength": 1.5}, "the strength is 1.5: give one from 0 to 1"),
        ({"strength": 0.5}, "the strength is 0.5 and nothing is given"),
        ({"seed": 2**32}, "the seed is 4294967296: give one from 0 to 4294967295"),
        ({"fps": np.inf}, "fps and coarse are inf and 1: give them above 0"),
        (
            {"given": Given(np.zeros((9, 16, 16, 3), np.uint8), np.zeros((9, 16, 16), bool))},
            "a video of 9x16x16 .* is given for one of 9x16x24: give it that size",
        ),
    ],
)
def test_requests_that_mean_nothing_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(REQUEST, **change)
