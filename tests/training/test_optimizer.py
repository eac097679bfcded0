"""Muon turns each layer's matrix, whatever the axes of its heads and the mesh."""

import jax
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.config import DiffusionExperiment, parse
from sora_jax.models.dit import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.training import step
from sora_jax.training.optimizer import OptimizerConfig, apply_gradients

RATE = 0.5
OPTIMIZER = OptimizerConfig("muon", steps=4, warmup=0, learning_rate=RATE, final=1.0, clip=1e9)
MODEL = DiTConfig(
    latent_channels=2,
    width=16,
    depth=2,
    heads=4,
    mlp=24,
    frequencies=8,
    text=TextEncoderConfig(vocabulary=8, width=8, depth=1, heads=2),
)
EXPERIMENT = DiffusionExperiment(data="", model=MODEL, optimizer=OPTIMIZER)


def moved(mesh):
    """By how much a first step with random gradients moves the weights."""
    with sharding.use_mesh(sharding.MeshConfig(*mesh)):

        @jax.jit
        def first():
            state = step.init_state(EXPERIMENT)
            leaves, tree = jax.tree.flatten(state.params)
            made = [
                jax.random.normal(jax.random.key(i), p.shape, out_sharding=jax.typeof(p).sharding)
                for i, p in enumerate(leaves)
            ]
            after, _ = apply_gradients(state, jax.tree.unflatten(tree, made), OPTIMIZER, {})
            return jax.tree.map(lambda a, b: a - b, after.params, state.params)

        return jax.tree.map(np.asarray, first())


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


def test_what_is_no_matrix_of_a_block_moves_by_nadams_step(change):
    for array in (change["patch_in"]["kernel"], change["blocks"]["up"]["bias"]):
        # Nesterov's first step looks one ahead: b1 / (1 + b1) more than Adam's (Dozat 2016).
        np.testing.assert_allclose(np.abs(array), RATE * (1 + 0.9 / 1.9), rtol=1e-3)


def test_sharded_equals_one_kind_of_mesh(change):
    other = moved((1, 2, 2, 2))
    for (path, a), b in zip(jax.tree.leaves_with_path(change), jax.tree.leaves(other), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, atol=1e-4 * RATE, err_msg=name)


def test_autoencoders_are_refused():
    with pytest.raises(ValueError, match="give an autoencoder 'adamw'"):
        parse({"experiment": "vae", "data": "x", "optimizer": {"name": "muon"}})
    with pytest.raises(ValueError, match="choose one of adamw, muon"):
        parse({"experiment": "diffusion", "data": "x", "optimizer": {"name": "moun"}})
