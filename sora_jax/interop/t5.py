"""Reads and writes T5 and UMT5 encoders in the layout of transformers; nothing is downloaded.

A folder may hold an encoder (T5EncoderModel, UMT5EncoderModel, the `text_encoder` of a Wan
pipeline) or a whole T5: `decoder.*` and `lm_head.*` are then left out.
"""

from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sora_jax.interop.entries import Entry, to_params, to_tensors
from sora_jax.interop.tensors import complete_config, read_config, read_tensors, write_tensors
from sora_jax.models import t5
from sora_jax.models.t5 import T5Config
from sora_jax.types import Params

STEM = "model"
CLASSES = {"t5": "T5EncoderModel", "umt5": "UMT5EncoderModel"}
TABLE, TIED = "shared.weight", "encoder.embed_tokens.weight"
DROPPED = ("decoder.", "lm_head.")
SIZES = {
    "vocab_size": "vocabulary",
    "d_model": "width",
    "num_layers": "depth",
    "num_heads": "heads",
    "d_kv": "head_width",
    "d_ff": "mlp_dim",
    "relative_attention_num_buckets": "buckets",
    "relative_attention_max_distance": "max_distance",
}
"""Their names of sizes, to ours."""
DEFAULTS: dict[str, Any] = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
}
"""Transformers' defaults for keys that are left out, as in old files."""
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "is_decoder": (False, None),
    "quantization_config": (None,),
}
"""Supported values of their config."""
MLPS = {"relu": ("relu", False), "gated-gelu": ("gelu_new", True)}
"""`feed_forward_proj` to the `dense_act_fn` and `is_gated_act` that it implies."""


class Weights(NamedTuple):
    """A text encoder: sizes and weights."""

    config: T5Config
    params: Params


def load_text_encoder(folder: epath.PathLike) -> Weights:
    """Reads an encoder, from its folder or from the `text_encoder` folder of a pipeline.

    Weights come as numpy arrays in float32, whatever their stored dtype.

    Raises:
      ValueError: the folder holds something else, or a tensor is missing, unexpected or misshapen.
    """
    folder = epath.Path(folder)
    if (folder / "text_encoder" / "config.json").exists():
        folder = folder / "text_encoder"
    config = from_their_config(read_config(folder, *CLASSES, key="model_type"))
    tensors = read_tensors(folder, STEM, DROPPED)
    tied = tensors.pop(TIED, None)
    if tied is not None and not np.array_equal(tensors.setdefault(TABLE, tied), tied):
        raise ValueError(
            f"{TABLE} and {TIED} in {folder} differ: a T5 has one table of tokens, save the model "
            "again with its weights tied"
        )
    return Weights(config, to_params(entries(config), tensors, t5.shapes(config)))


def save_text_encoder(folder: epath.PathLike, weights: Weights) -> None:
    """Writes a folder that `load_text_encoder` and transformers read."""
    config, params = weights
    write_tensors(folder, to_their_config(config), to_tensors(entries(config), params), STEM)


def from_their_config(theirs: dict[str, Any]) -> T5Config:
    """Converts their config; activations are float32, whatever it says.

    Raises:
      ValueError: a value is missing or not supported.
    """
    shared = theirs["model_type"] == "t5"
    defaults = DEFAULTS | {"feed_forward_proj": "relu" if shared else "gated-gelu"}
    theirs = complete_config(theirs, defaults, SUPPORTED, "an encoder, not quantised")
    for key in SIZES:
        if type(theirs.get(key)) is not int or theirs[key] < 1:
            raise ValueError(f"config.json has {key} {theirs.get(key)!r}: give a whole number")
    buckets, max_distance = (
        theirs[f"relative_attention_{k}"] for k in ("num_buckets", "max_distance")
    )
    if not 1 <= buckets // 4 < max_distance:
        raise ValueError(
            f"config.json has {buckets} relative_attention_num_buckets up to a distance of "
            f"{max_distance}: give 4 or more, and a relative_attention_max_distance above a "
            "quarter of them"
        )
    mlp = theirs["feed_forward_proj"]
    if mlp not in MLPS:
        raise ValueError(
            f"config.json has feed_forward_proj {mlp!r}: only {' and '.join(MLPS)} can be read"
        )
    for key, meant in zip(("dense_act_fn", "is_gated_act"), MLPS[mlp], strict=True):
        if theirs.get(key, meant) != meant:
            raise ValueError(
                f"config.json has {key} {theirs[key]!r}: feed_forward_proj {mlp!r} means {meant!r}"
            )
    return T5Config(
        **{ours: theirs[key] for key, ours in SIZES.items()},
        shared_bias=shared,
        gated=MLPS[mlp][1],
        eps=theirs["layer_norm_epsilon"],
    )


def to_their_config(config: T5Config) -> dict[str, Any]:
    """Inverse of `from_their_config`."""
    kind = "t5" if config.shared_bias else "umt5"
    mlp = "gated-gelu" if config.gated else "relu"
    act, gated = MLPS[mlp]
    return {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        **{key: getattr(config, ours) for key, ours in SIZES.items()},
        "layer_norm_epsilon": config.eps,
        "feed_forward_proj": mlp,
        "dense_act_fn": act,
        "is_gated_act": gated,
        "is_encoder_decoder": False,
        "use_cache": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "dtype": "float32",
    }


def entries(config: T5Config) -> dict[str, Entry]:
    """Maps all their tensors, by name, to our parameters."""
    mapping = {
        TABLE: Entry(("table",), (0, 1)),
        "encoder.final_layer_norm.weight": Entry(("norm", "scale"), (0,)),
    }
    bias = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
    if config.shared_bias:
        mapping[bias.format(0)] = Entry(("relative", "table"), (0, 1))
    linear = {"wi_0": "gate", "wi_1": "up"} if config.gated else {"wi": "up"}
    for i in range(config.depth):

        def put(theirs: str, *ours: str, axes: tuple[int, ...], i: int = i) -> None:
            entry = Entry(("blocks", *ours), axes, block=i)
            mapping[f"encoder.block.{i}.layer.{theirs}.weight"] = entry

        for theirs, ours in {"q": "query", "k": "key", "v": "value"}.items():
            put(f"0.SelfAttention.{theirs}", ours, "kernel", axes=(1, 0, 0))
        put("0.SelfAttention.o", "out", "kernel", axes=(1, 1, 0))
        if not config.shared_bias:
            put("0.SelfAttention.relative_attention_bias", "relative", "table", axes=(0, 1))
        for theirs, ours in (linear | {"wo": "down"}).items():
            put(f"1.DenseReluDense.{theirs}", ours, "kernel", axes=(1, 0))
        for half in (0, 1):
            put(f"{half}.layer_norm", f"norm{half + 1}", "scale", axes=(0,))
    return mapping
