"""T5's encoder: padding, buckets of distances, devices, precision, where training starts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.models import t5
from sora_jax.models.t5 import PRESETS, T5Config, relative_buckets

UMT5 = T5Config(40, 16, 2, 4, 6, 24, buckets=8, max_distance=12)
T5 = dataclasses.replace(UMT5, shared_bias=True, gated=False)
LENGTHS = (9, 1, 4, 7, 2, 3, 8, 5)
pytestmark = pytest.mark.usefixtures("one_device")
encode = jax.jit(t5.encode, static_argnums=0)


def captions():
    rng = np.random.default_rng(0)
    mask = np.arange(max(LENGTHS))[None] < np.asarray(LENGTHS)[:, None]
    return np.where(mask, rng.integers(1, 40, mask.shape), 0).astype(np.int32), mask


def params_of(config):
    """Weights that are on no mesh, none of them zero or one."""
    rng = np.random.default_rng(0)

    def random(a):
        return (0.5 * rng.normal(size=a.shape) + (a.ndim == 1)).astype(np.float32)

    return jax.tree.map(random, t5.shapes(config))


@pytest.mark.parametrize("config", [T5, UMT5])
def test_padding_changes_nothing(config):
    tokens, mask = captions()
    params = params_of(config)
    together = encode(config, params, tokens, mask)
    other = encode(config, params, np.where(mask, tokens, 17), mask.astype(np.int32))
    for row, n in enumerate(LENGTHS):
        alone = encode(config, params, tokens[row : row + 1, :n], mask[row : row + 1, :n])
        for found in (together, other):
            np.testing.assert_allclose(found[row, :n], alone[0], atol=1e-5)


@pytest.mark.parametrize("config", [T5, UMT5])
def test_every_parameter_counts(config):
    """But rows of tokens that are not there, and the bucket of a distance of 0 after the query."""
    tokens, mask = map(jnp.asarray, captions())

    def loss(params):
        return jnp.sum(t5.encode(config, params, tokens, mask | True) ** 3)

    grads = jax.jit(jax.grad(loss))(params_of(config))
    for path, grad in jax.tree.leaves_with_path(grads):
        grad = np.asarray(grad)
        if "relative" in jax.tree_util.keystr(path):
            grad = np.delete(grad, config.buckets // 2, -2)
        rows = np.unique(tokens) if path[0].key == "table" else slice(None)
        assert np.all(np.any(grad[rows] != 0, -1)), jax.tree_util.keystr(path)


@pytest.mark.parametrize("config", [T5, UMT5])
def test_devices_do_not_change_states(config):
    tokens, mask = captions()
    params = params_of(config)
    alone = np.asarray(encode(config, params, tokens, mask))
    with sharding.use_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2)):
        like = jax.eval_shape(lambda: t5.init_params(jax.random.key(0), config))
        spread = jax.tree.map(lambda a, b: jax.device_put(a, b.sharding.spec), params, like)
        found = encode(config, spread, tokens, mask)
        assert jax.typeof(found).sharding.spec == sharding.SHARDING.act_bsd
        kernel = spread["blocks"]["query"]["kernel"]
        assert jax.typeof(kernel).sharding.spec == sharding.P(None, *sharding.SHARDING.w_dnk)
    np.testing.assert_allclose(found, alone, atol=1e-5 * np.abs(alone).max())


def test_activations_in_bfloat16_stay_close():
    tokens, mask = captions()
    params = params_of(UMT5)
    whole = np.asarray(encode(UMT5, params, tokens, mask))
    half = encode(dataclasses.replace(UMT5, dtype="bfloat16"), params, tokens, mask)
    assert half.dtype == jnp.bfloat16
    assert np.sqrt(np.mean((np.float32(half) - whole)[mask] ** 2)) < 0.05 * np.std(whole[mask])


def test_scores_are_about_one_when_training_starts():
    config = T5Config(40, 64, 1, 2, 32, 64)
    params = jax.tree.map(lambda a: a[0], t5.init_params(jax.random.key(0), config)["blocks"])
    x = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    q, k = (jnp.einsum("td,dnk->tnk", x, params[name]["kernel"]) for name in ("query", "key"))
    assert 0.6 < jnp.std(jnp.einsum("qnk,vnk->nqv", q, k)) < 1.4


def test_buckets_of_distances():
    found = relative_buckets(200, 32, 128)
    np.testing.assert_array_equal(found[:, 0][:8], range(8))  # keys before the query
    np.testing.assert_array_equal(found[0][1:8], range(17, 24))  # and after it
    for distance, bucket in ((8, 8), (11, 8), (12, 9), (16, 10), (32, 12), (64, 14), (127, 15)):
        assert (found[distance, 0], found[0, distance]) == (bucket, bucket + 16), distance
    assert set(found[128:, 0]) == {15} and set(found[0, 128:]) == {31}
    np.testing.assert_array_equal(found[1:, 1:], found[:-1, :-1])  # distance alone counts


def test_presets_have_the_sizes_of_their_names():
    numbers = [
        sum(np.prod(a.shape) for a in jax.tree.leaves(t5.shapes(PRESETS[name]))) / 1e9
        for name in ("umt5_xxl", "t5_v1_1_xxl")
    ]
    np.testing.assert_allclose(numbers, [5.68, 4.76], atol=0.005)
