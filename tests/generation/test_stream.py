"""Files of any duration and size through the autoencoder, whole or in tiles."""

import jax
import numpy as np
import pytest

from sora_jax import media
from sora_jax.generation.coder import Coder
from sora_jax.generation.stream import decode_tiles, decode_to_file, encode_file
from tests.generation.test_coder import CONFIGS, near, random_weights

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def coder():
    return Coder(CONFIGS["time 2"], *random_weights(CONFIGS["time 2"]))


def test_a_file_comes_back_at_its_own_size_with_the_pixels_of_the_whole_clip(coder, tmp_path):
    frames = np.linspace(0, 255, 7 * 20 * 36 * 3).reshape(7, 20, 36, 3).astype(np.uint8)
    media.write_video(tmp_path / "film.mp4", frames, 12)
    seen, _ = media.read_video(tmp_path / "film.mp4")
    latents, fit, fps = encode_file(coder, tmp_path / "film.mp4", chunk=2)
    whole, wanted_fit = coder.encode_clip(seen)
    assert (fit, fps) == (wanted_fit, 12)
    near(latents, np.asarray(whole))
    decode_to_file(coder, latents, fit, tmp_path / "out" / "made.mp4", fps, chunk=2)
    made, rate = media.read_video(tmp_path / "out" / "made.mp4")
    media.write_video(tmp_path / "wanted.mp4", coder.decode_clip(whole, fit), 12)
    wanted, _ = media.read_video(tmp_path / "wanted.mp4")
    assert rate == 12 and made.shape == seen.shape
    assert np.abs(made.astype(int) - wanted).mean() < 0.5


def test_tiles_of_a_local_decoder_equal_the_whole():
    """Principal axes alone decode each latent by itself, so tiles must leave no trace."""
    config = CONFIGS["principal"]
    params, statistics = random_weights(config)
    params["decoder"]["last"] = jax.tree.map(np.zeros_like, params["decoder"]["last"])
    coder = Coder(config, params, statistics)
    latents = np.random.default_rng(0).normal(size=(4, 7, 9, 6)).astype(np.float32)
    wanted = np.asarray(coder.decode(latents[None])[0])
    for tile, chunk in (((5, 6), 1), ((7, 5), 2), ((20, 20), 3)):
        found = np.concatenate(list(decode_tiles(coder, latents, tile, chunk, overlap=2)))
        near(found, wanted)


def test_tiles_blend(coder):
    """In the middle of tiles the network sees what it sees in the whole frame; seams are small."""
    latents = np.random.default_rng(0).normal(size=(3, 12, 16, 4)).astype(np.float32) / 4
    wanted = np.asarray(coder.decode(latents[None])[0])
    error = np.concatenate(list(decode_tiles(coder, latents, (12, 10), 1, overlap=4))) - wanted
    steps = np.abs(np.diff(error, axis=2)).mean((0, 1, 3))
    # Two tiles, 10 latents of 8 pixels wide: the second begins at 48, the first ends at 80.
    borders = steps[[47, 79]].max()
    within = steps[48:79].max()
    assert 0 < borders < within / 4  # averages without ramps, and hard seams, give 0.6


def test_what_cannot_be_streamed(coder, tmp_path):
    with pytest.raises(ValueError, match="no video at"):
        encode_file(coder, tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(ValueError, match="text.mp4 does not decode as video"):
        encode_file(coder, tmp_path / "text.mp4")
    with pytest.raises(ValueError, match="must be larger than their overlap 4"):
        next(decode_tiles(coder, np.zeros((1, 8, 8, 4), np.float32), (4, 8)))
