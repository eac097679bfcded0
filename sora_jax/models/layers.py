"""Layers shared by the transformers: linear maps with named shardings, norms, embeddings.

Weights are stored in float32 and cast to the dtype of their input; norms compute in float32.
"""

import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sora_jax.kernels.products import matmul
from sora_jax.sharding import P


class Linear(nnx.Module):
    """`y = x W + b`, contracting the last `len(inputs)` axes of x into `outputs`.

    W starts from a normal of standard deviation fan_in^-1/2 truncated at two deviations, or at zero
    (`zeros`); the bias, if any, starts at zero and is replicated. `weight` and `out` are the
    shardings of W and of y.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        weight: P,
        out: P,
        rngs: nnx.Rngs,
        zeros: bool = False,
        bias: bool = True,
    ):
        shape, scale = (*inputs, *outputs), 0.0 if zeros else math.prod(inputs) ** -0.5
        init = jax.nn.initializers.truncated_normal(scale)
        if zeros:
            init = jax.nn.initializers.zeros
        self.kernel = nnx.Param(init(rngs.params(), shape, jnp.float32, out_sharding=weight))
        replicated = P(*[None] * len(outputs))
        self.bias = (
            nnx.Param(jnp.zeros(outputs, jnp.float32, out_sharding=replicated)) if bias else None
        )
        self.contract, self.out = len(inputs), out

    def __call__(self, x: Array) -> Array:
        kernel = self.kernel[...].astype(x.dtype)
        lead = x.ndim - self.contract
        if jax.sharding.get_abstract_mesh().size > 1:
            axes = tuple(range(lead, x.ndim)), tuple(range(self.contract))
            y = jax.lax.dot_general(x, kernel, (axes, ((), ())), out_sharding=self.out)
        else:  # on one device, as one matrix: faster on CPUs, its gradients too
            width = math.prod(x.shape[lead:])
            flat = jnp.reshape(x, (-1, width), out_sharding=P(None, None))
            matrix = jnp.reshape(kernel, (width, -1), out_sharding=P(None, None))
            y = jnp.reshape(
                matmul(flat, matrix),
                (*x.shape[:lead], *kernel.shape[self.contract :]),
                out_sharding=self.out,
            )
        if self.bias is None:
            return y
        bias = self.bias[...].astype(x.dtype)
        return y + jnp.expand_dims(bias, tuple(range(y.ndim - bias.ndim)))


class RMSNorm(nnx.Module):
    """`x / sqrt(mean(x^2) + eps) * scale` over the last `len(shape)` axes (arXiv:1910.07467)."""

    def __init__(self, shape: tuple[int, ...], sharding: P):
        self.scale = nnx.Param(jnp.ones(shape, jnp.float32, out_sharding=sharding))

    def __call__(self, x: Array, eps: float = 1e-6) -> Array:
        scale = self.scale[...]
        axes = tuple(range(-scale.ndim, 0))
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axes, keepdims=True) + eps)
        return (y * jnp.expand_dims(scale, tuple(range(x.ndim - scale.ndim)))).astype(x.dtype)


def stack(block: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """Builds `depth` blocks as one module whose parameters have a leading axis of that length."""
    graph, _ = nnx.split(nnx.eval_shape(lambda: block(nnx.Rngs(0))))
    keys = jax.random.split(rngs.params(), depth)
    return nnx.merge(graph, jax.vmap(lambda key: nnx.split(block(nnx.Rngs(key)))[1])(keys))


def apply_blocks(
    blocks: nnx.Module,
    x: Array,
    *args,
    policy: Callable | None = None,
    unroll: bool = False,
) -> Array:
    """Applies `x = block(x, *args)` for each of the stacked blocks.

    Args:
      policy: a checkpoint policy, for what the backward pass keeps; None keeps everything.
      unroll: see `DiTConfig.unroll`.
    """
    graph, params = nnx.split(blocks)

    def body(x, params):
        return nnx.merge(graph, params)(x, *args), None

    if policy:
        # A loop's body is compiled once: nothing outside of it is there to be merged with.
        body = jax.checkpoint(body, policy=policy, prevent_cse=unroll)
    if not unroll:
        return jax.lax.scan(body, x, params)[0]
    for i in range(jax.tree.leaves(params)[0].shape[0]):
        x, _ = body(x, jax.tree.map(operator.itemgetter(i), params))
    return x


def layer_norm(x: Float[Array, "b l d"], eps: float = 1e-6) -> Float[Array, "b l d"]:
    """Layer norm over the width without parameters, in float32."""
    x = x.astype(jnp.float32)
    x = x - jnp.mean(x, -1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps)


class LayerNorm(nnx.Module):
    """Layer norm over the width with gain and bias (arXiv:1607.06450)."""

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones((width,), jnp.float32, out_sharding=P(None)))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32, out_sharding=P(None)))

    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        scale, bias = (p[...][None, None] for p in (self.scale, self.bias))
        return (layer_norm(x) * scale + bias).astype(x.dtype)


def sinusoid(
    x: Float[Array, "*shape"], width: int, period: float = 1e4
) -> Float[Array, "*shape {width}"]:
    """`[cos(x f_i), sin(x f_i)]` with `f_i = period^(-2i / width)` (arXiv:1706.03762, 3.5)."""
    frequencies = period ** (-jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))
    angles = x[..., None] * jnp.expand_dims(frequencies, tuple(range(x.ndim)))
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
