"""The order of a head's channels in files, and in the transformer's parameters.

Rotary embedding rotates pairs of a head's k channels. Wan's weights and released models hold a
pair's channels side by side, (2i, 2i + 1); our parameters hold them in the two halves of the head,
(i, i + k/2), as `models.rope` reads them. The channels of queries and of keys change places alike,
so that their products, all that attention sees of them, do not change.
"""

from collections.abc import Callable
from typing import Any

import jax

from sora_jax.types import Params

ROTATED = ("query", "key", "query_norm", "key_norm")
"""Parts of self-attention whose last axis is the width of a head that is rotated."""


def split_pairs(params: Params) -> Params:
    """Parameters of a transformer as the model reads them, from a file's order of channels."""
    return _map_rotated(lambda x: _swap(x, (x.shape[-1] // 2, 2)), params)


def join_pairs(params: Params) -> Params:
    """Inverse of `split_pairs`: parameters of a transformer in the order that files have."""
    return _map_rotated(lambda x: _swap(x, (2, x.shape[-1] // 2)), params)


def _swap(x: Any, grid: tuple[int, int]) -> Any:
    """Reads the last axis of an array as a grid of these sizes, and transposes it."""
    return x.reshape(*x.shape[:-1], *grid).swapaxes(-1, -2).reshape(x.shape)


def _map_rotated(function: Callable[[Any], Any], params: Params) -> Params:
    """Applies a function to the parameters of queries and keys that are rotated."""

    def visit(path: Any, leaf: Any) -> Any:
        keys = [part.key for part in path]
        rotated = "self_attention" in keys and keys[-2] in ROTATED
        return function(leaf) if rotated else leaf

    return jax.tree.map_with_path(visit, params)
