"""What becomes of sampled patches, and how canvases share rows."""

import numpy as np

from sora_jax import media
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.generation.canvas import Request, text_canvas
from sora_jax.generation.generate import CAPACITY_STEP, Generator, assign_rows
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.vae_config import VAEConfig
from sora_jax.patches import patchify
from sora_jax.rows import RowCapacity
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.run_folder import DiffusionRun

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
    return text_canvas(request, VAE, PATCH, words)


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
    image, video = generator._decode(row, np.pad(patches, ((0, 3), (0, 0))))
    assert image.shape == (1, 16, 16, 3) and video.shape == (4, 20, 40, 3)
    for shown, latent in ((image, latents[0]), (video, latents[1])):
        t, h, w, _ = shown.shape
        wanted = media.to_uint8(FlatCodec().decode(latent[None])[0, :t, :h, :w])
        assert np.abs(shown.astype(int) - wanted).max() <= 1  # rounding of the scales


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
