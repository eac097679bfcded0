"""Whether the GPU's packed attention is right, before a model is trained with it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.kernels import cudnn
from sora_jax.kernels.attention import attention
from sora_jax.kernels.reference import reference_attention
from sora_jax.training.experiments import DiffusionExperiment

TOLERANCE = 3e-2
"""Largest error in bfloat16, relative to the largest value."""


def packed_attention(experiment: DiffusionExperiment) -> dict[str, Any]:
    """Compares cuDNN's kernel with the reference, and does without it where it is wrong or fails.

    Returns:
      For the log: the kernel that training will use, and the error or the exception.
    """
    if jax.default_backend() != "gpu":
        return {"kernel": "reference"}
    try:
        error = max(_errors(experiment))
    except Exception as failure:  # whatever cuDNN raises, the reference still works
        error, reason = float("inf"), repr(failure)[:300]
    else:
        reason = f"error {error:.1e}"
    if not error <= TOLERANCE:
        cudnn.supports = lambda q, v: False
        return {"kernel": "reference", "cudnn": reason}
    return {"kernel": "cudnn", "cudnn": reason}


def _errors(experiment: DiffusionExperiment):
    """Relative errors of outputs and gradients, within rows and across to captions."""
    model, (length, words, segments) = experiment.model, experiment.packing.capacity
    heads, width = model.heads, model.width // model.heads
    rng = np.random.default_rng(0)
    shares = np.array([[0.4, 0.3, 0.1, 0.1, 0.05], [0.1, 0.1, 0.7, 0.02, 0.02]])

    def ids(total: int) -> jax.Array:
        rows = []
        for share in shares:
            counts = np.maximum((share * total).astype(int), 1)
            row = np.repeat(np.arange(1, len(share) + 1), counts)
            rows.append(np.pad(row, (0, total - len(row))))
        return jnp.asarray(np.stack(rows), jnp.int32)

    for total in (length, words):
        q_ids, kv_ids = ids(length), ids(total)
        q, k, v, w = (
            jnp.asarray(rng.normal(size=(2, n, heads, width)), jnp.bfloat16)
            for n in (length, total, total, length)
        )
        w = jnp.where((q_ids > 0)[..., None, None], w, 0)

        def ours(q, k, v, q_ids=q_ids, kv_ids=kv_ids):
            return attention(q, k, v, q_ids, kv_ids, max_segments=segments)

        def truth(q, k, v, q_ids=q_ids, kv_ids=kv_ids):
            return reference_attention(q * width**-0.5, k, v, q_ids, kv_ids)

        def pulled(attend, *x, w=w):
            out, pull = jax.vjp(attend, *x)
            return out, *pull(w.astype(out.dtype))

        found = jax.jit(lambda *x, f=ours: pulled(f, *x))(q, k, v)
        wanted = jax.jit(lambda *x, f=truth: pulled(f, *x))(
            *(x.astype(jnp.float32) for x in (q, k, v))
        )
        lives = (q_ids > 0, q_ids > 0, kv_ids > 0, kv_ids > 0)
        for a, b, live in zip(found, wanted, lives, strict=True):
            difference = jnp.where(live[..., None, None], jnp.abs(a.astype(jnp.float32) - b), 0)
            yield float(difference.max() / jnp.abs(b).max())
