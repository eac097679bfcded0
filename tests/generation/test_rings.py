"""Places on the ring of a loop's latents, from step to step."""

import jax
import numpy as np
import pytest

from sora_jax.diffusion.noise_levels import timesteps
from sora_jax.generation import sampling
from sora_jax.rows import RowCapacity, pack_row, stack_rows


@pytest.mark.parametrize("fps", [8.0, 10.0, 24.0, 30.0, 23.976])
@pytest.mark.parametrize("n", [3, 4, 8, 31])
def test_places_on_a_ring_are_the_same_ones_at_any_frame_rate(n, fps):
    """In all steps the places are those of a video of n latents; another one is the first."""
    step = np.float32(16 / fps)
    positions = np.stack([np.arange(n) * step, *np.zeros((2, n))], -1)[None].astype(np.float32)
    batch = stack_rows([pack_row([], RowCapacity(n, 1, 1), 3)], 1)
    batch = batch._replace(positions=positions, remaining=np.zeros_like(positions))
    batch = jax.tree.map(jax.numpy.asarray, batch)
    rings = jax.numpy.asarray(np.full((1, n, 2), [n, step], np.float32))
    firsts = []
    for number in range(40):
        turned = sampling.turn_rings(batch, rings, jax.numpy.full((1, n), float(number)))
        places = np.asarray(turned.positions[0, :, 0]) / step
        np.testing.assert_allclose(places, (np.arange(n) + round(places[0])) % n, atol=1e-4)
        left = np.asarray(turned.remaining[0, :, 0]) / step
        np.testing.assert_allclose(places + left, n - 1, atol=1e-4)
        firsts.append(round(places[0]))
    assert (np.diff(firsts) != 0).all() and len(set(firsts)) > 0.9 * n


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_steps_that_are_repeated_have_one_number(repeats):
    """So that a ring turns from one to the next as if none were repeated."""
    levels = np.asarray(timesteps(6, repeats))[:, None, None] * np.ones((1, 2, 3), np.float32)
    levels[:, 1, 2] = 0  # padding, or what is known
    array = jax.numpy.asarray(levels)
    numbers = np.asarray([sampling.number_steps(array, table) for table in array])
    wanted = np.round(6 * (1 - levels[:, 0, 0]))
    np.testing.assert_array_equal(numbers[:, 0, 0], wanted)
    assert set(wanted) == set(range(7)) and not numbers[:, 1, 2].any()
