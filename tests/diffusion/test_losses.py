"""How much a clip and an image count in the loss."""

import jax
import numpy as np
import pytest

from sora_jax.diffusion.losses import (
    LEVEL_BINS,
    level_sums,
    packed_loss,
    segment_errors,
    size_bins,
    size_sums,
)
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


def sums_of(function):
    """`function` of the errors of segments whose outputs are off by so much, and of their batch."""

    def sums(error, batch):
        return function(segment_errors(error, jax.numpy.zeros_like(error), batch), batch)

    return sums


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
    sums = np.asarray(jax.jit(sums_of(level_sums))(error, batch))
    expected = np.zeros((2, LEVEL_BINS))
    for number, level in enumerate(levels, 1):
        tokens = row.segment_ids == number
        quarter = min(int(level * 4), 3)
        expected[0, quarter] += tokens.sum() * (error[0, tokens] ** 2).mean()
        expected[1, quarter] += tokens.sum()
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    assert sums[1, 1] == 0 and all(sums[1, [0, 2, 3]])


@pytest.mark.parametrize(
    ("tokens", "bins"),
    [
        (1, [(1, 1)]),
        (12, [(1, 1), (2, 3), (4, 7), (8, 12)]),
        (64, [(1, 3), (4, 7), (8, 15), (16, 31), (32, 63), (64, 64)]),
        (3000, [(1, 127), (128, 255), (256, 511), (512, 1023), (1024, 2047), (2048, 3000)]),
    ],
)
def test_sizes_are_told_in_octaves_up_to_a_full_row(tokens, bins):
    assert size_bins(tokens) == bins


@pytest.mark.usefixtures("one_device")
def test_the_loss_is_told_by_number_of_tokens():
    """Patches that are known belong to a clip's size, and not to its error."""
    rng = np.random.default_rng(0)
    rows = []
    for sizes in ([(1, 4, 4), (1, 8, 8), (2, 4, 4)], [(1, 2, 2), (7, 4, 4)]):
        segments = [
            make_segment(np.zeros((*size, 2), np.float32), 8.0, [1], (1, 2, 2), 0.5)
            for size in sizes
        ]
        rows.append(pack_row(segments, (40, 8, 4), 8))
    batch = PackedBatch(*(np.stack(field) for field in zip(*rows, strict=True)))
    batch.known[1, 1:11] = True  # of the segment of 28
    error = rng.normal(size=batch.patches.shape).astype(np.float32)
    expected = {bounds: [0.0, 0.0] for bounds in ((1, 1), (2, 3), (4, 7), (8, 15), (16, 31))}
    expected[32, 40] = [0.0, 0.0]
    for row, number, size in ((0, 1, 4), (0, 2, 16), (0, 3, 8), (1, 1, 1), (1, 2, 28)):
        tokens = batch.segment_ids[row] == number
        assert tokens.sum() == size
        (bounds,) = (b for b in expected if b[0] <= size <= b[1])
        unknown = tokens & ~batch.known[row]
        expected[bounds][0] += size**0.5 * (error[row, unknown] ** 2).mean()
        expected[bounds][1] += size**0.5
    sums = jax.jit(sums_of(size_sums))(error, batch)
    np.testing.assert_allclose(sums, np.transpose(list(expected.values())), rtol=1e-5)
