"""Rotary embedding: relative positions, and canvases larger than training's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models.rope import rope_angles, rotate, rotation

PAIRS = (12, 10, 10)  # of a head of 64, by axis
POSITIONS = jnp.stack([jnp.arange(6.0), 2 * jnp.arange(6.0), 30 - jnp.arange(6.0)], -1)[None]


def by_axis(angles):
    return np.split(np.asarray(angles), np.cumsum(PAIRS)[:2], -1)


def test_scores_depend_on_differences_of_positions_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 6, 2, 64))

    def scores(positions):
        by = rotation(rope_angles(positions, 64))
        return jnp.einsum("blnk,bmnk->bnlm", rotate(q, by), rotate(k, by))

    moved = scores(POSITIONS + jnp.array([5.0, 11.0, 2.0])[None, None])
    np.testing.assert_allclose(moved, scores(POSITIONS), atol=1e-4)


@pytest.mark.parametrize(("width", "pairs"), [(64, PAIRS), (12, (2, 2, 2)), (128, (22, 21, 21))])
def test_pairs_in_two_halves_turn_as_complex_numbers(width, pairs):
    x = np.random.default_rng(0).normal(size=(1, 6, 2, width))
    frequencies = [[50.0 ** (-i / n) for i in range(n)] for n in pairs]
    by_axis = [np.outer(p, f) for p, f in zip(POSITIONS[0].T, frequencies, strict=True)]
    turn = np.exp(1j * np.concatenate(by_axis, 1))[None, :, None]
    turned = (x[..., : width // 2] + 1j * x[..., width // 2 :]) * turn
    found = rotate(jnp.asarray(x, jnp.float32), rotation(rope_angles(POSITIONS, width, 50.0)))
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], -1), atol=1e-4)


def test_no_stretch_is_the_formula():
    angles = by_axis(rope_angles(POSITIONS, 64, 50.0))
    for axis, n in enumerate(PAIRS):
        wanted = [[x * 50.0 ** (-i / n) for i in range(n)] for x in POSITIONS[0, :, axis]]
        np.testing.assert_allclose(angles[axis][0], wanted, rtol=1e-5)
    same = rope_angles(POSITIONS, 64, 50.0, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(same, np.concatenate(angles, -1))


def test_a_stretched_axis_keeps_neighbours_and_ends_where_training_ended():
    plain = by_axis(rope_angles(POSITIONS, 64))
    large = by_axis(rope_angles(POSITIONS * jnp.array([1.0, 3.0, 1.0])[None, None], 64))
    found = by_axis(
        rope_angles(POSITIONS * jnp.array([1.0, 3.0, 1.0])[None, None], 64, stretch=(1.0, 3.0, 1.0))
    )
    for axis in (0, 2):
        np.testing.assert_array_equal(found[axis], plain[axis])
    np.testing.assert_array_equal(found[1][..., 0], large[1][..., 0])  # the fastest pair
    np.testing.assert_allclose(found[1][..., -1], plain[1][..., -1], rtol=1e-5)  # the slowest
    between = found[1][:, 1:, 1:-1]
    assert (plain[1][:, 1:, 1:-1] < between).all() and (between < large[1][:, 1:, 1:-1]).all()
