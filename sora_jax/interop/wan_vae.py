"""AutoencoderKLWan (arXiv:2503.20314, Wan 2.1): its config and tensors' names, to ours."""

from typing import Any

import numpy as np

from sora_jax.interop.entries import Entry
from sora_jax.interop.tensors import complete_config
from sora_jax.models.vae_config import VAEConfig

CLASS = "AutoencoderKLWan"
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "attn_scales": ([],),
    "is_residual": (False, None),
    "in_channels": (3, None),
    "out_channels": (3, None),
    "patch_size": (None, 1),
}
"""Supported values of their config."""
DEFAULTS: dict[str, Any] = {
    "base_dim": 96,
    "decoder_base_dim": None,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
}
"""Diffusers' defaults for keys that are left out: Wan 2.1."""


def from_their_config(theirs: dict[str, Any]) -> VAEConfig:
    """Converts their config; keys that are left out have Wan 2.1's values.

    Raises:
      ValueError: a value is not supported.
    """
    theirs = complete_config(theirs, DEFAULTS, SUPPORTED, "Wan 2.1")
    for key in ("base_dim", "z_dim", "num_res_blocks"):
        if not _is_positive_int(theirs[key]):
            raise ValueError(f"config.json has {key} {theirs[key]!r}: give a whole number above 0")
    base, multiples, time = (theirs[k] for k in ("base_dim", "dim_mult", "temperal_downsample"))
    if (
        not isinstance(multiples, list)
        or not multiples
        or not all(map(_is_positive_int, multiples))
    ):
        raise ValueError(f"config.json has dim_mult {multiples!r}: give whole numbers above 0")
    if not isinstance(time, list) or any(type(halved) is not bool for halved in time):
        raise ValueError(f"config.json has temperal_downsample {time!r}: give true or false each")
    if len(time) != len(multiples) - 1:
        raise ValueError(
            f"config.json has temperal_downsample of {len(time)} entries: {len(multiples)} "
            f"dim_mult need {len(multiples) - 1}"
        )
    if multiples[0] != 1 or theirs["decoder_base_dim"] not in (None, base):
        raise ValueError(
            "config.json has a first dim_mult other than 1, or a decoder_base_dim other than "
            "base_dim: only Wan 2.1's layout can be read"
        )
    if any(base * multiple % 2 for multiple in multiples[1:]):
        raise ValueError(
            f"config.json has base_dim {base} and dim_mult {multiples}: give stages but the first "
            "even widths, as decoding halves them"
        )
    return VAEConfig(
        latent_channels=theirs["z_dim"],
        patch=1,
        channels=tuple(base * multiple for multiple in multiples),
        strides=tuple((1 + int(halved), 2) for halved in time),
        blocks=theirs["num_res_blocks"],
    )


def statistics(theirs: dict[str, Any], channels: int) -> dict[str, np.ndarray]:
    """Reads the mean and the variance of each latent channel; by default 0 and 1.

    Raises:
      ValueError: their config does not have lists of `channels` finite numbers, or a standard
        deviation is not above 0.
    """
    moments = []
    for key, default in (("latents_mean", 0.0), ("latents_std", 1.0)):
        values = theirs.get(key)
        values = [default] * channels if values is None else values
        if not isinstance(values, list) or any(type(v) not in (int, float) for v in values):
            raise ValueError(f"config.json has {key} {values!r}: give a list of numbers")
        if len(values) != channels:
            raise ValueError(
                f"config.json has {key} of {len(values)} entries: z_dim is {channels}, give as many"
            )
        moments.append(np.asarray(values, np.float32))
        if not np.isfinite(moments[-1]).all() or (key == "latents_std" and moments[-1].min() <= 0):
            raise ValueError(
                f"config.json has {key} {values}: give finite numbers, deviations above 0"
            )
    mean, deviation = moments
    return {"mean": mean, "variance": deviation**2}


def _is_positive_int(value: Any) -> bool:
    return type(value) is int and value > 0


def to_their_config(config: VAEConfig) -> dict[str, Any]:
    """Inverse of `from_their_config`.

    Raises:
      ValueError: an AutoencoderKLWan cannot have these sizes.
    """
    base = config.channels[0]
    if (
        config.patch != 1
        or any(c % base for c in config.channels)
        or any(s != 2 for _, s in config.strides)
    ):
        raise ValueError(
            f"{config} is no {CLASS}: that has patch 1, channels in multiples "
            "of the first, and a spatial stride of 2 between all stages"
        )
    return {
        "_class_name": CLASS,
        "base_dim": base,
        "z_dim": config.latent_channels,
        "dim_mult": [c // base for c in config.channels],
        "num_res_blocks": config.blocks,
        "attn_scales": [],
        "temperal_downsample": [time == 2 for time, _ in config.strides],
        "dropout": 0.0,
    }


def entries(config: VAEConfig) -> dict[str, Entry]:
    """Maps all their tensors, by name, to our parameters."""
    mapping: dict[str, Entry] = {}

    def conv(theirs: str, *ours: Any, flat: bool = False) -> None:
        """Maps (o, i, t, y, x), or (o, i, y, x) if flat, to (t, y, x, i, o)."""
        axes = (None, 2, 3, 1, 0) if flat else (2, 3, 4, 1, 0)
        mapping[f"{theirs}.weight"] = Entry((*ours, "kernel"), axes)
        mapping[f"{theirs}.bias"] = Entry((*ours, "bias"), (0,))

    def norm(theirs: str, *ours: Any, trailing: int = 3) -> None:
        mapping[f"{theirs}.gamma"] = Entry((*ours, "scale"), (0,), trailing)

    def residual(theirs: str, *ours: Any, inputs: int, outputs: int) -> None:
        for i in (1, 2):
            norm(f"{theirs}.norm{i}", *ours, f"norm{i}")
            conv(f"{theirs}.conv{i}", *ours, f"conv{i}")
        if inputs != outputs:
            conv(f"{theirs}.conv_shortcut", *ours, "shortcut")

    def middle(theirs: str, *ours: Any) -> None:
        width = config.channels[-1]
        for i, name in enumerate(("before", "after")):
            residual(f"{theirs}.resnets.{i}", *ours, name, inputs=width, outputs=width)
        norm(f"{theirs}.attentions.0.norm", *ours, "attention", "norm", trailing=2)
        conv(f"{theirs}.attentions.0.to_qkv", *ours, "attention", "qkv", flat=True)
        conv(f"{theirs}.attentions.0.proj", *ours, "attention", "out", flat=True)

    def resample(theirs: str, *ours: Any, stride: tuple[int, int]) -> None:
        conv(f"{theirs}.resample.1", *ours, "space", flat=True)
        if stride[0] == 2:
            conv(f"{theirs}.time_conv", *ours, "time")

    for half in ("encoder", "decoder"):
        conv(f"{half}.conv_in", half, "first")
        norm(f"{half}.norm_out", half, "norm")
        conv(f"{half}.conv_out", half, "last")
    conv("quant_conv", "posterior_conv")
    conv("post_quant_conv", "latent_conv")

    layer, width = 0, config.channels[0]
    for i, channels in enumerate(config.channels):
        for _ in range(config.blocks):
            names = f"encoder.down_blocks.{layer}", "encoder", "layers", layer
            residual(*names, inputs=width, outputs=channels)
            layer, width = layer + 1, channels
        if i < len(config.strides):
            names = f"encoder.down_blocks.{layer}", "encoder", "layers", layer
            resample(*names, stride=config.strides[i])
            layer += 1
    middle("encoder.mid_block", "encoder", "layers", layer)

    middle("decoder.mid_block", "decoder", "layers", 0)
    layer, width = 1, config.channels[-1]
    for block, channels in enumerate(reversed(config.channels)):
        for i in range(config.blocks + 1):
            theirs = f"decoder.up_blocks.{block}.resnets.{i}"
            residual(theirs, "decoder", "layers", layer, inputs=width, outputs=channels)
            layer, width = layer + 1, channels
        if block < len(config.strides):
            theirs = f"decoder.up_blocks.{block}.upsamplers.0"
            resample(theirs, "decoder", "layers", layer, stride=config.strides[-1 - block])
            layer, width = layer + 1, channels // 2
    return mapping
