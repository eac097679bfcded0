"""What `jax.checkpoint` has to save so that attention's kernels do not run forward twice.

A kernel's backward pass reads its output and the softmax's log-sum, which only the kernel itself
computes: a policy that saves neither runs it again.
"""

from typing import Any

import jax

OUTPUT = "attention"
"""The `checkpoint_name` of both in splash and on CPUs, and of the reference's output."""
CUDNN_FORWARD = "dot_product_attention_fwd_wrapper"
"""JAX's primitive of cuDNN's forward pass, which gives both and names neither."""

_is_named = jax.checkpoint_policies.save_only_these_names(OUTPUT)


def save_attention(primitive: Any, *inputs: Any, **parameters: Any) -> Any:
    """A policy of `jax.checkpoint` that saves what attention computes forward, of any backend."""
    return primitive.name == CUDNN_FORWARD or _is_named(primitive, *inputs, **parameters)
