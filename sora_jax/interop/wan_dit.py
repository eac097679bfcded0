"""WanTransformer3DModel (arXiv:2503.20314, Wan 2.1): its config and tensors' names, to ours."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sora_jax.interop.entries import Entry, to_params, to_tensors
from sora_jax.interop.rotary import join_pairs, split_pairs
from sora_jax.interop.tensors import complete_config
from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig
from sora_jax.types import Params

CLASS = "WanTransformer3DModel"
PADDED_TEXT_LENGTH = 512
"""Number of states that Wan's pipelines pad every caption to."""
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "cross_attn_norm": (True,),
    "qk_norm": ("rms_norm_across_heads",),
    "eps": (1e-6,),
    "image_dim": (None,),
    "added_kv_proj_dim": (None,),
    "pos_embed_seq_len": (None,),
}
"""Supported values of their config: those of Wan 2.1's text-to-video models."""
DEFAULTS: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "num_attention_heads": 40,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 13824,
    "num_layers": 40,
}
"""Diffusers' defaults for keys that are left out: Wan 2.1 with 14 billion parameters."""


def from_their_config(theirs: dict[str, Any]) -> DiTConfig:
    """Converts their config; keys that are left out have the values of Wan 2.1 14B.

    Raises:
      ValueError: a value is not supported.
    """
    theirs = complete_config(theirs, DEFAULTS, SUPPORTED, "Wan 2.1, text to video")
    channels = theirs["in_channels"]
    if theirs["out_channels"] not in (None, channels):
        raise ValueError(
            f"config.json has in_channels {channels} and out_channels {theirs['out_channels']}: "
            "only equal ones can be read (Wan 2.1, text to video)"
        )
    if theirs["patch_size"][0] != 1:
        raise ValueError(
            f"config.json has patch_size {theirs['patch_size']}: only one latent frame can be read"
        )
    return DiTConfig(
        latent_channels=channels,
        patch=tuple(theirs["patch_size"]),
        width=theirs["num_attention_heads"] * theirs["attention_head_dim"],
        depth=theirs["num_layers"],
        heads=theirs["num_attention_heads"],
        mlp_dim=theirs["ffn_dim"],
        time_embed_dim=theirs["freq_dim"],
        text_embed_dim=theirs["text_dim"],
        padded_text_length=PADDED_TEXT_LENGTH,
    )


def to_their_config(config: DiTConfig) -> dict[str, Any]:
    """Inverse of `from_their_config`.

    Raises:
      ValueError: a WanTransformer3DModel cannot have these sizes.
    """
    ours = config.input_skip or config.absolute_positions or config.pooled_text
    if ours or not config.text_embed_dim or config.rope_base != DiTConfig.rope_base:
        raise ValueError(
            f"{config} is no {CLASS}: that has text states, rope_base {DiTConfig.rope_base:g}, and "
            "none of input_skip, absolute_positions and pooled_text"
        )
    return {
        "_class_name": CLASS,
        "patch_size": list(config.patch),
        "num_attention_heads": config.heads,
        "attention_head_dim": config.width // config.heads,
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "text_dim": config.text_embed_dim,
        "freq_dim": config.time_embed_dim,
        "ffn_dim": config.mlp_dim,
        "num_layers": config.depth,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
    }


def from_their_tensors(config: DiTConfig, tensors: Mapping[str, np.ndarray]) -> Params:
    """Builds our parameters from all their tensors, by name.

    Raises:
      ValueError: a tensor is missing, unexpected or misshapen.
    """
    return split_pairs(to_params(entries(config), tensors, dit.shapes(config)))


def to_their_tensors(config: DiTConfig, params: Params) -> dict[str, np.ndarray]:
    """Inverse of `from_their_tensors`."""
    return to_tensors(entries(config), join_pairs(params))


def entries(config: DiTConfig) -> dict[str, Entry]:
    """Maps all their tensors, by name, to our parameters, but for the order of rotated channels."""
    mapping: dict[str, Entry] = {}

    def linear(theirs: str, *ours: Any, heads: str = "", block: int | None = None) -> None:
        """Maps (o, i) to (i, o); `heads` says if outputs or inputs are heads x head width."""
        kernel = {"": (1, 0), "out": (1, 0, 0), "in": (1, 1, 0)}[heads]
        bias = (0, 0) if heads == "out" else (0,)
        mapping[f"{theirs}.weight"] = Entry((*ours, "kernel"), kernel, block=block)
        mapping[f"{theirs}.bias"] = Entry((*ours, "bias"), bias, block=block)

    # Their patches are (c, pt, ph, pw) on the way in, and (pt, ph, pw, c), as ours, on the way out.
    patch = (*config.patch, config.latent_channels)
    mapping["patch_embedding.weight"] = Entry(("patch_in", "kernel"), (2, 3, 4, 1, 0), split=patch)
    mapping["patch_embedding.bias"] = Entry(("patch_in", "bias"), (0,))
    linear("proj_out", "patch_out")
    mapping["scale_shift_table"] = Entry(("head_modulation",), (0, 1), leading=1)
    for theirs, ours in (
        ("time_embedder.linear_1", "time_in"),
        ("time_embedder.linear_2", "time_out"),
        ("text_embedder.linear_1", "text_up"),
        ("text_embedder.linear_2", "text_down"),
    ):
        linear(f"condition_embedder.{theirs}", ours)
    # Six vectors for each input, as heads are.
    linear("condition_embedder.time_proj", "time_table", heads="out")

    for i in range(config.depth):
        name = f"blocks.{i}"
        mapping[f"{name}.scale_shift_table"] = Entry(
            ("blocks", "modulation"), (0, 1), leading=1, block=i
        )
        for theirs, ours in (("attn1", "self_attention"), ("attn2", "cross_attention")):
            for letter, part in (("q", "query"), ("k", "key"), ("v", "value")):
                linear(f"{name}.{theirs}.to_{letter}", "blocks", ours, part, heads="out", block=i)
            for letter, part in (("q", "query_norm"), ("k", "key_norm")):
                path = ("blocks", ours, part, "scale")
                mapping[f"{name}.{theirs}.norm_{letter}.weight"] = Entry(path, (0, 0), block=i)
            linear(f"{name}.{theirs}.to_out.0", "blocks", ours, "out", heads="in", block=i)
        for theirs, ours in (("weight", "scale"), ("bias", "bias")):
            mapping[f"{name}.norm2.{theirs}"] = Entry(("blocks", "cross_norm", ours), (0,), block=i)
        linear(f"{name}.ffn.net.0.proj", "blocks", "up", block=i)
        linear(f"{name}.ffn.net.2", "blocks", "down", block=i)
    return mapping
