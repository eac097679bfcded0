"""One step of the optimizer by numpy: clipping, decay, moments; averages of weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.training.experiments import parse
from sora_jax.training.optimizer import (
    OptimizerConfig,
    apply_gradients,
    make_optimizer,
    update_average,
)
from sora_jax.types import TrainState

SHAPES = {
    ("blocks", "up", "kernel"): (2, 3, 4),
    ("blocks", "up", "bias"): (2, 4),
    ("blocks", "norm", "scale"): (2, 3),
    ("patch_in", "kernel"): (5, 3),
    ("text", "embedding"): (6, 3),
    ("head_modulation",): (2, 3),
}
DECAYED = {"adamw": {(2, 3, 4), (5, 3)}, "muon": {(2, 3, 4)}}
NORMS = (0.5, 100.0, 2.0)
pytestmark = pytest.mark.usefixtures("one_device")


def random_tree(rng):
    root = {}
    for (*names, last), shape in SHAPES.items():
        folder = root
        for name in names:
            folder = folder.setdefault(name, {})
        folder[last] = np.float32(rng.normal(size=shape))
    return root


def first_state(params, config):
    """A state whose average is of zeros."""
    params = jax.tree.map(jnp.asarray, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return TrainState(jnp.int32(0), params, zeros, make_optimizer(config).init(params), None, {})


def take_steps(config, params, gradients):
    step = jax.jit(lambda state, g: apply_gradients(state, g, config, {}))
    state, norms = first_state(params, config), []
    for gradient in gradients:
        state, metrics = step(state, gradient)
        norms.append(float(metrics["gradient_norm"]))
    return state, norms


def test_steps_are_those_of_clipped_adamw():
    """The second gradient is long: only its clipping keeps the moments small."""
    rng, b1, b2, eps, rate, decay = np.random.default_rng(0), 0.8, 0.95, 0.3, 0.1, 0.7
    config = OptimizerConfig(
        *("adamw", 10),
        schedule="constant",
        warmup_steps=0,
        learning_rate=rate,
        weight_decay=decay,
        b1=b1,
        b2=b2,
        eps=eps,
        max_grad_norm=1.0,
    )
    params, gradients = random_tree(rng), [random_tree(rng) for _ in NORMS]
    for i, (gradient, norm) in enumerate(zip(gradients, NORMS, strict=True)):
        size = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(gradient)))
        gradients[i] = jax.tree.map(lambda g, s=norm / size: s * g, gradient)
    state, norms = take_steps(config, params, gradients)
    np.testing.assert_allclose(norms, NORMS, rtol=1e-5)  # the metric is that before clipping
    leaves = map(jax.tree.leaves, (state.params, params, *gradients))
    for after, before, *series in zip(*leaves, strict=True):
        x, m, v = before.astype(np.float64), 0.0, 0.0
        for t, (gradient, norm) in enumerate(zip(series, NORMS, strict=True), 1):
            g = gradient / max(norm, 1.0)
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            step = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
            x = x - rate * (step + decay * x * (before.shape in DECAYED["adamw"]))
        np.testing.assert_allclose(after, x, rtol=1e-4, atol=1e-6, err_msg=str(before.shape))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_kernels_decay_and_nothing_else_does(name):
    config = OptimizerConfig(
        name, schedule="constant", warmup_steps=0, learning_rate=0.1, weight_decay=0.5
    )
    params = random_tree(np.random.default_rng(0))
    state, _ = take_steps(config, params, [jax.tree.map(np.zeros_like, params)])
    for after, before in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        kept = 1 - 0.1 * 0.5 * (before.shape in DECAYED[name])
        np.testing.assert_allclose(after, kept * before, rtol=1e-5, err_msg=str(before.shape))


def run_average(config, weights, first):
    update = jax.jit(lambda ema, w, step: update_average(ema, w, step, config))
    average = {"kernel": jnp.float32(first)}
    for step, weight in enumerate(weights):
        average = update(average, {"kernel": jnp.float32(weight)}, jnp.int32(step))
    return np.asarray(average["kernel"])


def test_an_exponential_average_forgets_by_its_decay():
    """Weights jump from 1 to 0: what is left is the product of t / (t + 9), up to the decay."""
    for steps in (1, 5, 20):
        left = run_average(OptimizerConfig(ema_decay=0.99), [0.0] * steps, 1.0)
        np.testing.assert_allclose(left, 1 / math.comb(steps + 9, 9), rtol=1e-4)
    left = run_average(OptimizerConfig(ema_decay=0.3), [0.0] * 6, 1.0)  # 4 / 13 is above 0.3
    np.testing.assert_allclose(left, 0.3**3 / math.comb(12, 9), rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 6.94, 16.97])
def test_a_power_average_weighs_steps_by_a_power(gamma):
    config = OptimizerConfig(average="power", ema_exponent=gamma)
    weights = np.random.default_rng(0).normal(size=40)
    edges = np.arange(41.0) ** (gamma + 1)
    found = run_average(config, weights, 1e3)  # the initial weights do not count
    np.testing.assert_allclose(found, np.diff(edges) @ weights / edges[-1], rtol=1e-4)
    # Of weights t, the average is at (gamma + 1) / (gamma + 2) of a long run.
    found = run_average(config, np.arange(1, 401), 0.0)
    np.testing.assert_allclose(found / 400, (gamma + 1) / (gamma + 2), atol=2e-3)


def test_a_step_averages_the_weights_after_it():
    rng = np.random.default_rng(0)
    params, gradient = random_tree(rng), random_tree(rng)
    for average, share in (("power", 1.0), ("exponential", 0.9)):
        state, _ = take_steps(OptimizerConfig(average=average), params, [gradient])
        pairs = zip(jax.tree.leaves(state.ema), jax.tree.leaves(state.params), strict=True)
        for ema, after in pairs:
            np.testing.assert_allclose(ema, share * np.asarray(after), rtol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("learning_rate", 0.0, r"a number in \(0, inf\)"),
        ("learning_rate", float("inf"), "a finite number"),
        ("b1", 1.0, r"a number in \[0, 1\)"),
        ("b2", -0.1, r"a number in \[0, 1\)"),
        ("eps", 0.0, r"a number in \(0, inf\)"),
        ("max_grad_norm", 0.0, r"a number in \(0, inf\)"),
        ("weight_decay", -1e-3, r"a number in \[0, inf\)"),
        ("final_fraction", 1.1, r"a number in \[0, 1\]"),
        ("decay_fraction", 0.0, r"a number in \(0, 1\]"),
        ("ema_decay", 1.0, r"a number in \(0, 1\)"),
        ("ema_exponent", float("nan"), "a finite number"),
        ("micro_batches", 0, "at least 1"),
        ("schedule", "linear", "one of constant, cosine, wsd, rsqrt"),
        ("average", "none", "one of exponential, power"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, remedy):
    with pytest.raises(ValueError, match=rf"config.optimizer.{setting} is .*: .* {remedy}"):
        parse({"experiment": "diffusion", "data": "x", "optimizer": {setting: value}})
