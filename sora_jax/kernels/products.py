"""Matrix products whose factors are rounded to bfloat16, for CPUs that multiply those faster.

    y = round(x) round(w)     and its gradients likewise; sums and y are float32

Intel's AMX does so at 3 to 4 times the speed of float32; TPUs always do. JAX's setting for it is
`jax.default_matmul_precision("bfloat16")` (environment: `JAX_DEFAULT_MATMUL_PRECISION`), which
XLA's CPU compiler takes note of nowhere: here it is. `use_fastest_products` measures.

The compiler has fast kernels for bfloat16 factors where the result is float32 and the first factor
is summed along the axis that is last in memory.
"""

import contextlib
import functools
import time

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float

from sora_jax.sharding import platform

WORTH = 1.5
"""Times as fast as float32's, at least, before `use_fastest_products` rounds factors."""
PROBE = (2048, 512, 512)
"""Rows, inputs and outputs of the product that is timed."""


def rounds_factors() -> bool:
    """Whether products are to round their factors: asked for, and on a CPU."""
    return _chosen_precision() == "bfloat16" and platform() == "cpu"


def _chosen_precision() -> str | None:
    return getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009 (not in JAX's stubs)


def einsum(subscripts: str, x: Array, y: Array) -> Array:
    """`jnp.einsum` with a float32 result, of rounded factors where `rounds_factors`."""
    if rounds_factors():
        x, y = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
    return jnp.einsum(subscripts, x, y, preferred_element_type=jnp.float32)


def matmul(x: Float[Array, "m k"], w: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """`x @ w` in the dtype of x, of rounded factors where `rounds_factors`."""
    return _rounded_matmul(x, w) if rounds_factors() else x @ w


@jax.custom_vjp
def _rounded_matmul(x: Array, w: Array) -> Array:
    return _forward(x, w)[0]


def _forward(x: Array, w: Array):
    low = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    # Empty arrays carry the dtypes of what gradients are of.
    return einsum("mk,kn->mn", *low).astype(x.dtype), (*low, x[:0], w[:0])


def _backward(saved: tuple[Array, ...], gradient: Array):
    x, w, like_x, like_w = saved
    gradient = gradient.astype(jnp.bfloat16)
    turned = with_layout_constraint(x.T, Layout(major_to_minor=(0, 1)))  # transposed in memory
    by_x = einsum("mn,kn->mk", gradient, w).astype(like_x.dtype)
    return by_x, einsum("km,mn->kn", turned, gradient).astype(like_w.dtype)


_rounded_matmul.defvjp(_forward, _backward)


@contextlib.contextmanager
def use_fastest_products():
    """Within it products are of rounded factors if this processor is faster at them, measured.

    Anything but a mesh of one CPU, and a precision that is already chosen, stay as they are.
    """
    several = jax.sharding.get_abstract_mesh().size > 1
    if _chosen_precision() is not None or platform() != "cpu" or several:
        yield
    elif (times := gain()) < WORTH:
        yield
    else:
        print(
            f"Products are of bfloat16 factors, {times:.1f} times as fast as float32's here; "
            "JAX_DEFAULT_MATMUL_PRECISION=float32 keeps those",
            flush=True,
        )
        with jax.default_matmul_precision("bfloat16"):
            yield


@functools.cache
def gain() -> float:
    """Speed of products of rounded factors over that of float32's, on this processor."""
    rows, inputs, outputs = PROBE
    factors = jnp.ones((rows, inputs)), jnp.ones((inputs, outputs))
    seconds = {}
    for precision in ("bfloat16", "float32") * 3:
        with jax.default_matmul_precision(precision):
            run = jax.jit(matmul)
            jax.block_until_ready(run(*factors))
            start = time.perf_counter()
            for _ in range(4):
                jax.block_until_ready(run(*factors))
            taken = time.perf_counter() - start
        seconds[precision] = min(taken, seconds.get(precision, taken))
    return seconds["float32"] / seconds["bfloat16"]
