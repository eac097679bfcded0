"""The autoencoder: causal, an image is one frame, chunks of latents, principal axes, messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax import sharding
from sora_jax.models import vae
from sora_jax.models.causal_conv import CausalCache
from sora_jax.models.conv_vae import ConvVAE
from sora_jax.models.latents import (
    LatentStatistics,
    Posterior,
    PrincipalAxes,
    depth_to_space,
    space_to_depth,
)
from sora_jax.models.vae_config import CellVAEConfig, VAEConfig
from sora_jax.training import vae_task
from sora_jax.training.experiments import CropConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig

CONFIGS = {
    "patch 4": VAEConfig(latent_channels=6, patch=4, channels=(4, 6, 6), strides=((2, 2), (2, 1))),
    "no patch": VAEConfig(4, 1, (4, 4, 6, 6), ((1, 2), (2, 2), (2, 2))),
    "time 2": VAEConfig(latent_channels=4, patch=2, channels=(4, 6), strides=((2, 2),)),
}


@pytest.fixture(params=CONFIGS, scope="module")
def model(request):
    """An autoencoder whose weights are on no mesh."""
    with sharding.use_mesh():
        shape = nnx.eval_shape(lambda: ConvVAE(CONFIGS[request.param], nnx.Rngs(0)))
    graph, like = nnx.split(shape, nnx.Param)
    rng = np.random.default_rng(0)

    def random(a):
        return jnp.float32(rng.normal(size=a.shape) * np.prod(a.shape[:-1]) ** -0.5)

    return nnx.merge(graph, jax.tree.map(random, like))


@jax.jit
def encode(model, pixels):
    return model.posterior(pixels, CausalCache()).mean


@jax.jit
def decode(model, latents):
    return model.decode(latents, CausalCache())


def video(frames, height=16, width=24, seed=0):
    return jax.random.uniform(jax.random.key(seed), (1, frames, height, width, 3)) * 2 - 1


def test_encoder_and_decoder_are_causal(model):
    k = model.config.temporal_stride
    pixels = video(1 + 3 * k)
    reach = jax.jit(
        lambda x, cut: jax.grad(
            lambda x: (model.posterior(x, CausalCache()).mean[:, cut] ** 2).sum()
        )(x)
    )
    back = jax.jit(
        lambda z, shown: jax.grad(
            lambda z: (shown * model.decode(z, CausalCache()).sum((0, 2, 3, 4)) ** 2).sum()
        )(z)
    )
    latents = encode(model, pixels)
    for j in range(latents.shape[1]):
        # Latent j depends on frames up to j k, on the last of them too, and on none after.
        seen = np.asarray(jnp.abs(reach(pixels, j)).max((0, 2, 3, 4)))
        assert seen[j * k] > 0 and not seen[j * k + 1 :].any()
        # Frames up to j k depend on latents up to j only.
        shown = (jnp.arange(pixels.shape[1]) <= j * k).astype(jnp.float32)
        seen = np.asarray(jnp.abs(back(latents, shown)).max((0, 2, 3, 4)))
        assert seen[j] > 0 and not seen[j + 1 :].any()


def test_an_image_is_the_first_frame_of_a_video(model):
    pixels = video(1 + 2 * model.config.temporal_stride)
    latents = encode(model, pixels)
    image = encode(model, pixels[:, :1])
    np.testing.assert_allclose(image, latents[:, :1], atol=1e-5)
    first = decode(model, latents)[:, :1]
    np.testing.assert_allclose(decode(model, image), first, atol=1e-5)


def test_only_parameters(model):
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert jax.tree.leaves(params) and not jax.tree.leaves(rest)


@pytest.mark.parametrize(
    "shape, first, message",
    [
        ((1, 2, 16, 16, 3), True, "pad it with media.fit_canvas"),
        ((1, 1, 16, 18, 3), True, "a clip of 1 frames, 16x18, does not divide"),
        ((1, 5, 16, 16, 3), False, "a clip of 5 frames"),
        ((1, 0, 16, 16, 3), False, "a clip of 0 frames"),
        ((1, 5, 16, 16, 4), True, "give videos as"),
        ((5, 16, 16, 3), True, "give videos as"),
    ],
)
def test_chunks_that_do_not_divide_are_named(shape, first, message):
    with pytest.raises(ValueError, match=message):
        vae.check_divides(CONFIGS["patch 4"], shape, first)


def test_cells_invert_and_the_first_frame_stands_alone():
    pixels = video(9)
    cells = space_to_depth(pixels, 4, 8)
    assert cells.shape == (1, 3, 2, 3, 768)
    np.testing.assert_array_equal(depth_to_space(cells, 4, 8), pixels)
    first = cells[0, 0, 0, 0].reshape(4, 8, 8, 3)
    np.testing.assert_array_equal(first, np.broadcast_to(pixels[0, 0, :8, :8], first.shape))


def test_principal_axes_lose_exactly_the_smallest_eigenvalues():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 12)) @ rng.normal(size=(12, 12))
    moments = x.T @ x / len(x)
    axes = PrincipalAxes.fit(moments, 5)
    latents = x @ np.asarray(axes.encoder)
    lost = np.mean(np.sum((x - latents @ np.asarray(axes.decoder).T) ** 2, 1))
    # The sum of the eigenvalues left out, from singular values: another route to them.
    values = np.linalg.svd(x, compute_uv=False) ** 2 / len(x)
    np.testing.assert_allclose(lost, values[5:].sum(), rtol=1e-4)
    np.testing.assert_allclose(np.mean(latents**2, 0), 1, rtol=1e-4)


def test_statistics_normalise_and_restore():
    data = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 3, 8, 8, 4))
    with sharding.use_mesh():
        statistics = LatentStatistics.initial(4).update(data, 1.0)
        normal = statistics.normalise(data)
        np.testing.assert_allclose(normal.mean((0, 1, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(normal.std((0, 1, 2, 3)), 1, atol=1e-5)
        np.testing.assert_allclose(statistics.restore(normal), data, atol=1e-5)


def test_statistics_are_those_of_a_mixture_however_far_from_zero():
    rng = np.random.default_rng(0)
    parts = [m + s * rng.normal(size=(1, 1, 40, 50, 1)) for m, s in ((100, 0.01), (100.05, 0.02))]
    with sharding.use_mesh():
        found = LatentStatistics.initial(1).update(jnp.float32(parts[0]), 1.0)
        np.testing.assert_allclose(found.variance, parts[0].var(), rtol=1e-2)
        found = found.update(jnp.float32(parts[1]), 0.25)
    mixture = np.concatenate([parts[0].ravel()] * 3 + [parts[1].ravel()])
    np.testing.assert_allclose(found.mean, mixture.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.variance, mixture.var(), rtol=1e-2)


def test_kl_is_that_of_gaussians():
    mean, log_variance = jnp.full((1,) * 5, 0.7), jnp.full((1,) * 5, -1.2)
    z = np.linspace(-12, 12, 200001)
    p = np.exp(-((z - 0.7) ** 2) / 2 / np.exp(-1.2)) / np.sqrt(2 * np.pi * np.exp(-1.2))
    log_q = -(z**2) / 2 - np.log(np.sqrt(2 * np.pi))
    terms = np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - log_q), 0)
    divergence = Posterior(mean, log_variance).kl().item()
    np.testing.assert_allclose(divergence, np.trapezoid(terms, z), rtol=1e-4)


def test_training_lowers_the_loss_and_equals_one_device():
    """Data parallel over 8 devices takes the same step as one device."""
    experiment = VAEExperiment(
        data="",
        model=CellVAEConfig(4, 2, 8, 8, 1, 1),
        crops=(CropConfig(8, 3, 16, 16),),
        optimizer=OptimizerConfig(steps=40, learning_rate=1e-2, warmup_steps=1),
    )
    # Smooth clips: noise has nothing to learn.
    y = jnp.linspace(-1, 1, 16)
    pixels = jnp.broadcast_to(y[:, None, None], (8, 3, 16, 16, 3))
    losses = {}
    for count in (8, 1):
        mesh = jax.make_mesh(
            (count, 1, 1, 1),
            sharding.AXES,
            axis_types=(jax.sharding.AxisType.Explicit,) * 4,
            devices=jax.devices()[:count],
        )
        with jax.set_mesh(mesh):
            state = jax.jit(functools.partial(vae_task.init_state, experiment))()
            step = jax.jit(functools.partial(vae_task.train_step, experiment=experiment))
            batch = jax.device_put(pixels, jax.NamedSharding(mesh, vae_task.BATCH))
            losses[count] = []
            for _ in range(20):
                state, metrics = step(state, batch)
                losses[count].append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[8], losses[1], rtol=1e-4)
    assert losses[1][-1] < 0.8 * losses[1][0]
