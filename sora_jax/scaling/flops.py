"""Floating-point operations of the transformer, counted by hand: a multiply and an add are two.

Of l video and s text tokens, in segments of n_i and m_i of them, for width d and MLP width m:

    video tokens, a block   l (12 d^2 + 4 d m)        queries, keys, values, both outputs, MLP
    text tokens, a block    4 s d^2                   keys and values
    self-attention          4 d sum n_i^2
    cross-attention         4 d sum n_i m_i

A training step counts as three forward passes: the backward pass has two products for each of the
forward pass. Recomputation (`remat`) is not counted: these are the useful operations of MFU
(arXiv:2204.02311, B). The trained caption encoder, if any, is left out: it is small.
"""

from collections.abc import Sequence

from sora_jax.models.dit_config import DiTConfig


def forward_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """FLOPs of a forward pass over segments, each given as (video tokens, text tokens)."""
    d, m = config.width, config.mlp_dim
    video, text = (float(sum(pair[i] for pair in segments)) for i in (0, 1))
    block = video * (12 * d * d + 4 * d * m) + 4 * text * d * d
    block += 4.0 * d * sum(n * n + n * s for n, s in segments)
    ends = 4 * video * config.patch_width * d + 2 * text * (config.text_width * d + d * d)
    table = 2 * (len(segments) + 1) * d * (config.time_embed_dim + 7 * d)
    return config.depth * block + ends + table


def step_flops(config: DiTConfig, segments: Sequence[tuple[int, int]]) -> float:
    """FLOPs of a training step on segments, each given as (video tokens, text tokens)."""
    return 3 * forward_flops(config, segments)
