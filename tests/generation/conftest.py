"""A generator of random weights, as all tests of sampling use it."""

import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.generation.generate import Generator
from sora_jax.models import dit, vae
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.latents import PrincipalAxes
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.known_patches import KnownPatchesConfig
from sora_jax.training.run_folder import DiffusionRun
from tests.tiny import Words


def make_generator(patch=(1, 1, 1)):
    """On the current mesh; it was trained to be given all kinds of patches, it says."""
    known = KnownPatchesConfig(first=0.1, prefix=0.1, suffix=0.1, ends=0.1, inside=0.1)
    text = TextEncoderConfig(16, 8, 1, 2)
    model = DiTConfig(3, patch, width=16, depth=1, heads=2, mlp_dim=16, text=text)
    experiment = DiffusionExperiment("", model, known=known)
    params = dit.init_params(jax.random.key(0), model)
    # What starts at zero would make patches blind to each other.
    params = jax.tree.map(lambda a: a + 0.1 * np.sin(np.arange(a.size)).reshape(a.shape), params)
    config = CellVAEConfig(3, 4, 8, 8, 1, 2)
    axes = np.random.default_rng(0).normal(size=(config.cell_size, 3)).astype(np.float32) / 28
    statistics = vae.init_statistics(config, PrincipalAxes(axes, 10 * axes))
    weights = jax.tree.map(
        lambda a: a + 0.05 * np.sin(np.arange(a.size)).reshape(a.shape),
        vae.init_params(jax.random.key(1), config),
    )
    codec = VideoCodec(config, weights, statistics)
    run = DiffusionRun(experiment, params, np.float32([0.5, 2.0, 1.0]), 0)
    return Generator(run, Words(), codec)


@pytest.fixture(scope="module")
def tiny():
    """`make_generator` on all devices."""
    with sharding.use_mesh():
        yield make_generator()
