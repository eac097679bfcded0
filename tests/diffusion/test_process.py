"""Rectified flow: conversions, levels, guidance and the order of the sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion import process
from sora_jax.diffusion.noise_levels import NoiseLevels, shifted, timesteps
from sora_jax.diffusion.samplers import classifier_free_guidance, euler

LEVELS = jnp.array([0.1, 0.37, 0.5, 0.8, 0.93])[:, None]
EXACT = ("velocity", "v", "edm")  # their conversions divide by nothing small


@pytest.fixture
def data():
    x0, eps = jax.random.normal(jax.random.key(0), (2, 5, 7))
    return x0, eps, process.corrupt(x0, eps, LEVELS)


@pytest.mark.parametrize("prediction", process.PREDICTIONS)
def test_a_perfect_output_gives_back_data_and_velocity(data, prediction):
    x0, eps, x = data
    output = process.target(prediction, x0, eps, LEVELS)
    np.testing.assert_allclose(process.to_x0(prediction, output, x, LEVELS), x0, atol=2e-5)
    velocity = process.to_velocity(prediction, output, x, LEVELS)
    # Independently: the derivative of the path by the noise level.
    path = jax.vmap(jax.jacfwd(lambda t, a, b: process.corrupt(a, b, t)), (0, 0, 0))
    np.testing.assert_allclose(velocity, path(LEVELS[:, 0], x0, eps), atol=2e-5)


@pytest.mark.parametrize("prediction", process.PREDICTIONS)
def test_velocity_scale_is_the_derivative_of_the_conversion(prediction):
    levels = (0.1, 0.5, 0.9)
    if prediction in EXACT:
        levels += (0.01, 0.99)
    for level in levels:
        t, x = jnp.float32(level), jnp.float32(0.3)
        slope = jax.grad(lambda out, t=t, x=x: process.to_velocity(prediction, out, x, t))(0.2)
        np.testing.assert_allclose(process.velocity_scale(prediction, t), abs(slope), rtol=1e-4)


def test_unknown_prediction_is_named():
    for call in (
        lambda: process.to_velocity("epsilon", jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)),
        lambda: process.target("epsilon", jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)),
        lambda: process.to_x0("epsilon", jnp.zeros(1), jnp.zeros(1), jnp.zeros(1)),
        lambda: process.velocity_scale("epsilon", jnp.zeros(1)),
    ):
        with pytest.raises(ValueError, match="'epsilon': choose one of velocity, x0, eps, v"):
            call()


def test_edm_is_edms_preconditioning():
    """The formulas of arXiv:2206.00364, table 1, in sigma and x = x0 + sigma eps."""
    t = jax.random.uniform(jax.random.key(1), (64, 1), minval=0.005, maxval=0.995)
    x0, eps, out = jax.random.normal(jax.random.key(2), (3, 64, 5))
    sigma, data = t / (1 - t), 1.0
    x = x0 + sigma * eps
    c_skip = data**2 / (sigma**2 + data**2)
    c_out = sigma * data / jnp.sqrt(sigma**2 + data**2)
    c_in = 1 / jnp.sqrt(sigma**2 + data**2)
    x_t = process.corrupt(x0, eps, t)
    ours = process.input_scale("edm", t) * x_t
    np.testing.assert_allclose(ours, c_in * x, atol=1e-5)
    denoised = c_skip * x + c_out * out
    np.testing.assert_allclose(process.to_x0("edm", out, x_t, t), denoised, atol=1e-5)
    wanted = (x0 - c_skip * x) / c_out
    np.testing.assert_allclose(process.target("edm", x0, eps, t), wanted, atol=5e-4)
    # The flow in sigma, dx / dsigma = (x - D) / sigma, at x_t = (1 - t) x: the product rule.
    slope = (x - denoised) / sigma
    velocity = -x + (1 - t) * slope / (1 - t) ** 2
    found = process.to_velocity("edm", out, x_t, t)
    np.testing.assert_allclose(found / velocity, 1, atol=2e-3)


def test_edm_gives_the_model_and_asks_of_it_numbers_of_variance_one():
    x0, eps = jax.random.normal(jax.random.key(3), (2, 5, 40_000))
    x_t = process.corrupt(x0, eps, LEVELS)
    np.testing.assert_allclose((process.input_scale("edm", LEVELS) * x_t).std(1), 1, atol=0.02)
    np.testing.assert_allclose(process.target("edm", x0, eps, LEVELS).std(1), 1, atol=0.02)


def test_inputs_are_scaled_for_edm_only_and_never_what_is_known():
    for prediction in process.PREDICTIONS:
        scale = process.input_scale(prediction, jnp.array([0.0, 0.3, 0.5, 1.0]))
        assert scale[0] == 1 == scale[-1]
        assert prediction == "edm" or (scale == 1).all()


@pytest.mark.parametrize("prediction", process.PREDICTIONS)
def test_the_last_steps_see_the_whole_velocity(prediction):
    x0, eps = jnp.array([0.3, -1.2]), jnp.array([1.1, 0.4])
    for level in (0.003, 0.01, 0.04):
        t = jnp.float32(level)
        x, output = process.corrupt(x0, eps, t), process.target(prediction, x0, eps, t)
        velocity = process.to_velocity(prediction, output, x, t)
        np.testing.assert_allclose(velocity, eps - x0, rtol=1e-3)


@pytest.mark.parametrize("prediction", [*EXACT, "x0"])  # noise alone tells eps nothing of x0
def test_euler_converges_with_order_one_on_a_gaussian(prediction):
    """For data N(m, s^2) the flow is linear; noise z ends at m + s z exactly."""
    m, s = 0.8, 0.4

    def velocity(x, t):
        centred = (x - (1 - t) * m) / ((1 - t) ** 2 * s**2 + t**2)
        # The best output is the mean of the targets, linear in the means of data and noise.
        x0, eps = m + (1 - t) * s**2 * centred, t * centred
        output = process.target(prediction, x0, eps, t)
        return process.to_velocity(prediction, output, x, t)

    noise = jnp.linspace(-2, 2, 9)
    errors = []
    for steps in (20, 40, 80):
        end = euler(velocity, noise, timesteps(steps))
        errors.append(float(jnp.abs(end - (m + s * noise)).max()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert errors[-1] < 0.02
    np.testing.assert_allclose(orders, 1, atol=0.15)


def test_levels_follow_their_distribution():
    draws = NoiseLevels(-0.4, 1.2).draw(jax.random.key(0), jnp.ones(50_000))
    logits = np.log(draws / (1 - draws))
    np.testing.assert_allclose([logits.mean(), logits.std()], [-0.4, 1.2], atol=0.03)
    edm = NoiseLevels(-1.2, 1.2).draw(jax.random.key(0), jnp.ones(50_000))
    log_sigma = np.log(edm / (1 - edm))  # of x_t / (1 - t) = x0 + sigma eps
    np.testing.assert_allclose([log_sigma.mean(), log_sigma.std()], [-1.2, 1.2], atol=0.03)
    uniform = NoiseLevels(scale=0.0).draw(jax.random.key(1), jnp.ones(50_000))
    np.testing.assert_allclose(
        np.quantile(uniform, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.01
    )


def test_shift_keeps_the_ends_and_scales_the_odds():
    t = jnp.array([0.0, 0.2, 0.5, 1.0])
    moved = shifted(t, 3.0)
    assert moved[0] == 0 and moved[-1] == 1
    odds = moved[1:3] / (1 - moved[1:3])
    np.testing.assert_allclose(odds, 3 * t[1:3] / (1 - t[1:3]), rtol=1e-5)


def test_a_segment_of_four_times_the_tokens_has_twice_the_shift():
    levels = NoiseLevels(scale=0.0, shift=3.0, tokens=100)
    np.testing.assert_allclose(levels.shifts(jnp.array([25.0, 100.0, 400.0])), [1.5, 3.0, 6.0])
    drawn = levels.draw(jax.random.key(2), jnp.full(50_000, 400.0))
    # Half of the uniform levels are below 1/2, which a shift of 6 moves to 6/7.
    np.testing.assert_allclose(np.median(drawn), 6 / 7, atol=0.01)
    alike = NoiseLevels(shift=3.0).shifts(jnp.array([25.0, 400.0]))
    np.testing.assert_array_equal(alike, [3.0, 3.0])


def test_numbers_may_fall_along_levels_of_their_own():
    """The flow of the Gaussian again, each number at another shift of the same schedule."""
    m, s, shifts = 0.8, 0.4, jnp.linspace(0.5, 4.0, 9)

    def velocity(x, u):
        t = shifted(u, shifts)
        variance = (1 - t) ** 2 * s**2 + t**2
        return -m + (t - (1 - t) * s**2) / variance * (x - (1 - t) * m)

    noise = jnp.linspace(-2, 2, 9)
    end = euler(velocity, noise, timesteps(200), lambda u: shifted(u, shifts))
    np.testing.assert_allclose(end, m + s * noise, atol=0.02)


def test_guidance_of_scale_one_is_the_conditional():
    a, b = jax.random.normal(jax.random.key(0), (2, 4))
    np.testing.assert_allclose(classifier_free_guidance(a, b, 1.0), a, atol=1e-6)
    np.testing.assert_allclose(classifier_free_guidance(a, b, 3.0) - a, 2 * (a - b), atol=1e-5)
