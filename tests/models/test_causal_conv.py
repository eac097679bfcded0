"""Three ways to compute a causal convolution, and attention line by line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax.models import vae_blocks
from sora_jax.models.causal_conv import CausalCache, conv3d, conv3d_as_2d, conv3d_as_2d_large
from sora_jax.models.vae_blocks import FrameAttention


@pytest.mark.parametrize(
    ("size", "stride"),
    [((3, 3, 3), 1), ((3, 1, 1), 2), ((1, 1, 1), 1), ((1, 3, 3), 1), ((3, 1, 1), 1)],
)
def test_all_ways_agree_in_values_and_gradients(size, stride):
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 8, 5))
    kernel = jax.random.normal(jax.random.key(1), (*size, 5, 4))

    def slopes(conv):
        return jax.jit(
            jax.value_and_grad(lambda x, k: jnp.sum(jnp.sin(conv(x, k, stride))), (0, 1))
        )(x, kernel)

    wanted = slopes(conv3d)
    for conv in (conv3d_as_2d, conv3d_as_2d_large):
        for found, right in zip(*map(jax.tree.leaves, (slopes(conv), wanted)), strict=True):
            np.testing.assert_allclose(found, right, atol=1e-5 * np.abs(right).max() + 1e-4)


def test_a_convolution_against_its_definition():
    """y_i = sum_j w_j x_(i - 2 + j), every number by itself."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 4, 3, 3, 2)), rng.normal(size=(3, 3, 3, 2, 1))
    padded = np.pad(x, ((0, 0), (2, 0), (1, 1), (1, 1), (0, 0)))
    wanted = np.zeros((1, 4, 3, 3, 1))
    for i, j, k in np.ndindex(4, 3, 3):
        wanted[0, i, j, k] = np.einsum(
            "tyxc,tyxco->o", padded[0, i : i + 3, j : j + 3, k : k + 3], w
        )
    seen = jnp.float32(np.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0), (0, 0))))
    for conv in (conv3d, conv3d_as_2d, conv3d_as_2d_large):
        np.testing.assert_allclose(conv(seen, jnp.float32(w), 1), wanted, atol=1e-5)


def test_attention_line_by_line_is_that_of_the_whole_frame(one_device, monkeypatch):
    attention = FrameAttention(4, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 4))
    whole = attention(x, CausalCache())
    monkeypatch.setattr(vae_blocks, "MAX_POSITIONS_AT_ONCE", 0)
    np.testing.assert_allclose(attention(x, CausalCache()), whole, atol=1e-6)
    assert np.abs(whole - x).max() > 1e-2
