"""Tiles: exact where the network is local, smooth where it is not."""

import jax
import numpy as np
import pytest

from sora_jax.codec.tiles import TiledCodec
from sora_jax.codec.video_codec import VideoCodec
from tests.codec.test_video_codec import CONFIGS, clip, near, random_weights

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def local():
    """Principal axes alone code each latent by itself, so tiles must leave no trace."""
    config = CONFIGS["cells"]
    params, statistics = random_weights(config)
    for half in "encoder", "decoder":
        params[half]["last"] = jax.tree.map(np.zeros_like, params[half]["last"])
    return VideoCodec(config, params, statistics)


@pytest.mark.parametrize("tile, chunk", [((5, 6), 1), ((7, 5), 2), ((20, 20), 3)])
def test_tiles_of_a_local_coder_equal_the_whole(local, tile, chunk):
    tiled = TiledCodec(local, tile, overlap=2)
    video = clip(13, 7 * 16 - 5, 9 * 16)
    whole, fit = local.encode_clip(video)
    found = np.concatenate(list(tiled.encode_stream(video, chunk)))
    near(found, np.asarray(whole))
    wanted = np.asarray(local.decode(whole[None])[0])
    near(np.concatenate(list(tiled.decode_stream(found, chunk))), wanted)
    made = tiled.decode_clip(tiled.encode_clip(video)[0], fit)
    assert np.abs(made.astype(int) - local.decode_clip(whole, fit)).max() <= 1  # rounding


def test_tiles_blend():
    """In the middle of tiles the network sees what it sees in the whole frame; seams are small."""
    codec = VideoCodec(CONFIGS["time 2"], *random_weights(CONFIGS["time 2"]))
    latents = np.random.default_rng(0).normal(size=(1, 3, 12, 16, 4)).astype(np.float32) / 4
    error = TiledCodec(codec, (12, 10)).decode(latents) - np.asarray(codec.decode(latents))
    steps = np.abs(np.diff(error[0], axis=2)).mean((0, 1, 3))
    # Two tiles, 10 latents of 8 pixels wide: the second begins at 48, the first ends at 80.
    borders = steps[[47, 79]].max()
    within = steps[48:79].max()
    assert 0 < borders < within / 4  # averages without ramps, and hard seams, give 0.6


def test_tiles_no_larger_than_their_overlap(local):
    with pytest.raises(ValueError, match="must be larger than their overlap 4"):
        TiledCodec(local, (4, 8))
    with pytest.raises(ValueError, match="tiles overlap by 0 latents: give at least 1"):
        TiledCodec(local, (4, 8), overlap=0)
