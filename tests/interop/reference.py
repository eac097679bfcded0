"""Random weights of an AutoencoderKLWan, the same on every machine, and ways to misread them."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.interop import wan, wan_vae
from sora_jax.interop.entries import to_params
from sora_jax.models import vae

SMALLEST = {"base_dim": 4, "z_dim": 3, "dim_mult": [1, 2, 2], "temperal_downsample": [False, True]}
SMALLEST_VIDEO = np.random.default_rng(0).uniform(-1, 1, (5, 16, 24, 3)).astype(np.float32)


def their_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """`config.json` of these sizes, with statistics of latents."""
    rng = np.random.default_rng(0)
    return sizes | {
        "_class_name": wan_vae.CLASS,
        "latents_mean": rng.normal(size=sizes["z_dim"]).tolist(),
        "latents_std": rng.uniform(0.5, 2, sizes["z_dim"]).tolist(),
    }


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor from its name: no bias is zero, no gain is one."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.endswith("weight"):
        values *= np.prod(shape[1:]) ** -0.5
    elif name.endswith("gamma"):
        values = 1 + 0.3 * values
    else:
        values *= 0.3
    return values.astype(np.float32)


def drawn(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """All tensors of a model."""
    ours = wan_vae.from_their_config(config)
    like = vae.shapes(ours)
    shapes = {}
    for name, entry in wan_vae.entries(ours).items():
        leaf = like
        for key in entry.path:
            leaf = leaf[key]
        shapes[name] = entry.shape_of_theirs(leaf.shape)
    return {name: draw(name, shape) for name, shape in shapes.items()}


def weights_of(config: dict[str, Any], found: dict[str, np.ndarray] | None = None) -> wan.Weights:
    """Our weights from theirs, without files."""
    ours = wan_vae.from_their_config(config)
    like = vae.shapes(ours)
    params = to_params(wan_vae.entries(ours), found or drawn(config), like)
    return wan.Weights(ours, params, {})


def ours(weights: wan.Weights, video: np.ndarray, latents: np.ndarray) -> list[np.ndarray]:
    """Mean, log variance, and the pixels of `latents`."""
    posterior = _posterior(*weights, jnp.asarray(video)[None])
    made = _decode(*weights, jnp.asarray(latents)[None])
    return [np.asarray(a[0]) for a in (posterior.mean, posterior.log_variance, made)]


_posterior = jax.jit(vae.posterior, static_argnums=0)
_decode = jax.jit(vae.decode, static_argnums=0)


def errors(found: list[np.ndarray], wanted: list[np.ndarray]) -> list[float]:
    """Largest differences, over the largest value of the reference."""
    pairs = zip(found, wanted, strict=True)
    return [float(np.abs(f - w).max() / np.abs(w).max()) for f, w in pairs]


def misread(config: dict[str, Any]) -> dict[str, wan.Weights]:
    """Weights with one kind of kernel read in a wrong order that fits its shape, by mistake."""
    kinds = {
        "3x3x3": "encoder.conv_in.weight",
        "3x3x3 of a decoder's block": "decoder.up_blocks.1.resnets.0.conv1.weight",
        "1x1x1 of a shortcut": "encoder.down_blocks.3.conv_shortcut.weight",
        "1x1x1 of the posterior": "quant_conv.weight",
        "1x1x1 of latents": "post_quant_conv.weight",
        "3x3 down": "encoder.down_blocks.2.resample.1.weight",
        "3x3 up": "decoder.up_blocks.0.upsamplers.0.resample.1.weight",
        "3x1x1 down": "encoder.down_blocks.5.time_conv.weight",
        "3x1x1 up": "decoder.up_blocks.0.upsamplers.0.time_conv.weight",
        "1x1 to queries, keys, values": "encoder.mid_block.attentions.0.to_qkv.weight",
        "1x1 from values": "decoder.mid_block.attentions.0.proj.weight",
    }
    right, found = drawn(config), {}
    for kind, name in kinds.items():
        a = right[name]
        orders = {"inputs for outputs": a.reshape(a.shape[1], a.shape[0], -1).swapaxes(0, 1)}
        if a.shape[-1] == 3:
            orders["height for width"] = a.swapaxes(-1, -2)
        if a.ndim == 5 and a.shape[2] == 3:
            orders["time reversed"] = a[:, :, ::-1]
        for order, wrong in orders.items():
            changed = right | {name: np.ascontiguousarray(wrong.reshape(a.shape))}
            found[f"{kind}, {order}"] = weights_of(config, changed)
    return found
