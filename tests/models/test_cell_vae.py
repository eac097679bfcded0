"""The autoencoder of cells: its convolution by another formula, its start, its posterior."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax.models import vae
from sora_jax.models.causal_conv import CausalCache
from sora_jax.models.cell_vae import DepthwiseConv
from sora_jax.models.latents import PrincipalAxes
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.training import vae_task
from sora_jax.training.experiments import VAEExperiment

CONFIG = CellVAEConfig(4, 2, 4, 8, 1, 2, noise=0.1)
PIXELS = jax.random.uniform(jax.random.key(0), (1, 5, 8, 12, 3)) * 2 - 1

pytestmark = pytest.mark.usefixtures("one_device")


def test_the_depthwise_convolution_is_xlas_with_a_padding_of_the_past():
    layer = DepthwiseConv(6, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 4, 5, 7, 6))

    @jax.jit
    def both(x):
        wanted = jax.lax.conv_general_dilated(
            x,
            layer.kernel[...][:, :, :, None],
            (1, 1, 1),
            ((1, 0), (1, 1), (1, 1)),
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
            feature_group_count=6,
        )
        return layer(x, CausalCache()), wanted

    np.testing.assert_allclose(*both(x), atol=1e-5)


def test_it_starts_at_its_principal_axes_and_both_halves_learn():
    experiment = VAEExperiment(data="", model=CONFIG)
    rng = np.random.default_rng(0)
    axes = PrincipalAxes(*(jnp.float32(rng.normal(size=(96, 4)) / 10) for _ in range(2)))
    statistics = vae.init_statistics(CONFIG, axes)
    state = jax.jit(functools.partial(vae_task.init_state, experiment, statistics))()

    @jax.jit
    def run(state):
        found = vae.posterior(CONFIG, state.params, state.statistics, PIXELS)
        decoded = vae.decode(CONFIG, state.params, state.statistics, found.mean)
        slopes, _ = jax.grad(vae_task.loss, has_aux=True)(
            state.params, state, experiment, PIXELS, jax.random.key(0), None
        )
        return found, decoded, slopes

    found, decoded, slopes = run(state)
    linear = axes.encode(PIXELS, 2, 4)
    np.testing.assert_allclose(found.mean, linear, atol=1e-6)
    np.testing.assert_allclose(found.log_variance, 2 * math.log(0.1), rtol=1e-6)
    np.testing.assert_allclose(decoded, axes.decode(linear, 2, 4), atol=1e-6)
    for half in ("encoder", "decoder"):
        assert np.abs(slopes[half]["last"]["kernel"]).max() > 1e-6, half
