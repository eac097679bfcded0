"""Patches: cutting and putting back, positions, rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_jax.patches import grid_positions, patchify, unpatchify
from sora_jax.rows import make_segment, pack_row

SIZE = st.integers(1, 4)


@given(st.tuples(SIZE, SIZE, SIZE), st.tuples(SIZE, SIZE, SIZE), SIZE)
def test_unpatchify_inverts_patchify(grid, patch, channels):
    shape = [g * p for g, p in zip(grid, patch, strict=True)]
    latent = np.random.default_rng(0).normal(size=(*shape, channels)).astype(np.float32)
    patches = patchify(latent, patch)
    np.testing.assert_array_equal(unpatchify(patches, grid, patch), latent)
    # One patch, cut by hand: the last one.
    corner = latent[-patch[0] :, -patch[1] :, -patch[2] :]
    np.testing.assert_array_equal(patches[-1], corner.reshape(-1))


def test_patchify_names_the_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="3x4x4 do not divide into patches of 2x2x2"):
        patchify(np.zeros((3, 4, 4, 1), np.float32), (2, 2, 2))


def test_time_positions_count_frames_at_16_fps():
    at_8 = grid_positions((3, 1, 1), 1, 8.0)
    at_16 = grid_positions((3, 1, 1), 1, 16.0)
    np.testing.assert_array_equal(at_16[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(at_8[:, 0], [0, 2, 4])  # half as many frames in a second


def test_a_row_holds_its_segments_in_order_and_padding_is_segment_0():
    rng = np.random.default_rng(0)
    latents = [rng.normal(size=(t, 4, 2, 3)).astype(np.float32) for t in (1, 2)]
    segments = [make_segment(z, 8.0, [5, 6], (1, 2, 2), 1.0) for z in latents]
    row = pack_row(segments, (10, 6, 3), 12)
    np.testing.assert_array_equal(row.segment_ids, [1, 1, 2, 2, 2, 2, 0, 0, 0, 0])
    np.testing.assert_array_equal(row.text_segment_ids, [1, 1, 2, 2, 0, 0])
    np.testing.assert_array_equal(row.weights, [2, 4, 0])
    np.testing.assert_array_equal(row.patches[2:6], patchify(latents[1], (1, 2, 2)))
    assert not row.patches[6:].any()
    # Rows to go to the clip's last: 1 and 0 in a frame of two rows; frames are 2 positions apart.
    np.testing.assert_array_equal(row.remaining[:2, 1], [1, 0])
    np.testing.assert_array_equal(row.remaining[2:6, 0], [2, 2, 0, 0])
    assert not row.remaining[6:].any()
