"""WanTransformer3DModel (arXiv:2503.20314, Wan 2.1): its config, its tensors' names, and ours."""

from typing import Any

from sora_jax.interop.entries import Entry
from sora_jax.interop.tensors import complete_config
from sora_jax.models.dit_config import DiTConfig

CLASS = "WanTransformer3DModel"
TEXT_LENGTH = 512
"""States that Wan's pipelines fill every caption up to."""
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "cross_attn_norm": (True,),
    "qk_norm": ("rms_norm_across_heads",),
    "eps": (1e-6,),
    "image_dim": (None,),
    "added_kv_proj_dim": (None,),
    "pos_embed_seq_len": (None,),
}
"""Values of their config that this code can carry: those of Wan 2.1's text models."""
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
"""What diffusers takes for keys that are left out: Wan 2.1 of 14 billion parameters."""


def from_their_config(theirs: dict[str, Any]) -> DiTConfig:
    """Our sizes; keys that are left out have the values of Wan 2.1 14B, as in diffusers.

    Raises:
      ValueError: a value that this code cannot carry.
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
        padded_text_length=TEXT_LENGTH,
    )


def to_their_config(config: DiTConfig) -> dict[str, Any]:
    """Inverse of `from_their_config`.

    Raises:
      ValueError: the sizes are none that a WanTransformer3DModel can have.
    """
    ours = config.input_skip or config.absolute_positions or config.pooled_text
    if ours or not config.text_embed_dim or config.rope_base != DiTConfig.rope_base:
        raise ValueError(
            f"{config} is no {CLASS}: that has text states, rope_base {DiTConfig.rope_base:g}, and "
            "none of skip, absolute and pooled"
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


def entries(config: DiTConfig) -> dict[str, Entry]:
    """Their names of all tensors, and where each lies in our parameters."""
    found: dict[str, Entry] = {}

    def linear(theirs: str, *ours: Any, heads: str = "", block: int | None = None) -> None:
        """(o, i) to (i, o), where outputs or inputs may be heads x head width."""
        kernel = {"": (1, 0), "out": (1, 0, 0), "in": (1, 1, 0)}[heads]
        bias = (0, 0) if heads == "out" else (0,)
        found[f"{theirs}.weight"] = Entry((*ours, "kernel"), kernel, block=block)
        found[f"{theirs}.bias"] = Entry((*ours, "bias"), bias, block=block)

    # Their patches are (c, pt, ph, pw) on the way in, and (pt, ph, pw, c), as ours, on the way out.
    patch = (*config.patch, config.latent_channels)
    found["patch_embedding.weight"] = Entry(("patch_in", "kernel"), (2, 3, 4, 1, 0), split=patch)
    found["patch_embedding.bias"] = Entry(("patch_in", "bias"), (0,))
    linear("proj_out", "patch_out")
    found["scale_shift_table"] = Entry(("head_modulation",), (0, 1), leading=1)
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
        found[f"{name}.scale_shift_table"] = Entry(
            ("blocks", "modulation"), (0, 1), leading=1, block=i
        )
        for theirs, ours in (("attn1", "self_attention"), ("attn2", "cross_attention")):
            for letter, part in (("q", "query"), ("k", "key"), ("v", "value")):
                linear(f"{name}.{theirs}.to_{letter}", "blocks", ours, part, heads="out", block=i)
            for letter, part in (("q", "query_norm"), ("k", "key_norm")):
                place = ("blocks", ours, part, "scale")
                found[f"{name}.{theirs}.norm_{letter}.weight"] = Entry(place, (0, 0), block=i)
            linear(f"{name}.{theirs}.to_out.0", "blocks", ours, "out", heads="in", block=i)
        for theirs, ours in (("weight", "scale"), ("bias", "bias")):
            found[f"{name}.norm2.{theirs}"] = Entry(("blocks", "cross_norm", ours), (0,), block=i)
        linear(f"{name}.ffn.net.0.proj", "blocks", "up", block=i)
        linear(f"{name}.ffn.net.2", "blocks", "down", block=i)
    return found
