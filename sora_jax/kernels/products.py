"""Matrix products whose factors are rounded to bfloat16, for CPUs that multiply those faster.

    y = round(x) round(w)     and its gradients likewise, with sums in float32

Intel's AMX does so at 3 to 4 times the speed of float32; TPUs do by default. JAX's setting for it
is `jax.default_matmul_precision("bfloat16")` (environment: `JAX_DEFAULT_MATMUL_PRECISION`). XLA's
CPU compiler ignores it; linear layers and attention honour it by this module, on one device.

The compiler has fast kernels for bfloat16 factors where the result is float32 and the first factor
is summed along the axis that is last in memory.
"""

import contextlib
import functools
import math
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float

from sora_jax.sharding import platform

WORTH = 1.5
"""Times as fast as float32's, at least, before `choose_products` rounds factors."""
PROBE = (2048, 512, 512)
"""Rows, inputs and outputs of the product that is timed."""
ROUNDS = 30
"""How often each of both is timed."""


def choose_products() -> str:
    """What `loop.products` is where a run begins with `auto` on the current mesh.

    On one CPU `float32` or `bfloat16`, as JAX's setting says or else as is measured to be faster;
    elsewhere `auto`.
    """
    if not _on_one_cpu():
        return "auto"
    if (chosen := _precision()) is not None:
        return "bfloat16" if chosen == "bfloat16" else "float32"
    if (speedup := gain()) < WORTH:
        return "float32"
    print(
        f"config.loop.products is bfloat16, {speedup:.1f} times as fast as float32 here", flush=True
    )
    return "bfloat16"


@contextlib.contextmanager
def use_products(factors: str) -> Iterator[None]:
    """Within it products on a CPU are of these factors.

    With `auto`, and on other platforms, JAX's setting stays.
    """
    decides = platform() == "cpu" and factors != "auto"
    with jax.default_matmul_precision(factors if decides else _precision()):
        yield


def rounds_factors() -> bool:
    """Whether products are to round their factors."""
    return _precision() == "bfloat16" and _on_one_cpu()


def _precision() -> str | None:
    return getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009 (not in JAX's stubs)


def _on_one_cpu() -> bool:
    return platform() == "cpu" and jax.sharding.get_abstract_mesh().size <= 1


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
    return einsum("mk,kn->mn", x, w).astype(x.dtype)


def _forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _rounded_matmul(x, w), (x, w)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, w = saved
    turned = x.astype(jnp.bfloat16).T
    turned = with_layout_constraint(turned, Layout(major_to_minor=(0, 1)))  # in memory, too
    by_x = einsum("mn,kn->mk", gradient, w).astype(x.dtype)
    return by_x, einsum("km,mn->kn", turned, gradient).astype(w.dtype)


_rounded_matmul.defvjp(_forward, _backward)


@functools.cache
def gain() -> float:
    """Speed of products of rounded factors over that of float32's, on this processor.

    The fastest of `ROUNDS` in turn, so that what else the processor does decides nothing.
    """
    rows, inputs, outputs = PROBE
    factors = jnp.ones((rows, inputs)), jnp.ones((inputs, outputs))
    seconds = {"bfloat16": math.inf, "float32": math.inf}
    for _ in range(ROUNDS):
        for precision in seconds:
            with jax.default_matmul_precision(precision):
                start = time.perf_counter()
                jax.block_until_ready(_probe(*factors))
                seconds[precision] = min(seconds[precision], time.perf_counter() - start)
    return seconds["float32"] / seconds["bfloat16"]


@jax.jit
def _probe(x: Array, w: Array) -> Array:
    return matmul(x, w)
