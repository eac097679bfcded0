"""How much a clip and an image count in the loss."""

import jax
import numpy as np
import pytest

from sora_jax.diffusion.losses import LEVEL_BINS, level_sums, packed_loss
from sora_jax.rows import PackedBatch, make_segment, pack_row


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("segment_weight_exponent", [0.0, 0.5, 1.0])
def test_a_long_clip_and_an_image_count_as_configured(segment_weight_exponent):
    rng = np.random.default_rng(0)
    segments = [
        make_segment(np.zeros((*size, 2), np.float32), 8.0, [1], (1, 2, 2), segment_weight_exponent)
        for size in ((1, 4, 4), (9, 4, 4))
    ]
    row = pack_row(segments, (48, 4, 3), 8)
    batch = PackedBatch(*(field[None] for field in row))
    error = rng.normal(size=batch.patches.shape).astype(np.float32)
    found = jax.jit(packed_loss)(error, np.zeros_like(error), batch)
    squares = (error**2).mean(-1)[0]
    image, clip = squares[:4], squares[4:40]
    n, m = 4**segment_weight_exponent, 36**segment_weight_exponent
    np.testing.assert_allclose(found, (n * image.mean() + m * clip.mean()) / (n + m), rtol=1e-5)
    if segment_weight_exponent == 1:  # every patch counts alike
        np.testing.assert_allclose(found, squares[:40].mean(), rtol=1e-5)
    if segment_weight_exponent == 0:  # every segment does
        np.testing.assert_allclose(found, (image.mean() + clip.mean()) / 2, rtol=1e-5)


@pytest.mark.usefixtures("one_device")
def test_the_loss_is_told_by_noise_level():
    rng = np.random.default_rng(0)
    sizes, levels = [(1, 4, 4), (3, 4, 4), (1, 4, 8), (1, 4, 4)], [0.1, 0.6, 0.74, 1.0]
    segments = [
        make_segment(np.zeros((*size, 2), np.float32), 8.0, [1], (1, 2, 2), 1.0) for size in sizes
    ]
    row = pack_row(segments, (48, 8, 5), 8)
    table = row.levels.copy()
    table[1:5] = levels
    batch = PackedBatch(*(field[None] for field in row._replace(levels=table)))
    error = rng.normal(size=batch.patches.shape).astype(np.float32)
    sums = np.asarray(jax.jit(level_sums)(error, np.zeros_like(error), batch))
    expected = np.zeros((2, LEVEL_BINS))
    for number, level in enumerate(levels, 1):
        tokens = row.segment_ids == number
        quarter = min(int(level * 4), 3)
        expected[0, quarter] += tokens.sum() * (error[0, tokens] ** 2).mean()
        expected[1, quarter] += tokens.sum()
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    assert sums[1, 1] == 0 and all(sums[1, [0, 2, 3]])
