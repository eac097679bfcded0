"""Learning rates: the corners of every schedule, random steps, and what a run really takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from sora_jax.training.schedules import SCHEDULES, Schedule


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("constant", {10: 2.0, 50: 2.0, 99: 2.0}),
        ("cosine", {10: 2.0, 55: 1.1, 40: 0.2 + 1.8 * 0.75, 100: 0.2, 120: 0.2}),
        ("wsd", {10: 2.0, 79: 2.0, 80: 2.0, 85: 1.1, 100: 0.2, 120: 0.2}),
        ("rsqrt", {10: 2.0 * (10 / 11) ** 0.5, 39: 1.0, 159: 0.5}),
    ],
)
def test_the_corners_of_a_schedule(name, rates):
    schedule = Schedule(name, 2.0, 100, 10, final_fraction=0.1, decay_fraction=0.2)
    for step, rate in ({0: 0.2, 4: 1.0, 8: 1.8, 9: 2.0} | rates).items():
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-5, err_msg=str(step))
    flat = Schedule(name, 2.0, 100, 0, final_fraction=0.1, decay_fraction=0.2)
    np.testing.assert_allclose(flat(0), 2.0, rtol=1e-6)  # no warm-up, nor a first step of 0


def expected(name, i, peak, steps, warmup, final, decay):
    """The rates of steps `i`, by other formulas."""
    if name == "cosine":
        share = np.cos(np.pi / 2 * np.clip((i - warmup) / (steps - warmup), 0, 1)) ** 2
    elif name == "wsd":
        length = min(decay * steps, steps - warmup)
        left = np.clip((steps - i) / length, 0, 1)
        share = 1 - np.sqrt(1 - left)
    else:
        share = np.ones(len(i))
    rate = final + (1 - final) * share
    if name == "rsqrt":
        rate = np.exp(0.5 * (np.log(warmup) - np.log1p(i)))
    return peak * np.minimum(rate, (i + 1) / warmup)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("decay", [0.1, 0.6, 1.0])
def test_schedules_at_random_steps(name, decay):
    rng = np.random.default_rng(0)
    for _ in range(20):
        steps = int(rng.integers(10, 100_000))
        warmup = int(rng.integers(1, steps // 2))
        peak, final = rng.uniform(1e-5, 1), rng.uniform()
        i = rng.integers(0, steps, 50)
        found = Schedule(name, peak, steps, warmup, final, decay)(jnp.asarray(i))
        rates = expected(name, i, peak, steps, warmup, final, decay)
        np.testing.assert_allclose(found, rates, rtol=2e-4)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (2, 1), (3, 1), (10, 5), (400, 100)])
def test_a_short_run_warms_up_for_half_of_its_steps(steps, warmup):
    config = OptimizerConfig("adamw", steps, warmup_steps=100, learning_rate=2.0)
    np.testing.assert_allclose(make_schedule(config)(0), 2.0 / warmup, rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.usefixtures("one_device")
def test_a_run_takes_steps_of_its_schedule(name, schedule):
    """With a constant gradient, a step of Adam's is as long as the learning rate."""
    config = OptimizerConfig(
        *(name, 20),
        schedule=schedule,
        warmup_steps=4,
        learning_rate=0.5,
        final_fraction=0.2,
        decay_fraction=0.4,
    )
    optimizer, params = make_optimizer(config), {"bias": jnp.zeros(3)}
    gradients, state = {"bias": jnp.full(3, 0.1)}, optimizer.init(params)
    update, taken = jax.jit(optimizer.update), []
    for _ in range(20):
        updates, state = update(gradients, state, params)
        taken.append(-np.asarray(updates["bias"])[0])
    rates = expected(schedule, np.arange(20), 0.5, 20, 4, 0.2, 0.4)
    if name == "muon":  # Nesterov's looks ahead: it is longer at first
        ahead = 0.9 * (1 - 0.9 ** np.arange(1, 21)) / (1 - 0.9 ** np.arange(2, 22))
        rates *= ahead + 0.1 / (1 - 0.9 ** np.arange(1, 21))
    np.testing.assert_allclose(taken, rates, rtol=1e-3)
    assert min(taken) > 0  # the first and the last step move too


def test_the_warm_up_takes_at_most_half_of_a_run():
    optimizer, gradients = make_optimizer(OptimizerConfig(steps=6)), {"bias": jnp.ones(1)}
    state, taken = optimizer.init(gradients), []
    for _ in range(3):
        updates, state = optimizer.update(gradients, state, gradients)
        taken.append(-float(updates["bias"][0]))
    np.testing.assert_allclose(taken, 1e-3 * np.array([1 / 3, 2 / 3, 1]), rtol=1e-4)
