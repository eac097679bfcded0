"""A network as functions of its parameters: the same numbers as the module, without a mesh too."""

import jax
import numpy as np
from flax import nnx

from sora_jax import sharding
from sora_jax.models.discriminator import Discriminator, DiscriminatorConfig
from sora_jax.models.functional import Network

CONFIG = DiscriminatorConfig(width=4, depth=2)
NETWORK = Network(Discriminator)


def test_parameters_and_numbers_are_those_of_the_module():
    videos = jax.random.normal(jax.random.key(1), (1, 2, 16, 16, 3))
    with sharding.use_mesh(sharding.MeshConfig()):
        params = NETWORK.init_params(jax.random.key(0), CONFIG)
        module = Discriminator(CONFIG, nnx.Rngs(jax.random.key(0)))
        np.testing.assert_array_equal(NETWORK.bind(CONFIG, params)(videos), module(videos))
        double = jax.tree.map(lambda a: 2 * a, params)
        assert np.abs(NETWORK.bind(CONFIG, double)(videos) - module(videos)).max() > 1e-3


def test_shapes_need_no_mesh_and_are_those_of_the_parameters():
    shapes = NETWORK.shapes(CONFIG)
    with sharding.use_mesh():
        params = NETWORK.init_params(jax.random.key(0), CONFIG)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), params) == jax.tree.map(
        lambda a: (a.shape, a.dtype), shapes
    )
