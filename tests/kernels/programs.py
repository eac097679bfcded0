"""Reads the programs that JAX traces."""

import jax


def operations(jaxpr):
    """All operations whose results are read, in loops and functions too."""
    for equation in jaxpr.eqns:
        if not equation.outvars:  # JAX keeps splash's calls, for their effects; XLA does not
            continue
        yield equation
        for inner in jax.tree.leaves(tuple(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from operations(inner)
