"""What becomes of sampled patches, and how canvases share rows."""

import types

import numpy as np

from sora_jax import media
from sora_jax.config import DiffusionExperiment
from sora_jax.generation.canvas import Request, text_canvas
from sora_jax.generation.generate import Generator, share_rows
from sora_jax.models.dit import DiTConfig
from sora_jax.models.vae import VAEConfig
from sora_jax.patches import patchify

VAE = VAEConfig(3, 8, (8, 8), ((2, 1),))
PATCH = (1, 2, 2)


def canvas(frames, height, width, prompt="a red ball"):
    request = Request(prompt, frames, height, width)
    words = np.arange(1, 1 + len(prompt.split()), dtype=np.int32)
    return text_canvas(request, VAE, PATCH, words)


def test_sampled_patches_are_unscaled_put_together_decoded_and_cut_to_the_request():
    generator = Generator.__new__(Generator)
    generator.experiment = DiffusionExperiment("", DiTConfig(latent_channels=3, patch=PATCH))
    generator.channel_scale = np.float32([0.5, 2.0, 3.0])

    def decode(latents):  # every latent is a flat square, twice along time but for the first
        frames = np.concatenate([latents[:, :1], np.repeat(latents[:, 1:], 2, 1)], 1)
        return np.repeat(np.repeat(frames, 8, 2), 8, 3)

    generator.codec = types.SimpleNamespace(decode=decode)
    place = canvas(4, 20, 40)  # its canvas is 5 frames of 32 x 48
    latent = np.random.default_rng(0).uniform(-1, 1, (*place.latent_shape, 3)).astype(np.float32)
    made = generator._finish(place, patchify(latent * generator.channel_scale, PATCH))
    wanted = media.to_uint8(decode(latent[None])[0, :4, :20, :40])
    assert made.shape == (4, 20, 40, 3)
    assert np.abs(made.astype(int) - wanted).max() <= 1  # rounding of the scales


def test_canvases_share_rows_in_their_order_until_one_capacity_is_full():
    small, large, wordy = canvas(1, 16, 16), canvas(1, 32, 32), canvas(1, 16, 16, "a b c d e f")
    rows = share_rows([small, large, small, small, wordy, wordy], (6, 9, 3))
    # 1 + 4 + 1 tokens; then a fourth segment; 3 + 6 words; then another 6.
    assert [len(row) for row in rows] == [3, 2, 1]
    assert [c for row in rows for c in row] == [small, large, small, small, wordy, wordy]
