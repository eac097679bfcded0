"""What the step does to a batch before the model sees it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from sora_jax import sharding
from sora_jax.diffusion.guidance import Guidance
from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.evals import validation_loss
from sora_jax.generation.sampling import sample_rows
from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.latents import ChannelStatistics
from sora_jax.rows import (
    PackedBatch,
    batch_specs,
    make_segment,
    pack_row,
    scale_channels,
    with_noise_level,
)
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.optimizer import make_optimizer
from sora_jax.types import TrainState
from tests.tiny import CAPACITY, MODEL, random_batch, random_params


@pytest.mark.usefixtures("one_device")
def test_training_evaluation_and_sampling_all_use_edms_denoiser():
    experiment = DiffusionExperiment(data="", model=MODEL, prediction="edm")
    rng = np.random.default_rng(0)
    params, batch = random_params(rng), random_batch(rng, 2)
    noise = rng.normal(size=batch.patches.shape).astype(np.float32)
    t = jnp.float32(0.6)
    at_t = with_noise_level(batch, t)
    sigma = 0.6 / 0.4
    x = batch.patches + sigma * noise
    network = jax.jit(dit.apply, static_argnums=0)
    out = network(MODEL, params, jnp.asarray(x / np.sqrt(1 + sigma**2)), at_t)
    c_out = sigma / np.sqrt(1 + sigma**2)
    denoised = np.asarray(x / (1 + sigma**2) + c_out * out)
    error = ((denoised - batch.patches) ** 2).mean((1, 2))

    found = validation_loss.velocity_errors(
        experiment.denoiser, params, jnp.ones(2), batch, noise, t
    )
    np.testing.assert_allclose(found[:, 0], error / 0.6**2, rtol=1e-5)  # dx0 = -t dvelocity
    loss = jax.jit(diffusion_task.loss, static_argnums=1)
    np.testing.assert_allclose(
        loss(params, experiment, at_t, noise), error.mean() / 0.6**2, rtol=1e-5
    )
    edms = dataclasses.replace(experiment, velocity_loss=False)
    np.testing.assert_allclose(loss(params, edms, at_t, noise), error.mean() / c_out**2, rtol=1e-5)
    # One step of the sampler from level t to 0 ends at the denoiser's guess.
    levels = jnp.array([0.6, 0.0])[:, None, None]
    levels = jnp.tile(jnp.pad(levels, ((0, 0), (0, 0), (1, 0))), (1, 2, 1))
    specs = batch_specs()
    keys = np.zeros((*noise.shape[:2], 2), np.uint32)
    rings = np.zeros(keys.shape, np.float32)
    per_patch = (specs.patches,) * 3
    batch, *rest = sharding.shard((batch, noise, keys, rings), (specs, *per_patch))
    rows = batch, batch, *rest
    end = sample_rows(experiment.denoiser, "euler", params, *rows, levels, Guidance())
    np.testing.assert_allclose(end, denoised, atol=1e-5 * np.abs(denoised).max())


def test_scaled_patches_are_the_patches_of_scaled_latents():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(3, 4, 6, 5)).astype(np.float32)
    scale = rng.uniform(0.5, 2, 5).astype(np.float32)

    def batch(latent):
        row = pack_row([make_segment(latent, 8.0, [1], (1, 2, 2), 1.0)], (20, 1, 1), 20)
        return PackedBatch(*(field[None] for field in row))

    with sharding.use_mesh(sharding.MeshConfig()):
        found = scale_channels(batch(latent), jnp.asarray(scale)).patches
    np.testing.assert_array_equal(found, batch(latent * scale).patches)


def test_training_and_evaluation_see_scaled_patches():
    experiment = DiffusionExperiment(data="", model=MODEL)
    batch = random_batch(np.random.default_rng(0), 8)
    scale, one = np.float32([0.5, 3.0]), np.ones(2, np.float32)
    with sharding.use_mesh():
        batch = sharding.shard(batch, batch_specs())
        by_hand = batch._replace(patches=batch.patches * jnp.tile(scale, 4)[None, None])
        state = jax.jit(lambda: diffusion_task.init_state(experiment))()
        train = jax.jit(functools.partial(diffusion_task.train_step, experiment=experiment))
        losses, errors = [], []
        for used, patches in ((scale, batch), (one, by_hand), (one, batch)):
            used = jnp.asarray(used)
            _, metrics = train(state._replace(statistics={"channel_scale": used}), patches)
            losses.append(float(metrics["loss"]))
            noise = jnp.ones_like(batch.patches)
            level = jnp.float32(0.5)
            found = validation_loss.velocity_errors(
                experiment.denoiser, state.params, used, patches, noise, level
            )
            errors.append(np.asarray(found))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-5)
    assert abs(losses[2] - losses[1]) > 0.1 and np.abs(errors[2] - errors[1]).min() > 0.1


def test_channel_power_makes_variances_follow_the_energy():
    experiment = DiffusionExperiment(
        data="",
        channel_weight_exponent=0.5,
        model=DiTConfig(latent_channels=3, width=16, mlp_dim=16),
    )
    energy, deviation = np.array([0.16, 0.01, 0.09]), np.array([0.6, 1.1, 0.9])

    def scale_of(*channels):
        channels = ChannelStatistics(*map(np.array, channels)) if channels else None
        with sharding.use_mesh(sharding.MeshConfig()):
            return np.asarray(diffusion_task.channel_scale(experiment, channels))

    variance = (scale_of(deviation, energy) * deviation) ** 2
    np.testing.assert_allclose(variance, np.array([0.4, 0.1, 0.3]) / (0.8 / 3), rtol=1e-6)
    assert (scale_of([1.0, 1.0, 1.0], [1.0, 1.0, 0.0]) > 0).all()  # sampling divides by it
    assert scale_of([1.0, 1.0, 1e-9], [1.0, 1.0, 1.0])[2] == pytest.approx(10)  # its rounding
    np.testing.assert_array_equal(scale_of(), 1)
    np.testing.assert_allclose(scale_of([0.0] * 3, [0.0] * 3), 10, rtol=1e-6)  # untrained


def steps_as_the_loss_sees_them(monkeypatch, noise_levels, steps):
    """Levels of 8 x 256 segments, and noise, in the first steps of a run."""
    experiment, seen = DiffusionExperiment(data="", model=MODEL, noise_levels=noise_levels), []

    def output_and_target(params, experiment, batch, noise):
        seen.append((np.asarray(batch.levels[:, 1:257]).ravel(), np.asarray(noise).ravel()))
        return jnp.sum(params["kernel"]) * batch.patches, batch.patches

    monkeypatch.setattr(diffusion_task, "output_and_target", output_and_target)
    segment = make_segment(np.ones((3, 4, 4, 2), np.float32), 8.0, [1], MODEL.patch)
    row = pack_row([segment], (CAPACITY[0], 2, 256), MODEL.patch_width)
    batch = PackedBatch(*(np.stack([field] * 8) for field in row))
    # One device: without `jit`, operations on several would run at once, and all-reduces meet.
    with jax.set_mesh(sharding.make_mesh(devices=jax.devices()[:1])):
        batch, params = sharding.shard(batch, batch_specs()), {"kernel": jnp.zeros(1)}
        moments = make_optimizer(experiment.optimizer).init(params)
        key, scale = jax.random.key_data(jax.random.key(0)), {"channel_scale": jnp.ones(2)}
        state = TrainState(jnp.int32(0), params, params, moments, key, scale)
        for _ in range(steps):
            state, _ = diffusion_task.train_step(state, batch, experiment)
    return seen


@pytest.mark.parametrize(
    "noise_levels",
    [NoiseLevels(), NoiseLevels(-1.2, 1.2), NoiseLevels(0.3, 0.8, 3.0), NoiseLevels(0.0, 0.0, 2.5)],
    ids=["logit-normal", "EDM's", "shifted", "uniform, shifted"],
)
def test_each_step_draws_levels_of_the_distribution_and_normal_noise(monkeypatch, noise_levels):
    location, scale, shift = noise_levels.location, noise_levels.scale, noise_levels.shift

    def distribution(level):
        """Share of levels below one: P(t' <= x) = P(t <= x / (s - (s - 1) x))."""
        unshifted = level / (shift - (shift - 1) * level)
        if scale == 0:
            return unshifted
        return scipy.special.ndtr((scipy.special.logit(unshifted) - location) / scale)

    steps = steps_as_the_loss_sees_them(monkeypatch, noise_levels, 3)
    for levels, noise in steps:
        assert scipy.stats.kstest(levels, distribution).pvalue > 1e-3
        assert scipy.stats.kstest(noise, "norm").pvalue > 1e-3
    for (levels, noise), (later_levels, later_noise) in zip(steps, steps[1:], strict=False):
        for a, b in ((levels, later_levels), (noise, later_noise)):
            assert (a != b).mean() > 0.99
            assert abs(scipy.stats.spearmanr(a, b).statistic) < 4 / len(a) ** 0.5
