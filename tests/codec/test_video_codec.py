"""Encoding and decoding: chunks equal the whole, cut frames too, any size, and each message."""

import dataclasses
import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import media, sharding
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.models.vae_config import CellVAEConfig, VAEConfig
from sora_jax.sharding import P
from sora_jax.training import vae_task
from sora_jax.training.experiments import VAEExperiment

CONFIGS = {
    "plain": VAEConfig(4, 2, (4, 4, 6), ((1, 2), (2, 2))),
    "time 2": VAEConfig(4, 8, (4, 6), ((2, 1),)),
    "cells": CellVAEConfig(4, 4, 8, 8, 1, 2),
}


pytestmark = pytest.mark.usefixtures("one_device")


def random_weights(config):
    """Weights and statistics, all of them drawn."""
    experiment = VAEExperiment(data="", model=config)
    like = jax.eval_shape(functools.partial(vae_task.init_state, experiment))
    rng = np.random.default_rng(0)

    def draw(a):
        return jnp.float32(rng.normal(size=a.shape) * np.prod(a.shape[:-1]) ** -0.5)

    params, statistics = jax.tree.map(draw, (like.params, like.statistics))
    statistics["latents"]["variance"] = 2 + statistics["latents"]["variance"] ** 2
    return params, statistics


@pytest.fixture(params=["plain", "cells"], scope="module")
def codec(request):
    return VideoCodec(CONFIGS[request.param], *random_weights(CONFIGS[request.param]))


def clip(frames, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def near(found, wanted, tolerance=1e-5):
    """To rounding: the tolerance is float32's, relative to the largest number."""
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@hypothesis.given(
    frames=st.sampled_from([1, 4, 10, 13]),
    chunk=st.integers(1, 3),
    size=st.sampled_from([(24, 40), (21, 33)]),  # one canvas, so one compilation
)
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
def test_a_stream_of_chunks_equals_the_whole_clip(codec, frames, chunk, size):
    video = clip(frames, *size)
    whole, fit = codec.encode_clip(video)
    latents = np.concatenate(list(codec.encode_stream(video, chunk)))
    near(latents, np.asarray(whole))
    pixels = np.concatenate(list(codec.decode_stream(latents, chunk)))
    near(pixels, np.asarray(codec.decode(whole[None])[0]))
    assert codec.decode_clip(whole, fit).shape == video.shape


def test_a_stream_in_bfloat16_is_the_whole_clip_to_its_rounding():
    """0.02 of the largest number: ten roundings of 2^-9, as numbers keep 8 bits."""
    config = dataclasses.replace(CONFIGS["time 2"], dtype="bfloat16")
    codec, video = VideoCodec(config, *random_weights(config)), clip(4, 16, 16)
    whole = np.asarray(codec.encode_clip(video)[0])
    near(np.concatenate(list(codec.encode_stream(video, 2))), whole, 0.02)
    pixels = np.asarray(codec.decode(whole[None])[0])
    near(np.concatenate(list(codec.decode_stream(whole, 2))), pixels, 0.02)
    exact = np.asarray(VideoCodec(CONFIGS["time 2"], *random_weights(config)).encode_clip(video)[0])
    near(whole, exact, 0.02)
    assert np.abs(whole - exact).max() > 1e-4  # it was no float32


def test_first_chunks_may_be_longer_than_a_frame(codec):
    k = codec.config.temporal_stride
    pixels = jnp.asarray(media.to_float(clip(1 + 3 * k, 16, 16)))[None]
    cache, start = codec.encode_step(None, pixels[:, : 1 + 2 * k])
    _, end = codec.encode_step(cache, pixels[:, 1 + 2 * k :])
    near(np.concatenate([start, end], 1), np.asarray(codec.encode(pixels)))


def test_two_compilations_whatever_the_duration():
    codec = VideoCodec(CONFIGS["time 2"], *random_weights(CONFIGS["time 2"]))
    for frames in (1, 4, 9, 16):
        latents = np.concatenate(list(codec.encode_stream(clip(frames, 16, 16), 2)))
        list(codec.decode_stream(latents, 2))
    assert codec._encode_step._cache_size() == codec._decode_step._cache_size() == 2


@pytest.mark.parametrize("name", ["plain", "cells"])
def test_frames_cut_over_eight_devices_have_no_seams(name):
    config = CONFIGS[name]
    video = jnp.asarray(media.to_float(clip(5, 128, 32)))[None]
    params, statistics = random_weights(config)
    whole = VideoCodec(config, params, statistics)
    latents = whole.encode(video)
    pixels = whole.decode(latents)
    with sharding.use_mesh(sharding.MeshConfig(data=1, context=8)) as _:
        spec = P(None, None, "context")
        place = functools.partial(
            jax.device_put, device=jax.NamedSharding(jax.sharding.get_mesh(), spec)
        )
        cut = VideoCodec(config, *jax.device_put((params, statistics), P()), spec)
        found = cut.encode(place(video))
        assert jax.typeof(found).sharding.spec[2] == "context"
        near(np.asarray(found), np.asarray(latents))
        cache, first = cut.decode_step(None, found[:, :1])
        _, rest = cut.decode_step(cache, found[:, 1:])
        assert jax.typeof(rest).sharding.spec[2] == "context"
        near(np.concatenate([first, rest], 1), np.asarray(pixels))
        with pytest.raises(ValueError, match="h = 9 do not divide into the 8 parts"):
            cut.decode(np.zeros((1, 1, 9, 8, config.latent_channels), np.float32))


def test_any_clip_is_padded_to_what_the_mesh_cuts():
    """Height alone, whole or as a stream; the same numbers as the padded clip on one device."""
    config = CONFIGS["time 2"]
    weights, video = random_weights(config), clip(4, 20, 36)
    tall = np.pad(video, [(0, 0), (0, 44), (0, 0), (0, 0)], "edge")  # 8 latents of 8 pixels
    latents, _ = VideoCodec(config, *weights).encode_clip(tall)
    with sharding.use_mesh(sharding.MeshConfig(data=1, context=8)):
        cut = VideoCodec(config, *jax.device_put(weights, P()), P(None, None, "context"))
        found, fit = cut.encode_clip(video)
        assert fit == media.Fit((4, 20, 36), (5, 64, 40))
        assert cut.encode_clip(video, multiple=3)[1].padded == (5, 192, 48)
        near(np.asarray(found), np.asarray(latents))
        near(np.concatenate(list(cut.encode_stream(video, 2))), np.asarray(latents))
        assert cut.decode_clip(found, fit).shape == video.shape


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.zeros((1, 1, 16, 16, 3), np.uint8), "pixels are uint8: map them"),
        (np.full((1, 1, 16, 16, 3), 1.1, np.float32), r"pixels lie in \[1.1, 1.1\]: map them"),
        (np.full((1, 1, 16, 16, 3), np.nan, np.float32), r"pixels lie in \[nan, nan\]"),
        (np.zeros((1, 2, 16, 16, 3), np.float32), "pad it with media.fit_canvas"),
        (np.zeros((1, 1, 16, 16, 1), np.float32), "give videos as"),
        (np.zeros((0, 1, 16, 16, 3), np.float32), r"shape \[0, 1, 16, 16, 3\]: give at least one"),
    ],
)
def test_pixels_that_cannot_be_encoded(pixels, message):
    codec = VideoCodec(CONFIGS["plain"], {}, {})
    for array in (pixels, jnp.asarray(pixels)):
        with pytest.raises(ValueError, match=message):
            codec.encode(array)


def test_the_range_of_pixels_on_the_host_is_found_there(codec, monkeypatch):
    monkeypatch.setattr(codec, "_range", None)
    codec.encode_clip(clip(1, 16, 16))


@pytest.mark.parametrize(
    "video, message",
    [
        (np.zeros((1, 16, 16, 3), np.float32), r"a clip is float32\[1, 16, 16, 3\]: give uint8"),
        (np.zeros((16, 16, 3), np.uint8), r"a clip is uint8\[16, 16, 3\]: give uint8"),
        (np.zeros((0, 16, 16, 3), np.uint8), "a video of 0 frames of 16x16 is too small"),
    ],
)
def test_clips_that_cannot_be_encoded(video, message):
    with pytest.raises(ValueError, match=message):
        VideoCodec(CONFIGS["plain"], {}, {}).encode_clip(video)


def test_streams_that_cannot_be_encoded(codec):
    sharp = media.to_float(clip(1, 16, 16))
    with pytest.raises(ValueError, match=r"float32\[1, 16, 16, 3\]: give uint8"):
        list(codec.encode_stream(sharp))
    changing = [*clip(2, 16, 24), *clip(1, 24, 16)]
    with pytest.raises(ValueError, match=r"frame 2 has the shape \[24, 16, 3\], the first \[16"):
        list(codec.encode_stream(changing))
    with pytest.raises(ValueError, match="chunk is 0: give at least one latent frame"):
        list(codec.encode_stream(clip(1, 16, 16), 0))
    with pytest.raises(ValueError, match="chunk is 0: give at least one latent frame"):
        list(codec.decode_stream(sharp, 0))


def test_pixels_that_are_not_finite_are_not_shown():
    codec = VideoCodec(CONFIGS["plain"], *random_weights(CONFIGS["plain"]))
    codec.params["decoder"]["last"]["bias"] += np.nan
    latents, fit = codec.encode_clip(clip(1, 16, 16))
    with pytest.raises(ValueError, match="decoded pixels are not finite: the weights or the"):
        codec.decode_clip(latents, fit)


def test_latents_of_another_autoencoder():
    codec = VideoCodec(CONFIGS["plain"], {}, {})
    with pytest.raises(ValueError, match=r"latents have the shape \(1, 1, 2, 2, 6\).*w, 4\]"):
        codec.decode(np.zeros((1, 1, 2, 2, 6), np.float32))
    with pytest.raises(ValueError, match=r"latents have the shape \[1, 0, 2, 2, 4\]: give at"):
        codec.decode(np.zeros((1, 0, 2, 2, 4), np.float32))
    with pytest.raises(ValueError, match=r"\[b, t, h, w, 4\]"):
        codec.decode_step(None, np.zeros((1, 2, 2, 4), np.float32))
