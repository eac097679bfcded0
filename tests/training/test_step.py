"""What the step does to a batch before the model sees it."""

import jax.numpy as jnp
import numpy as np

from sora_jax import sharding
from sora_jax.models.patches import make_segment, pack_row
from sora_jax.training import step
from sora_jax.types import PackedBatch


def test_scaled_patches_are_the_patches_of_scaled_latents():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(3, 4, 6, 5)).astype(np.float32)
    scale = rng.uniform(0.5, 2, 5).astype(np.float32)

    def batch(latent):
        row = pack_row([make_segment(latent, 8.0, [1], (1, 2, 2), 1.0)], (20, 1, 1), 20)
        return PackedBatch(*(field[None] for field in row))

    with sharding.use_mesh(sharding.MeshConfig()):
        found = step.scaled(batch(latent), jnp.asarray(scale)).patches
    np.testing.assert_array_equal(found, batch(latent * scale).patches)


def test_channel_power_makes_variances_follow_the_energy():
    experiment = step.DiffusionExperiment(
        data="", channel_power=0.5, model=step.DiTConfig(latent_channels=3, width=16, mlp=16)
    )
    energy = np.array([0.16, 0.01, 0.09])
    with sharding.use_mesh(sharding.MeshConfig()):
        scale = np.asarray(step.channel_scale(experiment, energy))
        dead = np.asarray(step.channel_scale(experiment, np.array([1.0, 1.0, 0.0])))
        alike = np.asarray(step.channel_scale(experiment, None))
    np.testing.assert_allclose(scale**2, np.array([0.4, 0.1, 0.3]) / (0.8 / 3), rtol=1e-6)
    assert (dead > 0).all()  # sampling divides by it
    np.testing.assert_array_equal(alike, 1)
