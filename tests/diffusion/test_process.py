"""Predictions and their conversions, noise levels, guidance, and the order of the samplers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion.noise_levels import NoiseLevels, shift_noise_level, timesteps
from sora_jax.diffusion.predictions import PREDICTIONS
from sora_jax.diffusion.process import corrupt
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.sharding import SHARDING

LEVELS = jnp.array([0.1, 0.37, 0.5, 0.8, 0.93])[:, None]
EXACT = ("velocity", "v", "edm")  # their conversions divide by nothing small
TO_X0 = {  # the clean data from x_t and each output, solved by hand from the equations
    "velocity": lambda x, out, t: x - t * out,
    "x0": lambda x, out, t: out,
    "eps": lambda x, out, t: (x - t * out) / (1 - t),
    "v": lambda x, out, t: ((1 - t) * x - t * out) / ((1 - t) ** 2 + t**2),
    "edm": lambda x, out, t: (
        (1 - t) * x / ((1 - t) ** 2 + t**2) + t * out / jnp.sqrt((1 - t) ** 2 + t**2)
    ),
}
"""Independent of the conversions to velocities."""


@pytest.fixture
def data():
    x0, eps = jax.random.normal(jax.random.key(0), (2, 5, 7))
    return x0, eps, corrupt(x0, eps, LEVELS)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_perfect_output_gives_back_data_and_velocity(data, name):
    x0, eps, x = data
    prediction = PREDICTIONS[name]
    output = prediction.target(x0, eps, LEVELS)
    np.testing.assert_allclose(TO_X0[name](x, output, LEVELS), x0, atol=2e-5)
    velocity = prediction.to_velocity(output, x, LEVELS)
    # Independently: the derivative of the path by the noise level.
    path = jax.vmap(jax.jacfwd(lambda t, a, b: corrupt(a, b, t)), (0, 0, 0))
    np.testing.assert_allclose(velocity, path(LEVELS[:, 0], x0, eps), atol=2e-5)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_loss_scale_is_the_derivative_of_the_conversion(name):
    levels = (0.1, 0.5, 0.9)
    if name in EXACT:
        levels += (0.01, 0.99)
    for level in levels:
        t, x = jnp.float32(level), jnp.float32(0.3)
        slope = jax.grad(lambda out, t=t, x=x: PREDICTIONS[name].to_velocity(out, x, t))(0.2)
        np.testing.assert_allclose(PREDICTIONS[name].loss_scale(t), abs(slope), rtol=1e-4)


def test_edm_is_edms_preconditioning():
    """The formulas of arXiv:2206.00364, table 1, in sigma and x = x0 + sigma eps."""
    edm = PREDICTIONS["edm"]
    t = jax.random.uniform(jax.random.key(1), (64, 1), minval=0.005, maxval=0.995)
    x0, eps, out = jax.random.normal(jax.random.key(2), (3, 64, 5))
    sigma, data = t / (1 - t), 1.0
    x = x0 + sigma * eps
    c_skip = data**2 / (sigma**2 + data**2)
    c_out = sigma * data / jnp.sqrt(sigma**2 + data**2)
    c_in = 1 / jnp.sqrt(sigma**2 + data**2)
    x_t = corrupt(x0, eps, t)
    np.testing.assert_allclose(edm.input_scale(t) * x_t, c_in * x, atol=1e-5)
    denoised = c_skip * x + c_out * out
    np.testing.assert_allclose(x_t - t * edm.to_velocity(out, x_t, t), denoised, atol=1e-5)
    wanted = (x0 - c_skip * x) / c_out
    np.testing.assert_allclose(edm.target(x0, eps, t), wanted, atol=5e-4)
    # The flow in sigma, dx / dsigma = (x - D) / sigma, at x_t = (1 - t) x: the product rule.
    slope = (x - denoised) / sigma
    velocity = -x + (1 - t) * slope / (1 - t) ** 2
    np.testing.assert_allclose(edm.to_velocity(out, x_t, t) / velocity, 1, atol=2e-3)


def test_edm_gives_the_model_and_asks_of_it_numbers_of_variance_one():
    x0, eps = jax.random.normal(jax.random.key(3), (2, 5, 40_000))
    x_t, edm = corrupt(x0, eps, LEVELS), PREDICTIONS["edm"]
    np.testing.assert_allclose((edm.input_scale(LEVELS) * x_t).std(1), 1, atol=0.02)
    np.testing.assert_allclose(edm.target(x0, eps, LEVELS).std(1), 1, atol=0.02)


def test_inputs_are_scaled_for_edm_only_and_never_what_is_known():
    for name, prediction in PREDICTIONS.items():
        scale = prediction.input_scale(jnp.array([0.0, 0.3, 0.5, 1.0]))
        assert scale[0] == 1 == scale[-1]
        assert (name == "edm") == bool((scale != 1).any())


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_last_steps_see_the_whole_velocity(name):
    x0, eps = jnp.array([0.3, -1.2]), jnp.array([1.1, 0.4])
    for level in (0.003, 0.01, 0.04):
        t = jnp.float32(level)
        x, output = corrupt(x0, eps, t), PREDICTIONS[name].target(x0, eps, t)
        velocity = PREDICTIONS[name].to_velocity(output, x, t)
        np.testing.assert_allclose(velocity, eps - x0, rtol=1e-3)


MEAN, DEVIATION = 0.8, 0.4
NOISE = jnp.linspace(-2, 2, 9)[None, :, None]
ONE_LEVEL = jnp.zeros((1, 9), jnp.int32)
NO_DRAW = None  # samplers along the flow draw nothing


def gaussian_velocity(name, t_of):
    """The velocity of data N(m, s^2), by the best prediction; noise z ends at m + s z exactly."""

    def velocity(x, table):
        t, m, s = t_of(table), MEAN, DEVIATION
        centred = (x - (1 - t) * m) / ((1 - t) ** 2 * s**2 + t**2)
        # The best output is the mean of the targets, linear in the means of data and noise.
        x0, eps = m + (1 - t) * s**2 * centred, t * centred
        return PREDICTIONS[name].to_velocity(PREDICTIONS[name].target(x0, eps, t), x, t)

    return velocity


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("name", [*EXACT, "x0"])  # noise alone tells eps nothing of x0
@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("dpm", 2)])
def test_samplers_converge_with_their_order_on_a_gaussian(sampler, order, name):
    velocity = gaussian_velocity(name, lambda table: table[:, :, None])
    last, errors = 0.05, []  # a step to 0 is of first order in every multistep method
    wanted = (1 - last) * MEAN + jnp.hypot((1 - last) * DEVIATION, last) * NOISE
    for steps in (20, 40, 80):
        levels = jnp.linspace(1, last, steps + 1)[:, None, None]
        end = SAMPLERS[sampler](velocity, NOISE, levels, ONE_LEVEL, NO_DRAW)
        errors.append(float(jnp.abs(end - wanted).max()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert errors[-1] < (0.02 if order == 1 else 0.001)
    np.testing.assert_allclose(orders, order, atol=0.15 if order == 1 else 0.4)


def test_levels_follow_their_distribution():
    sample = NoiseLevels(-0.4, 1.2).sample(jax.random.key(0), jnp.ones(50_000))
    logits = np.log(sample / (1 - sample))
    np.testing.assert_allclose([logits.mean(), logits.std()], [-0.4, 1.2], atol=0.03)
    edm = NoiseLevels(-1.2, 1.2).sample(jax.random.key(0), jnp.ones(50_000))
    log_sigma = np.log(edm / (1 - edm))  # of x_t / (1 - t) = x0 + sigma eps
    np.testing.assert_allclose([log_sigma.mean(), log_sigma.std()], [-1.2, 1.2], atol=0.03)
    uniform = NoiseLevels(scale=0.0).sample(jax.random.key(1), jnp.ones(50_000))
    np.testing.assert_allclose(
        np.quantile(uniform, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.01
    )


def test_shift_keeps_the_ends_and_scales_the_odds():
    t = jnp.array([0.0, 0.2, 0.5, 1.0])
    moved = shift_noise_level(t, jnp.array([3.0]))
    assert moved[0] == 0 and moved[-1] == 1
    odds = moved[1:3] / (1 - moved[1:3])
    np.testing.assert_allclose(odds, 3 * t[1:3] / (1 - t[1:3]), rtol=1e-5)


def test_a_segment_of_four_times_the_tokens_has_twice_the_shift():
    levels = NoiseLevels(scale=0.0, shift=3.0, reference_tokens=100)
    np.testing.assert_allclose(levels.shifts(jnp.array([25.0, 100.0, 400.0])), [1.5, 3.0, 6.0])
    sample = levels.sample(jax.random.key(2), jnp.full(50_000, 400.0))
    # Half of the uniform levels are below 1/2, which a shift of 6 moves to 6/7.
    np.testing.assert_allclose(np.median(sample), 6 / 7, atol=0.01)
    equal = NoiseLevels(shift=3.0).shifts(jnp.array([25.0, 400.0]))
    np.testing.assert_array_equal(equal, [3.0, 3.0])


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm"])
def test_tokens_may_fall_along_levels_of_their_own_or_stay(sampler):
    """The flow of the Gaussian again, each token at another shift of the same schedule."""
    shifts = jnp.linspace(0.5, 4.0, 9)[None, None]
    table = shift_noise_level(timesteps(200)[:, None, None], shifts)
    table = jnp.concatenate([jnp.zeros_like(table[..., :1]), table], -1)  # entry 0: known
    ids = jnp.arange(1, 10)[None].at[0, 4].set(0)

    def t_of(levels):
        return jnp.take_along_axis(levels, ids, 1)[..., None]

    velocity = gaussian_velocity("velocity", t_of)
    end = SAMPLERS[sampler](velocity, NOISE, table, ids, NO_DRAW)
    wanted = jnp.where(ids[..., None] == 0, NOISE, MEAN + DEVIATION * NOISE)
    np.testing.assert_allclose(end, wanted, atol=0.02)
    np.testing.assert_array_equal(end[0, 4], NOISE[0, 4])


def drawn(levels, velocity, tokens=40_000):
    """Starts and ends of ancestral sampling of many tokens from noise."""
    noise = jax.random.normal(jax.random.key(0), (1, tokens, 1))
    noise = jax.sharding.reshard(noise, SHARDING.act_bl)
    ids = jnp.zeros((1, tokens), jnp.int32)

    def draw(step):
        z = jax.random.normal(jax.random.fold_in(jax.random.key(1), step), noise.shape)
        return jax.sharding.reshard(z, SHARDING.act_bl)

    table = jnp.asarray(levels)[:, None, None]
    return np.ravel(noise), np.ravel(SAMPLERS["ancestral"](velocity, noise, table, ids, draw))


def towards(x0):
    """The velocity when the clean value is known."""
    return lambda x, table: (x - x0) / table[0, 0]


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("levels", [(1.0, 0.6), (1.0, 0.9, 0.6), (1.0, 0.3, 0.6), (1.0, 0.6, 1.0)])
def test_ancestral_samples_are_of_the_paths_distribution(levels):
    """N((1 - t) x0, t^2) at each level t, whether levels fell or rose before."""
    _, end = drawn(levels, towards(0.7))
    np.testing.assert_allclose(end.mean(), (1 - levels[-1]) * 0.7, atol=0.01)
    np.testing.assert_allclose(end.std(), levels[-1], rtol=0.02)


@pytest.mark.usefixtures("one_device")
def test_an_ancestral_step_is_one_of_a_markov_chain():
    """For x_t = a x_s + noise, the covariance of x_t and x_s is a times the variance of x_s."""
    ends = drawn((1.0, 0.8), towards(0.7))[1], drawn((1.0, 0.8, 0.5), towards(0.7))[1]
    a = (1 - 0.8) / (1 - 0.5)
    np.testing.assert_allclose(np.cov(*ends)[0, 1], a * 0.5**2, atol=0.01)
    noise, first = drawn((1.0, 0.8), towards(0.7))
    assert abs(np.cov(noise, first)[0, 1]) < 0.01  # pure noise tells nothing of what follows


@pytest.mark.usefixtures("one_device")
def test_ancestral_sampling_draws_a_gaussian_of_its_deviation():
    def velocity(x, table):
        t = table[0, 0]
        centred = (x - (1 - t) * MEAN) / ((1 - t) ** 2 * DEVIATION**2 + t**2)
        return t * centred - MEAN - (1 - t) * DEVIATION**2 * centred

    _, end = drawn(np.linspace(1, 0, 201), velocity)
    np.testing.assert_allclose([end.mean(), end.std()], [MEAN, DEVIATION], atol=0.01)


@pytest.mark.usefixtures("one_device")
def test_ancestral_sampling_leaves_tokens_at_level_0():
    table = jnp.array([[0.0, 1.0], [0.0, 0.5], [0.0, 0.0]])[:, None]
    ids = jnp.array([[0, 1]])
    start = jax.sharding.reshard(jnp.array([[[0.3], [1.2]]]), SHARDING.act_bl)
    end = SAMPLERS["ancestral"](
        lambda x, table: jnp.ones_like(x), start, table, ids, lambda step: jnp.ones_like(start)
    )
    assert end[0, 0, 0] == start[0, 0, 0] and end[0, 1, 0] != start[0, 1, 0]


def test_repeated_steps_rise_again_but_never_from_data():
    np.testing.assert_allclose(timesteps(4), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(
        timesteps(3, 2), [1, 2 / 3, 1, 2 / 3, 1 / 3, 2 / 3, 1 / 3, 0], atol=1e-6
    )
    np.testing.assert_allclose(timesteps(1, 3), [1, 0])
