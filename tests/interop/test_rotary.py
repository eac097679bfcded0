"""The order of rotated channels in files, and in our parameters."""

import jax
import numpy as np

from sora_jax.interop.rotary import join_pairs, split_pairs
from sora_jax.models import dit
from sora_jax.models.dit_config import DiTConfig

MODEL = DiTConfig(4, width=24, depth=2, heads=4, mlp_dim=8)  # heads of six channels
IN_HALVES = [0, 2, 4, 1, 3, 5]
MOVED = {
    f"blocks/self_attention/{part}"
    for part in ("query/kernel", "query/bias", "key/kernel", "key/bias")
} | {f"blocks/self_attention/{part}_norm/scale" for part in ("query", "key")}


def test_pairs_side_by_side_come_into_halves_for_queries_and_keys_that_rotate():
    params = jax.tree.map(lambda a: np.arange(np.prod(a.shape)).reshape(a.shape), dit.shapes(MODEL))
    moved = set()
    split = split_pairs(params)
    for (path, before), after in zip(
        jax.tree.leaves_with_path(params), jax.tree.leaves(split), strict=True
    ):
        if not np.array_equal(before, after):
            moved.add(jax.tree_util.keystr(path, simple=True, separator="/"))
            np.testing.assert_array_equal(after, before[..., IN_HALVES])
    assert moved == MOVED
    again = join_pairs(split)
    jax.tree.map(np.testing.assert_array_equal, again, params)
