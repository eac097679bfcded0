"""Random weights of a WanTransformer3DModel, alike on every machine, and ways to misread them."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.interop import wan, wan_dit
from sora_jax.models import dit
from sora_jax.patches import grid_positions, patch_grid, patchify, unpatchify
from sora_jax.rows import PackedBatch, Segment, pack_row
from tests.interop.reference import errors

SMALLEST: dict[str, Any] = {
    "_class_name": wan_dit.CLASS,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 3,
    "out_channels": 3,
    "text_dim": 5,
    "freq_dim": 8,
    "ffn_dim": 20,
    "num_layers": 2,
}
SHAPES = ((3, 4, 6), (1, 6, 4))
"""Latents of the clips that tests compare: a video and an image."""
WORDS = (480, 350)
"""Real states of their captions."""


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor from its name: no bias is zero, no gain is one, and gates are open."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if "norm" in name and name.endswith("weight"):
        values = 1 + 0.3 * values
    elif name.endswith("weight"):
        values *= np.prod(shape[1:]) ** -0.5
    else:
        values *= 0.3
    return values.astype(np.float32)


def drawn(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """All tensors of a model."""
    ours = wan_dit.from_their_config(config)
    like, found = dit.shapes(ours), {}
    for name, entry in wan_dit.entries(ours).items():
        leaf = like
        for key in entry.path:
            leaf = leaf[key]
        found[name] = draw(name, entry.shape_of_theirs(leaf.shape))
    return found


def weights_of(
    config: dict[str, Any], found: dict[str, np.ndarray] | None = None
) -> wan.Transformer:
    """Our weights from theirs, without files."""
    ours = wan_dit.from_their_config(config)
    return wan.Transformer(ours, wan_dit.from_their_tensors(ours, found or drawn(config)))


def inputs(config: dict[str, Any], shape: tuple[int, int, int], words: int) -> dict[str, Any]:
    """A clip: noisy latents [t, h, w, c], a level for each patch, the states of its caption."""
    rng = np.random.default_rng((*shape, words))
    pt, ph, pw = config.get("patch_size", [1, 2, 2])
    tokens = int(np.prod(patch_grid(shape, (pt, ph, pw))))
    levels = np.where(rng.uniform(size=tokens) < 0.3, 0.0, rng.uniform())
    return {
        "latents": rng.normal(size=(*shape, config["in_channels"])).astype(np.float32),
        "levels": levels.astype(np.float32),
        "text": rng.normal(size=(words, config["text_dim"])).astype(np.float32),
    }


def ours(weights: wan.Transformer, clips: list[dict[str, Any]]) -> list[np.ndarray]:
    """Velocities [t, h, w, c] of clips that share one row, with room to spare."""
    config = weights.config
    segments = []
    for clip in clips:
        patches = np.asarray(patchify(clip["latents"], config.patch))
        text = np.concatenate([clip["text"], np.zeros_like(clip["text"][:1])])
        positions = grid_positions(patch_grid(clip["latents"].shape, config.patch), 1, 16.0)
        segments.append(Segment(patches, positions, text, clip["levels"] == 0, 1.0))
    lengths = [len(s.patches) for s in segments]
    capacity = sum(lengths) + 3, sum(len(s.text) for s in segments) + 2, len(segments) + 1
    row = pack_row(segments, capacity, config.patch_width)
    row.levels[1 : 1 + len(clips)] = [clip["levels"].max() for clip in clips]
    batch = PackedBatch(*(jnp.asarray(field)[None] for field in row))
    made = np.asarray(_apply(config, weights.params, batch.patches, batch)[0])
    parts = np.split(made[: sum(lengths)], np.cumsum(lengths)[:-1])
    return [
        np.asarray(unpatchify(part, patch_grid(clip["latents"].shape, config.patch), config.patch))
        for part, clip in zip(parts, clips, strict=True)
    ]


_apply = jax.jit(dit.apply, static_argnums=0)


def largest_error(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Of all clips."""
    return max(errors(found, wanted))


def misread(config: dict[str, Any]) -> dict[str, wan.Transformer]:
    """Weights with one kind of tensor read in a wrong order that fits its shape, by mistake."""
    right, found = drawn(config), {}
    n, k = config["num_attention_heads"], config["attention_head_dim"]
    block, depth = "blocks.1", config["num_layers"]
    heads = [f"{block}.{a}.to_{x}.weight" for a in ("attn1", "attn2") for x in "qkv"]
    outs = [f"{block}.{a}.to_out.0.weight" for a in ("attn1", "attn2")]
    others = [f"{block}.ffn.net.0.proj.weight", f"{block}.ffn.net.2.weight", "proj_out.weight"]
    others += [f"condition_embedder.{x}.weight" for x in ("time_proj", "time_embedder.linear_1")]
    others += [f"condition_embedder.{x}.weight" for x in ("time_embedder.linear_2",)]
    others += [f"condition_embedder.text_embedder.linear_{i}.weight" for i in (1, 2)]
    wrong: dict[str, np.ndarray] = {}
    for name in (*heads, *outs, *others):
        a = right[name]
        wrong[f"{name}, inputs for outputs"] = a.reshape(a.shape[::-1]).T
    for name in heads:
        a = right[name].reshape(k, n, -1).swapaxes(0, 1)
        wrong[f"{name}, head width before heads"] = a.reshape(n * k, -1)
    for name in outs:
        a = right[name].reshape(-1, k, n).swapaxes(1, 2)
        wrong[f"{name}, head width before heads"] = a.reshape(-1, n * k)
    for name in (f"{block}.{a}.norm_{x}.weight" for a in ("attn1", "attn2") for x in "qk"):
        wrong[f"{name}, head width before heads"] = right[name].reshape(k, n).T.reshape(-1)
    a = right["patch_embedding.weight"]
    wrong["patch_embedding.weight, height for width"] = a.swapaxes(-1, -2)
    channels_last = a.reshape(len(a), *a.shape[2:], -1).transpose(0, 4, 1, 2, 3)
    wrong["patch_embedding.weight, channels last"] = channels_last
    a = right["proj_out.weight"]
    wrong["proj_out.weight, channels first"] = (
        a.reshape(config["in_channels"], -1, a.shape[1]).swapaxes(0, 1).reshape(a.shape)
    )
    a = right["condition_embedder.time_proj.weight"]
    wrong["condition_embedder.time_proj.weight, width before six"] = (
        a.reshape(-1, 6, a.shape[1]).swapaxes(0, 1).reshape(a.shape)
    )
    for name in ("scale_shift_table", f"{block}.scale_shift_table"):
        wrong[f"{name}, backwards"] = right[name][:, ::-1]
    for kind, value in wrong.items():
        name = kind.split(",")[0]
        found[kind] = weights_of(config, right | {name: np.ascontiguousarray(value)})
    turned = {
        name: right[name.replace(block, f"blocks.{depth - 2}")] for name in right if block in name
    } | {name: right[name.replace("blocks.0", block)] for name in right if "blocks.0" in name}
    found["blocks backwards"] = weights_of(config, right | turned)
    return found
