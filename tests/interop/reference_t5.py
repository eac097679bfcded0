"""Random weights of T5 encoders, the same on every machine, and ways to misread them."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.interop import t5 as interop
from sora_jax.interop.entries import to_params
from sora_jax.models import t5
from tests.interop.reference import errors

SIZES = {"vocab_size": 60, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 3, "num_heads": 3}
NEAR = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}
MODELS: dict[str, dict[str, Any]] = {
    "t5": SIZES | {"model_type": "t5"},
    "t5 1.1": SIZES | {"model_type": "t5", "feed_forward_proj": "gated-gelu"} | NEAR,
    "umt5": SIZES | {"model_type": "umt5", "layer_norm_epsilon": 0.01},
}
LENGTHS = (1, 5, 12, 40)
BUCKETS = ((512, 32, 128), (300, 8, 12), (100, 6, 7), (600, 64, 500), (40, 4, 2))
"""Length, buckets, largest distance."""
HUB_UMT5_XXL = {
    "d_ff": 10240,
    "d_kv": 64,
    "d_model": 4096,
    "dense_act_fn": "gelu_new",
    "feed_forward_proj": "gated-gelu",
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "umt5",
    "num_heads": 64,
    "num_layers": 24,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "vocab_size": 256384,
}
HUB_T5_XXL = HUB_UMT5_XXL | {"model_type": "t5", "vocab_size": 32128}


def captions_of(vocabulary: int, lengths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens and their mask, padded to the longest."""
    rng = np.random.default_rng(lengths)
    mask = np.arange(max(lengths))[None] < np.asarray(lengths)[:, None]
    tokens = rng.integers(1, vocabulary, mask.shape)
    return np.where(mask, tokens, 0).astype(np.int32), mask


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor from its name: no gain is one, and scores and biases are about as large as one."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if "norm" in name:
        values = 1 + 0.3 * values
    elif name.endswith(".q.weight"):
        values *= (shape[1] * SIZES["d_kv"]) ** -0.5
    elif "shared" not in name and "bias" not in name:
        values *= shape[1] ** -0.5
    return values.astype(np.float32)


def drawn(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """All tensors of a model."""
    ours = interop.from_their_config(config)
    like = t5.shapes(ours)
    shapes = {}
    for name, entry in interop.entries(ours).items():
        leaf = like
        for key in entry.path:
            leaf = leaf[key]
        shapes[name] = entry.shape_of_theirs(leaf.shape)
    return {name: draw(name, shape) for name, shape in shapes.items()}


def weights_of(
    config: dict[str, Any], found: dict[str, np.ndarray] | None = None
) -> interop.Weights:
    """Our weights from theirs, without files."""
    ours = interop.from_their_config(config)
    params = to_params(interop.entries(ours), found or drawn(config), t5.shapes(ours))
    return interop.Weights(ours, params)


def states(weights: interop.Weights, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What our encoder says."""
    return np.asarray(_encode(*weights, jnp.asarray(tokens), jnp.asarray(mask)))


_encode = jax.jit(t5.encode, static_argnums=0)


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, over the largest value of the reference."""
    return errors([found], [wanted])[0]


def misread(config: dict[str, Any]) -> dict[str, interop.Weights]:
    """Weights with one kind of tensor read in a wrong way that fits its shape, by mistake."""
    right, found = drawn(config), {}
    n, k, depth = config["num_heads"], config["d_kv"], config["num_layers"]
    own = config["model_type"] == "umt5"

    def name(tensor: str, block: int = 1) -> str:
        return f"encoder.block.{block}.layer.{tensor}.weight"

    def change(kind: str, wrong: dict[str, np.ndarray]) -> None:
        wrong = {name: np.ascontiguousarray(a) for name, a in wrong.items()}
        found[kind] = weights_of(config, right | wrong)

    q, k_, v, o, bias = (
        f"0.SelfAttention.{x}" for x in ("q", "k", "v", "o", "relative_attention_bias")
    )
    mlp = [f"1.DenseReluDense.{x}" for x in ("wi", "wi_0", "wi_1", "wo")]
    mlp = [x for x in mlp if name(x) in right]
    norms = "0.layer_norm", "1.layer_norm"
    table = name(bias, int(own))

    for x in (*map(name, (q, k_, v, o, *mlp)), table, "shared.weight"):
        a = right[x]
        change(f"{x}, inputs for outputs", {x: a.reshape(a.shape[::-1]).T})
    for x in map(name, (q, k_, v)):
        a = right[x].reshape(k, n, -1).swapaxes(0, 1)
        change(f"{x}, head width before heads", {x: a.reshape(n * k, -1)})
    a = right[name(o)].reshape(-1, k, n).swapaxes(1, 2)
    change(f"{name(o)}, head width before heads", {name(o): a.reshape(-1, n * k)})
    change("keys before for keys after", {table: np.roll(right[table], len(right[table]) // 2, 0)})
    for one, two in [norms, *([tuple(mlp[:2])] if len(mlp) == 3 else [])]:
        swapped = {name(one): right[name(two)], name(two): right[name(one)]}
        change(f"{one} for {two}", swapped)
    last = "encoder.final_layer_norm.weight"
    change(f"{last}, backwards", {last: right[last][::-1]})
    kinds = [q, k_, v, o, *mlp, *norms, *([bias] if own else [])]
    for x in kinds:
        turned = {name(x, i): right[name(x, depth - 1 - i)] for i in range(depth)}
        change(f"{x}, blocks backwards", turned)
    if own:
        first = right[name(bias, 0)]
        change("the first block's table in all", {name(bias, i): first for i in range(depth)})
    return found
