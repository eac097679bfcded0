"""Gradients that are spikes: told by their running mean, skipped, and followed if they last."""

import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.training.guard import NORM_RATE, SETTLING_STEPS, guard
from sora_jax.types import TrainState


def step(state, norm):
    """Moves the weight by one."""
    params = {"w": state.params["w"] + 1}
    new = state._replace(step=state.step + 1, params=params)
    return new, {"loss": jnp.float32(1), "gradient_norm": norm}


def run(norms, factor, first_step=SETTLING_STEPS):
    """Final state, and whether each step was skipped and called a spike."""
    key = jnp.zeros(2, jnp.uint32)
    params = {"w": jnp.zeros(())}
    state = TrainState(jnp.int32(first_step), params, params, {}, key, {}, jnp.float32(0))
    guarded, marks = guard(step, factor), []
    for norm in norms:
        state, values = guarded(state, jnp.float32(norm))
        marks.append((int(values["skipped"]), int(values["spiked"])))
    return state, marks


def test_a_spike_is_skipped_and_the_mean_follows_its_definition():
    norms, factor = [2.0, 2.2, 1.9, 21.0, 2.1, 18.0, 2.0], 10.0
    mean, bad = norms[0], []
    for norm in norms[1:]:
        bad.append(norm > factor * mean)
        mean += NORM_RATE * (min(norm, factor * mean) - mean)
    state, marks = run(norms, factor)
    assert [spiked for _, spiked in marks] == [0, *map(int, bad)] == [0, 0, 0, 1, 0, 0, 0]
    assert all(skipped == spiked for skipped, spiked in marks)
    np.testing.assert_allclose(state.gradient_norm, mean, rtol=1e-6)
    assert int(state.params["w"]) == 6 and int(state.step) == SETTLING_STEPS + 7


def test_a_lasting_change_is_followed_before_the_run_would_stop():
    _, marks = run([1.0] * 5 + [100.0] * 40, 10.0)
    assert sum(skipped for skipped, _ in marks) in range(5, 20)
    assert not any(skipped for skipped, _ in marks[25:])


@pytest.mark.parametrize(("factor", "first"), [(0.0, SETTLING_STEPS), (10.0, 0)])
def test_there_are_none_without_a_factor_or_in_the_first_steps(factor, first):
    _, marks = run([1.0] * 5 + [1e6], factor, first)
    assert marks == [(0, 0)] * 6


@pytest.mark.parametrize(("factor", "first"), [(10.0, SETTLING_STEPS), (0.0, 0)])
def test_a_norm_that_is_not_finite_changes_neither_weights_nor_the_mean(factor, first):
    """Of finite gradients: their squares may overflow."""
    state, marks = run([1.0, float("inf"), float("nan")], factor, first)
    assert marks == [(0, 0), (1, 0), (1, 0)]
    assert float(state.gradient_norm) == float(state.params["w"]) == 1
