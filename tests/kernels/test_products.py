"""Products of rounded factors: what is rounded, what is not, and when a run has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.kernels import products, tiled
from sora_jax.kernels.reference import reference_attention

pytestmark = pytest.mark.usefixtures("one_device")


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16), np.float64)


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def with_gradients(x, w, g):
    y, pull = jax.vjp(products.matmul, x, w)
    return y, *pull(g)


def test_factors_are_rounded_and_sums_are_not():
    """Against float64 products of rounded factors: the result has float32's error alone."""
    x, w, g = draw((60, 300), (300, 20), (60, 20))
    with jax.default_matmul_precision("bfloat16"):
        found = jax.jit(with_gradients)(x, w, g)
    x, w, g = map(rounded, (x, w, g))
    for one, right in zip(found, (x @ w, g @ w.T, x.T @ g), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, right, rtol=0, atol=2e-6 * np.abs(right).max())


def test_nothing_is_rounded_unless_asked_for():
    x, w, g = draw((60, 300), (300, 20), (60, 20))
    found = jax.jit(with_gradients)(x, w, g)
    x, w, g = (np.asarray(a, np.float64) for a in (x, w, g))
    for one, right in zip(found, (x @ w, g @ w.T, x.T @ g), strict=True):
        np.testing.assert_allclose(one, right, rtol=0, atol=2e-6 * np.abs(right).max())


def test_dtypes_of_factors_are_those_of_their_gradients():
    x, w, g = draw((4, 8), (8, 6), (4, 6))
    with jax.default_matmul_precision("bfloat16"):
        found = with_gradients(x.astype(jnp.bfloat16), w, g.astype(jnp.bfloat16))
    assert [a.dtype for a in found] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]


def test_attention_rounds_its_factors():
    """By more than float32's error, and by less than the roundings of four factors explain."""
    q, k, v = draw((1, 100, 2, 16), (1, 100, 2, 16), (1, 100, 2, 16))
    segments = jnp.repeat(jnp.array([[1, 2]]), 50, 1)
    wanted = np.asarray(reference_attention(q, k, v, segments, segments))
    with jax.default_matmul_precision("bfloat16"):
        found = tiled.tiled_attention(q, k, v, segments, segments)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 1e-4 < error < 4 * 2**-8


@pytest.mark.parametrize(("gain", "rounds"), [(1.4, False), (1.6, True)])
def test_a_run_rounds_factors_where_that_is_faster(monkeypatch, gain, rounds):
    monkeypatch.setattr(products, "gain", lambda: gain)
    with jax.default_matmul_precision(None), products.use_fastest_products():
        assert products.rounds_factors() == rounds
    assert not products.rounds_factors()


def test_a_precision_that_was_chosen_stays(monkeypatch):
    monkeypatch.setattr(products, "gain", lambda: 10.0)
    with jax.default_matmul_precision("float32"), products.use_fastest_products():
        assert jax.config.jax_default_matmul_precision == "float32"


def test_several_devices_multiply_in_float32(monkeypatch):
    monkeypatch.setattr(products, "gain", lambda: 10.0)
    with jax.default_matmul_precision(None), sharding.use_mesh():
        with products.use_fastest_products():
            assert not products.rounds_factors()


@pytest.mark.parametrize(("slow", "gain"), [(True, (0, 0.5)), (False, (2, np.inf))])
def test_the_gain_is_that_of_products_of_rounded_factors(monkeypatch, slow, gain):
    """One of the two kinds is made 200 products instead of one."""

    def matmul(x, w):
        for _ in range(200 if products.rounds_factors() == slow else 1):
            x = x @ w
        return x

    monkeypatch.setattr(products, "PROBE", (64, 64, 64))
    monkeypatch.setattr(products, "matmul", matmul)
    assert gain[0] < products.gain.__wrapped__() < gain[1]
