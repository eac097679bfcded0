"""How often attention's kernels run forward in a gradient, by what `remat` saves."""

import jax
import jax.numpy as jnp
import pytest
from jax._src.cudnn import fused_attention_stablehlo as fused

from sora_jax.kernels import attention as entry
from sora_jax.kernels import cudnn
from sora_jax.models.dit_config import REMAT
from tests.kernels.programs import operations

pytestmark = pytest.mark.usefixtures("one_device")

FORWARD = {
    "tpu": "splash_mha_fwd_segmented_residuals",
    "gpu": "dot_product_attention_fwd_wrapper",
    "cpu": "max",  # of the scores so far
}
"""The operation of each backend that is counted."""


@pytest.fixture(params=FORWARD)
def platform(request, monkeypatch):
    monkeypatch.setattr(entry, "platform", lambda: request.param)
    monkeypatch.setattr(cudnn, "_compute_capability", lambda: (9, 0))
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(fused, "check_compute_capability", lambda wanted: True)
    monkeypatch.setattr(fused, "is_cuda_compute_capability_equal", lambda wanted: False)
    return request.param


def count(jaxpr, name):
    """Operations of that name whose results are read, in loops and functions too."""
    return sum(
        name in (equation.primitive.name, str(equation.params.get("name")))
        for equation in operations(jaxpr)
    )


@pytest.mark.parametrize("remat", REMAT)
def test_kernels_run_forward_twice_only_where_all_is_recomputed(platform, remat):
    x = jnp.ones((1, 1024, 2, 64), jnp.bfloat16)
    segments = jnp.repeat(jnp.array([[1, 2]]), 512, 1)

    def block(x, weight):
        out = entry.attention(x, x, x, segments, segments, max_segments=2)
        return jnp.tanh(out * weight)

    block = jax.checkpoint(block, policy=REMAT[remat]) if REMAT[remat] else block
    total = lambda x, weight: jnp.sum(block(x, weight).astype(jnp.float32))  # noqa: E731
    jaxpr = jax.make_jaxpr(jax.grad(total, (0, 1)))(x, jnp.bfloat16(2)).jaxpr
    assert count(jaxpr, FORWARD[platform]) == (2 if remat == "full" else 1)
