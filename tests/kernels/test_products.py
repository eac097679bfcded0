"""Products of rounded factors: what is rounded, what is not, and when a run has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.kernels import products, tiled
from sora_jax.kernels.attention import _append_bias
from sora_jax.kernels.reference import reference_attention
from tests.kernels.programs import operations

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
    """All of them, forward and backward; results are as far off as the roundings explain."""
    q, k, v = draw(*[(1, 100, 2, 16)] * 3)
    inputs = q / 4, k, v
    segments = jnp.repeat(jnp.array([[1, 2]]), 50, 1)

    def results(attend, *inputs):
        out, pull = jax.vjp(lambda *qkv: attend(*qkv, segments, segments), *inputs)
        return out, *pull(out)

    wanted = results(reference_attention, *inputs)
    with jax.default_matmul_precision("bfloat16"):
        found = results(tiled.tiled_attention, *inputs)
        jaxpr = jax.make_jaxpr(lambda *x: results(tiled.tiled_attention, *x))(*inputs)
    dots = [op for op in operations(jaxpr.jaxpr) if op.primitive.name == "dot_general"]
    factors = [factor.aval.dtype for op in dots for factor in op.invars]
    assert len(found) == 4 and factors == [jnp.bfloat16] * 14
    for one, right in zip(found, wanted, strict=True):
        assert 1e-4 < np.abs(one - right).max() / np.abs(right).max() < 4 * 2**-8


def test_a_bias_is_not_rounded():
    """Odds of a key that counts 500 times: as one bfloat16 number the bias would make it 502."""
    q, k = jnp.zeros((1, 1, 1, 8)), jnp.zeros((1, 2, 1, 8))
    v = jnp.eye(2)[None, :, None]
    segments = jnp.ones((1, 1), jnp.int32), jnp.ones((1, 2), jnp.int32)
    with jax.default_matmul_precision("bfloat16"):
        bias = jnp.log(jnp.array([[500.0, 1.0]]))
        q, k = _append_bias(q, k, bias)
        _, log_sum = jax.lax.map(
            lambda row: tiled._attend(tiled._make_blocks(64, *row)), (q, k, v, *segments)
        )
    np.testing.assert_allclose(log_sum.ravel()[0], np.log(501), atol=1e-5)


@pytest.mark.parametrize(("speedup", "factors"), [(1.4, "float32"), (1.6, "bfloat16")])
def test_factors_are_those_that_are_faster(monkeypatch, speedup, factors):
    monkeypatch.setattr(products, "gain", lambda: speedup)
    with jax.default_matmul_precision(None):
        assert products.choose_products() == factors
        with products.use_products(factors):
            assert products.rounds_factors() == (factors == "bfloat16")
    assert not products.rounds_factors()


@pytest.mark.parametrize("precision", ["float32", "highest", "bfloat16"])
def test_jaxs_own_setting_is_asked_first(monkeypatch, precision):
    monkeypatch.setattr(products, "gain", lambda: 10.0 if precision != "bfloat16" else 0.1)
    with jax.default_matmul_precision(precision):
        wanted = "bfloat16" if precision == "bfloat16" else "float32"
        assert products.choose_products() == wanted


def test_several_devices_multiply_in_float32(monkeypatch):
    monkeypatch.setattr(products, "gain", lambda: 10.0)
    with jax.default_matmul_precision(None), sharding.use_mesh():
        assert products.choose_products() == "auto"
        with products.use_products("bfloat16"):
            assert not products.rounds_factors()


def test_other_platforms_keep_their_precision(monkeypatch):
    monkeypatch.setattr(products, "platform", lambda: "tpu")
    monkeypatch.setattr(products, "gain", lambda: 10.0)
    with jax.default_matmul_precision(None):
        assert products.choose_products() == "auto"
        with products.use_products("float32"):
            assert products._precision() is None


def test_auto_leaves_jaxs_setting():
    for precision in (None, "bfloat16"):
        with jax.default_matmul_precision(precision), products.use_products("auto"):
            assert products._precision() == precision


@pytest.mark.parametrize(("slow", "least", "most"), [(True, 0, 0.5), (False, 2, np.inf)])
def test_the_gain_is_that_of_products_of_rounded_factors(monkeypatch, slow, least, most):
    """One of the two kinds is made 200 products instead of one."""
    one = products.matmul

    def matmul(x, w):
        for _ in range(200 if products.rounds_factors() == slow else 1):
            x = one(x, w)
        return x

    monkeypatch.setattr(products, "PROBE", (64, 64, 64))
    monkeypatch.setattr(products, "_probe", jax.jit(matmul))
    assert least < products.gain.__wrapped__() < most
