"""The encoder of T5 (arXiv:1910.10683) and UMT5 (arXiv:2304.09151): caption tokens to states.

    x = x + W_o softmax(q k^T + r) v,    q, k, v = W norm(x)
    x = x + W_down (gelu(W_gate norm(x)) * W_up norm(x))     gated (arXiv:2002.05202)
    x = x + W_down relu(W_up norm(x))                        the first T5

r is a learned bias for each head and bucket of distances from query to key; T5 has one table of
biases, UMT5 one in each block. Norms are RMS norms, linear maps have no bias, and scores are not
divided by the root of the head width.

A row holds one caption, padded. The kernels of `kernels.attention` are not used: they cannot add r,
which is dense, and rows are short (512 tokens in Wan).
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from sora_jax.models.functional import Network
from sora_jax.models.layers import Linear, RMSNorm, apply_blocks, stack
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P
from sora_jax.types import Params


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes of the encoder.

    Attributes:
      vocabulary: number of token ids.
      head_width: width of queries, keys and values; heads x head_width may differ from the width.
      buckets: number of buckets of distances, half of them for keys after the query.
      max_distance: approximate distance, in tokens, at which the last bucket of each half begins.
      shared_bias: one table of r for all blocks (T5); False is one in each block (UMT5).
      gated: the gated MLP (T5 1.1, UMT5); False is the first T5's.
      eps: added to the mean square in norms.
      dtype: dtype of activations; weights, norms and softmax are float32.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    head_width: int
    mlp_dim: int
    buckets: int = 32
    max_distance: int = 128
    shared_bias: bool = False
    gated: bool = True
    eps: float = 1e-6
    dtype: str = "float32"


PRESETS = {
    "umt5_xxl": T5Config(256_384, 4096, 24, 64, 64, 10_240),
    "t5_v1_1_xxl": T5Config(32_128, 4096, 24, 64, 64, 10_240, shared_bias=True),
}
"""`umt5_xxl` is the text encoder of Wan 2.1."""


def relative_buckets(length: int, buckets: int, max_distance: int) -> Int[np.ndarray, "q v"]:
    """The bucket of the distance from each query to each key (arXiv:1910.10683, section 2.1).

    Half of the buckets are for keys after the query. Of each half, the first buckets hold one
    distance each, the others ranges that grow by a constant factor; the last is open. Computed by
    numpy in float32, so that bounds are rounded as in the reference, on every device.
    """
    half, exact = buckets // 2, buckets // 4
    offset = np.arange(length, dtype=np.int32)[None] - np.arange(length, dtype=np.int32)[:, None]
    distance = np.abs(offset)
    growth = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    growth = growth / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum(exact + growth.astype(np.int32), half - 1)
    return np.where(distance < exact, distance, far) + half * (offset > 0)


class RelativeBias(nnx.Module):
    """The bias r: a table with one number for each bucket and head."""

    def __init__(self, config: T5Config, rngs: nnx.Rngs):
        init = jax.nn.initializers.normal(config.width**-0.5)
        shape = (config.buckets, config.heads)
        table = init(rngs.params(), shape, jnp.float32, out_sharding=P(None, "tensor"))
        self.table = nnx.Param(table)

    def __call__(self, buckets: Int[Array, "q v"]) -> Float[Array, "n q v"]:
        bias = self.table[...].at[buckets].get(out_sharding=P(None, None, "tensor"))
        return bias.transpose(2, 0, 1)


class T5Block(nnx.Module):
    """Attention and MLP; see the module's docstring."""

    def __init__(self, config: T5Config, rngs: nnx.Rngs):
        d, n, k, m = config.width, config.heads, config.head_width, config.mlp_dim
        linear = functools.partial(Linear, rngs=rngs, bias=False)
        self.norm1, self.norm2 = RMSNorm((d,), P(None)), RMSNorm((d,), P(None))
        self.query = linear((d,), (n, k), S.w_dnk, S.act_bsnk)
        self.query.kernel.set_value(self.query.kernel[...] * k**-0.5)  # as scores are not scaled
        self.key = linear((d,), (n, k), S.w_dnk, S.act_bsnk)
        self.value = linear((d,), (n, k), S.w_dnk, S.act_bsnk)
        self.out = linear((n, k), (d,), S.w_nkd, S.act_bsd)
        self.relative = None if config.shared_bias else RelativeBias(config, rngs)
        self.gate = linear((d,), (m,), S.w_dm, S.act_bsm) if config.gated else None
        self.up = linear((d,), (m,), S.w_dm, S.act_bsm)
        self.down = linear((m,), (d,), S.w_md, S.act_bsd)
        self.eps = config.eps

    def __call__(
        self,
        x: Float[Array, "b s d"],
        mask: Bool[Array, "b s"],
        buckets: Int[Array, "s s"],
        shared_bias: Float[Array, "n s s"] | None,
    ) -> Float[Array, "b s d"]:
        bias = shared_bias if self.relative is None else self.relative(buckets)
        x = x + self.attend(self.norm1(x, self.eps), mask, bias)
        y = self.norm2(x, self.eps)
        if self.gate is None:
            return x + self.down(jax.nn.relu(self.up(y)))
        return x + self.down(jax.nn.gelu(self.gate(y), approximate=True) * self.up(y))

    def attend(self, x, mask, bias):
        """Attends from each token to the caption's tokens; softmax in float32."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = jnp.einsum("bqnk,bvnk->bnqv", q, k, preferred_element_type=jnp.float32)
        masked = jnp.finfo(jnp.float32).min
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores + bias[None], masked), -1)
        return self.out(jnp.einsum("bnqv,bvnk->bqnk", weights.astype(v.dtype), v))


class T5Encoder(nnx.Module):
    """Maps caption tokens to states; see the module's docstring."""

    def __init__(self, config: T5Config, rngs: nnx.Rngs):
        self.config = config
        init = jax.nn.initializers.normal(1.0)
        shape = (config.vocabulary, config.width)
        self.table = nnx.Param(init(rngs.params(), shape, jnp.float32, out_sharding=S.w_pd))
        self.relative = RelativeBias(config, rngs) if config.shared_bias else None
        self.blocks = stack(functools.partial(T5Block, config), config.depth, rngs)
        self.norm = RMSNorm((config.width,), P(None))

    def __call__(
        self, tokens: Int[Array, "b s"], mask: Bool[Array, "b s"] | Int[Array, "b s"]
    ) -> Float[Array, "b s d"]:
        c = self.config
        buckets = jnp.asarray(relative_buckets(tokens.shape[1], c.buckets, c.max_distance))
        shared_bias = None if self.relative is None else self.relative(buckets)
        x = self.table[...].at[tokens].get(out_sharding=S.act_bsd).astype(c.dtype)
        return self.norm(apply_blocks(self.blocks, x, mask != 0, buckets, shared_bias), c.eps)


NETWORK = Network(T5Encoder)
init_params, shapes = NETWORK.init_params, NETWORK.shapes


def encode(
    config: T5Config,
    params: Params,
    tokens: Int[Array, "b s"],
    mask: Bool[Array, "b s"] | Int[Array, "b s"],
) -> Float[Array, "b s d"]:
    """Encodes captions, one in each row; states of padding are unspecified.

    Args:
      mask: true or nonzero for the caption's tokens, false for padding; each row needs one token.
    """
    return NETWORK.bind(config, params)(tokens, mask)
