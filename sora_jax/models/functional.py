"""An NNX module as pure functions of a plain nested dict of parameters.

    network = Network(DiT)
    params = network.init_params(key, config)        # random, sharded where the module says so
    y = network.bind(config, params)(x, batch)       # differentiable in params

NNX is used for construction only: the module is split once for each config, and what is left
beside the parameters (its graph) is cached.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import jax
from flax import nnx
from jaxtyping import Array

from sora_jax.sharding import any_mesh
from sora_jax.types import Params

Config = TypeVar("Config", bound=Hashable)
Module = TypeVar("Module", bound=nnx.Module)


@dataclasses.dataclass(frozen=True)
class Network(Generic[Config, Module]):
    """A kind of network.

    Attributes:
      build: constructs the module from a config and the random numbers of its parameters. All of
        the module's variables must be `nnx.Param`.
    """

    build: Callable[[Config, nnx.Rngs], Module]

    def init_params(self, key: Array, config: Config) -> Params:
        """Random parameters on the current mesh, in the shardings that the module gives them."""
        return nnx.to_pure_dict(nnx.split(self.build(config, nnx.Rngs(key)), nnx.Param)[1])

    def shapes(self, config: Config) -> Params:
        """The parameters' tree of `jax.ShapeDtypeStruct`; needs no mesh and no memory."""
        with any_mesh():
            return jax.eval_shape(lambda: self.init_params(jax.random.key(0), config))

    def bind(self, config: Config, params: Params) -> Module:
        """The module with these parameters: call it, or its methods, under jit or grad."""
        return nnx.merge(_graph(self.build, config), params)


@functools.cache
def _graph(build: Callable[[Any, nnx.Rngs], nnx.Module], config: Hashable) -> Any:
    """The module's structure without parameters (an `nnx.GraphDef`)."""
    with any_mesh():
        return nnx.split(nnx.eval_shape(lambda: build(config, nnx.Rngs(0))), nnx.Param)[0]
