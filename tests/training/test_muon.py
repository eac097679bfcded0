"""Muon turns each layer's matrix, whatever the axes of its heads and the mesh, on few devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers

from sora_jax import sharding
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P, auto_axes
from sora_jax.training.experiments import parse
from sora_jax.training.muon import orthogonalize
from sora_jax.training.optimizer import OptimizerConfig, apply_gradients, make_optimizer
from sora_jax.types import TrainState

RATE = 0.5
OPTIMIZER = OptimizerConfig(
    "muon", steps=4, warmup_steps=0, learning_rate=RATE, final_fraction=1.0, max_grad_norm=1e9
)
LEAVES = {  # shape and sharding of a few of the transformer's parameters, two layers deep
    ("blocks", "self_attention", "query", "kernel"): ((2, 16, 4, 4), P(None, *S.w_dnk)),
    ("blocks", "cross_attention", "out", "kernel"): ((2, 4, 4, 16), P(None, *S.w_nkd)),
    ("blocks", "up", "kernel"): ((2, 16, 24), P(None, *S.w_dm)),
    ("blocks", "up", "bias"): ((2, 24), P(None, None)),
    ("blocks", "down", "kernel"): ((2, 24, 16), P(None, *S.w_md)),
    ("patch_in", "kernel"): ((8, 16), S.w_pd),
}


def tree(make):
    """`make(shape, spec)` for each leaf, as a nested dict."""
    root = {}
    for (*names, last), leaf in LEAVES.items():
        folder = root
        for name in names:
            folder = folder.setdefault(name, {})
        folder[last] = make(*leaf)
    return root


def moved(sizes, rate=1.0):
    """By how much a first step with random gradients moves the weights."""
    rng = np.random.default_rng(0)
    with sharding.use_mesh(sharding.MeshConfig(*sizes)):

        def put(array, spec):
            return jax.device_put(
                np.float32(array), jax.NamedSharding(jax.sharding.get_mesh(), spec)
            )

        params = tree(lambda shape, spec: put(np.zeros(shape), spec))
        gradients = tree(lambda shape, spec: put(rng.normal(size=shape), spec))

        @jax.jit
        def first(params, gradients):
            opt_state = make_optimizer(OPTIMIZER).init(params)
            state = TrainState(jax.numpy.int32(0), params, params, opt_state, None, {})
            return apply_gradients(state, gradients, OPTIMIZER, {}, rate)[0].params

        after = first(params, gradients)
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(params), strict=True):
            assert a.sharding == b.sharding
        return jax.tree.map(np.asarray, after)


@pytest.fixture(scope="module")
def change():
    return moved((8, 1, 1, 1))


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("self_attention", "query"), (16, 16)),
        (("cross_attention", "out"), (16, 16)),
        (("up",), (16, 24)),
        (("down",), (24, 16)),
    ],
    ids=["query", "out", "up", "down"],
)
def test_the_step_of_a_layer_is_an_orthogonal_matrix_of_the_size_of_adams(change, names, shape):
    entry = change["blocks"]
    for name in names:
        entry = entry[name]
    for layer in entry["kernel"]:
        values = np.linalg.svd(layer.reshape(shape), compute_uv=False)
        # Newton-Schulz leaves singular values between about 0.7 and 1.2 (a random matrix: 0 to 2);
        # 0.2 sqrt(longer side) of them have the root mean square of an AdamW step.
        np.testing.assert_allclose(values / (RATE * 0.2 * max(shape) ** 0.5), 1, atol=0.4)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 24, 16), (1, 64, 256)])
def test_products_in_bfloat16_leave_singular_values_in_the_same_bounds(shape):
    stack = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    for dtype in (jnp.float32, jnp.bfloat16):
        turned = np.float32(jax.jit(orthogonalize, static_argnums=1)(stack, dtype))
        values = np.linalg.svd(turned, compute_uv=False)
        np.testing.assert_allclose(values, 1, atol=0.4)
        left, _, right = np.linalg.svd(stack, full_matrices=False)
        nearest = left @ right  # orthogonal matrix
        cosine = (turned * nearest).sum((1, 2)) / np.linalg.norm(turned, axis=(1, 2))
        assert (cosine / min(shape[1:]) ** 0.5 > 0.97).all()


def optax_muon():
    """The same optimizer by `optax.contrib`, which turns every matrix on every device."""

    def dimensions(path, array):
        names = [entry.key for entry in path]
        if "blocks" not in names or names[-1] != "kernel":
            return None
        split = 3 if "out" in names else 2
        return MuonDimensionNumbers(tuple(range(1, split)), tuple(range(split, array.ndim)))

    return optax.contrib.muon(
        optax.constant_schedule(RATE),
        adam_b2=0.99,
        muon_weight_dimension_numbers=lambda p: jax.tree.map_with_path(dimensions, p),
        consistent_rms=0.2,
    )


@pytest.mark.usefixtures("one_device")
def test_updates_and_state_are_those_of_optax():
    rng = np.random.default_rng(0)
    params = tree(lambda shape, spec: jnp.asarray(rng.normal(size=shape), jnp.float32))
    theirs = optax.chain(optax.clip_by_global_norm(1e9), optax_muon())
    updates, states = [], []
    for optimizer in (make_optimizer(OPTIMIZER), theirs):
        update = jax.jit(auto_axes(optimizer.update, out_sharding=P()))
        state, stream = optimizer.init(params), np.random.default_rng(1)
        for _ in range(3):
            gradients = tree(lambda shape, spec, s=stream: np.float32(s.normal(size=shape)))
            found, state = update(gradients, state, params)
        updates.append(found)
        states.append({jax.tree_util.keystr(k): a for k, a in jax.tree.leaves_with_path(state)})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *updates)
    ours, theirs = states
    assert ours.keys() == theirs.keys()  # checkpoints are read by these
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)


def flops(sizes, devices):
    """Floating-point operations of a device in an update of eight layers."""
    mesh = sharding.make_mesh(sharding.MeshConfig(*sizes), jax.devices()[:devices])
    with jax.set_mesh(mesh):

        def like(shape, spec):
            return sharding.abstract_array((8, *shape[1:]), np.float32, spec)

        params = tree(like)
        state = jax.eval_shape(make_optimizer(OPTIMIZER).init, params)
        state = TrainState(jnp.int32(0), params, params, state, None, {})
        run = jax.jit(lambda state, g: apply_gradients(state, g, OPTIMIZER, {})[0].params)
        return run.lower(state, params).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("sizes", [(8, 1, 1, 1), (4, 2, 1, 1)], ids=["data 8", "data 4, fsdp 2"])
def test_replicas_of_the_data_share_the_layers(sizes):
    assert flops(sizes, 8) < 0.25 * flops((1, 1, 1, 1), 1)


def test_what_is_no_matrix_of_a_block_moves_by_nadams_step(change):
    for array in (change["patch_in"]["kernel"], change["blocks"]["up"]["bias"]):
        # Nesterov's first step looks one ahead: b1 / (1 + b1) more than Adam's (Dozat 2016).
        np.testing.assert_allclose(np.abs(array), RATE * (1 + 0.9 / 1.9), rtol=1e-3)


def test_sharded_equals_one_kind_of_mesh(change):
    other = moved((1, 2, 2, 2))
    for (path, a), b in zip(jax.tree.leaves_with_path(change), jax.tree.leaves(other), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, atol=1e-4 * RATE, err_msg=name)


def test_the_rate_is_a_factor_of_the_step(change):
    for whole, part in zip(
        jax.tree.leaves(change), jax.tree.leaves(moved((8, 1, 1, 1), 0.25)), strict=True
    ):
        np.testing.assert_allclose(part, 0.25 * whole, rtol=1e-5, atol=1e-7)


def test_autoencoders_are_refused():
    with pytest.raises(ValueError, match="give an autoencoder 'adamw'"):
        parse({"experiment": "vae", "data": "x", "optimizer": {"name": "muon"}})
    with pytest.raises(ValueError, match="choose one of adamw, muon"):
        parse({"experiment": "diffusion", "data": "x", "optimizer": {"name": "moun"}})
