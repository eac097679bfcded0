"""Floating-point operations of the transformer, counted by hand: a multiply and an add are two.

Of l video and s text tokens, in segments of n_i and m_i of them, for width d and MLP width m:

    video tokens, a block   l (12 d^2 + 4 d m)        queries, keys, values, both outputs, MLP
    text tokens, a block    4 s d^2                   keys and values
    self-attention          4 d sum n_i^2
    cross-attention         4 d sum n_i m_i

A training step counts as three forward passes: the backward pass has two products for each of the
forward pass. These are the useful operations of MFU (arXiv:2204.02311, B). What a step runs besides
is counted apart: what `remat` repeats of the blocks' forward pass, not what attention's kernels
repeat within their backward pass. The trained caption encoder, if any, is left out: it is small.
"""

from collections.abc import Sequence

from sora_jax.models.dit_config import DiTConfig


def forward_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """FLOPs of a forward pass over segments, each given as (video tokens, text tokens)."""
    d = config.width
    video, text = _tokens(segments)
    block = _projection_flops(config, segments) + _attention_flops(config, segments)
    ends = 4 * video * config.patch_width * d + 2 * text * (config.text_width * d + d * d)
    table = 2 * (len(segments) + 1) * d * (config.time_embed_dim + 7 * d)
    return config.depth * block + ends + table


def step_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """Useful FLOPs of a training step on segments, each given as (video tokens, text tokens)."""
    return 3 * forward_flops(config, segments)


def repeated_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """FLOPs that a training step runs besides: those of the forward pass that `remat` repeats."""
    repeated = 0.0
    if config.remat in ("attention", "full"):
        repeated += _projection_flops(config, segments)
    if config.remat == "full":
        repeated += _attention_flops(config, segments)
    return config.depth * repeated


def _tokens(segments: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Numbers of video and of text tokens."""
    return float(sum(video for video, _ in segments)), float(sum(text for _, text in segments))


def _projection_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """FLOPs of a block's products with weights, forward."""
    d, (video, text) = config.width, _tokens(segments)
    return video * (12 * d * d + 4 * d * config.mlp_dim) + 4 * text * d * d


def _attention_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """FLOPs of a block's products of queries, keys and values, forward."""
    return 4.0 * config.width * sum(n * n + n * s for n, s in segments)
