"""Clips of several sizes in one batch, cut over devices: each as it is encoded alone."""

import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.codec.batch_encoder import BatchEncoder, Canvas, latent_shape
from sora_jax.codec.video_codec import VideoCodec
from tests.codec.test_video_codec import CONFIGS, clip, near, random_weights

SIZES = [(1, 24, 40), (6, 40, 17), (9, 16, 16), (14, 33, 40), (3, 40, 40)]


@pytest.mark.parametrize(("name", "devices"), [("plain", 8), ("time 2", 1), ("cells", 8)])
def test_each_clip_is_encoded_as_it_is_alone(name, devices):
    config = CONFIGS[name]
    k = config.temporal_stride
    multiple = 24 // config.spatial_stride
    videos = [clip(*size, seed) for seed, size in enumerate(SIZES)]
    with jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:1])):
        weights = jax.device_get(random_weights(config))
        codec = VideoCodec(config, *weights)
        alone = [np.asarray(codec.encode_clip(video, multiple)[0]) for video in videos]
    with jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:devices])):
        codec = VideoCodec(config, *weights)
        side = 48 // config.spatial_stride
        encoder = BatchEncoder(codec)
        found = encoder.start(videos, Canvas(side, side, 2 * k, 8), multiple).fetch()
    assert len(found) == len(SIZES)
    for latent, wanted, size in zip(found, alone, SIZES, strict=True):
        assert latent.shape[:3] == latent_shape(codec, size, multiple)
        near(latent, wanted, 2e-5)
    assert encoder._step._cache_size() == 2


def test_what_is_no_batch_of_a_canvas(one_device):
    encoder = BatchEncoder(VideoCodec(CONFIGS["cells"], {}, {}))
    with pytest.raises(ValueError, match="2 clips are no batch of 1: give fewer"):
        encoder.start([clip(1, 16, 16)] * 2, Canvas(4, 4, 4, 1))
    with pytest.raises(ValueError, match=r"a clip of \(1, 16, 40\) does not fit the canvas"):
        encoder.start([clip(1, 16, 40)], Canvas(4, 4, 4, 1))
    with pytest.raises(ValueError, match="a video of 1 frames of 8x16 is too small"):
        encoder.start([clip(1, 8, 16)], Canvas(4, 4, 4, 1))
