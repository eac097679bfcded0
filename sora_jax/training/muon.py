"""Muon: momentum whose matrices are orthogonalised, whose layers the replicas of the data share.

For a matrix of `inputs` x `outputs`, with gradient G_t at step t = 1, 2, ... and momentum M_0 = 0:

    M_t = beta M_(t-1) + (1 - beta) G_t
    N_t = beta M_t / (1 - beta^(t+1)) + (1 - beta) G_t / (1 - beta^t)      (Nesterov; Dozat 2016)
    update = 0.2 sqrt(max(inputs, outputs)) O_t                    (arXiv:2502.16982, equation 4)

O_t has the singular vectors of N_t and singular values near 1. It is X after five iterations of

    X <- a X + (b A + c A^2) X,   A = X X',   (a, b, c) = (3.4445, -4.7750, 2.0315)

from X = N_t / |N_t|: singular values s go through a s + b s^3 + c s^5, which brings all but the
smallest to between about 0.7 and 1.2 (https://kellerjordan.github.io/posts/muon/).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonState

from sora_jax.sharding import P, axis_size, platform

MOMENTUM = 0.95
"""beta of the equations."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
RMS = 0.2
"""Root mean square of an update, about that of AdamW's."""
EPS = 1e-8


def is_matrix(path: Any) -> bool:
    """Whether the parameter at a path of keys is a stack of matrices, a kernel of the blocks."""
    names = [entry.key for entry in path]
    return "blocks" in names and names[-1] == "kernel"


def muon_updates() -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Two links of an optax chain, which make the update above of stacks of matrices.

    Their states are those of the first links of `optax.contrib.muon`, so checkpoints of either are
    read. Their `update` is called where the compiler spreads arrays; see `sharding.auto_axes`.
    """
    orthogonal = optax.stateless(
        lambda updates, params: jax.tree.map_with_path(_orthogonalize_kernel, updates)
    )
    return optax.GradientTransformation(_init_momentum, _update_momentum), orthogonal


def _init_momentum(params: Any) -> MuonState:
    momentum: Any = optax.tree.zeros_like(params)
    return MuonState(jnp.zeros([], jnp.int32), momentum, jnp.asarray(COEFFICIENTS))


def _update_momentum(updates: Any, state: Any, params: Any = None) -> tuple[Any, MuonState]:
    """N_t from the gradients `updates`, and the state with M_t."""
    step = optax.safe_increment(state.count)
    momentum: Any = optax.tree.update_moment(updates, state.mu, MOMENTUM, 1)
    ahead = optax.tree.bias_correction(momentum, MOMENTUM, optax.safe_increment(step))
    now = optax.tree.bias_correction(updates, MOMENTUM, step)
    nesterov = jax.tree.map(lambda m, g: MOMENTUM * m + (1 - MOMENTUM) * g, ahead, now)
    return nesterov, MuonState(step, momentum, state.ns_coeffs)


def _orthogonalize_kernel(path: Any, kernel: Array) -> Array:
    """The update of a kernel [layers, inputs, outputs].

    Heads and their width are two axes on one side: outputs of queries, keys and values, inputs of
    `out`.
    """
    split = kernel.ndim - 1 if path[-2].key == "out" else 2
    inputs, outputs = math.prod(kernel.shape[1:split]), math.prod(kernel.shape[split:])
    stack = jnp.reshape(kernel, (-1, inputs, outputs))
    update = RMS * max(inputs, outputs) ** 0.5 * _orthogonalize_by_shares(stack)
    return jnp.reshape(update, kernel.shape)


def _orthogonalize_by_shares(stack: Float[Array, "layers i o"]) -> Float[Array, "layers i o"]:
    """Orthogonalises each layer's matrix; the replicas of `data` share the layers.

    Matrices of zeros fill the last shares. Within one, the compiler spreads each matrix as before.
    """
    dtype = jnp.float32 if platform() == "cpu" else jnp.bfloat16
    layers, shares = len(stack), axis_size("data")
    if shares == 1:
        return orthogonalize(stack, dtype).astype(stack.dtype)
    matrix = P.UNCONSTRAINED, P.UNCONSTRAINED
    stack = jnp.pad(stack, ((0, -layers % shares), (0, 0), (0, 0)))
    share = jax.lax.with_sharding_constraint(stack, P("data", *matrix))
    whole = jax.lax.with_sharding_constraint(orthogonalize(share, dtype), P(None, *matrix))
    return whole[:layers].astype(stack.dtype)


def orthogonalize(stack: Float[Array, "layers i o"], dtype: Any) -> Float[Array, "layers i o"]:
    """O of the module's docstring for each matrix of a stack, with products in `dtype`."""
    if tall := stack.shape[1] > stack.shape[2]:
        stack = jnp.swapaxes(stack, 1, 2)  # so that A is the smaller of the two products
    norm = jnp.sqrt(jnp.sum(stack**2, (1, 2), keepdims=True))
    x, (a, b, c) = (stack / (norm + EPS)).astype(dtype), COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = jnp.einsum("lio,ljo->lij", x, x)
        x = a * x + jnp.matmul(b * gram + c * jnp.matmul(gram, gram), x)
    return jnp.swapaxes(x, 1, 2) if tall else x
