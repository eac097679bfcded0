"""Guidance of packed rows: its scale, the interval of levels, and the deviation that is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion.guidance import Guidance, guide
from sora_jax.rows import batch_specs, make_segment, pack_row, stack_rows
from sora_jax.sharding import shard

pytestmark = pytest.mark.usefixtures("one_device")

SIZES = (4, 6)
TOKENS, WIDTH = 12, 3
LEVEL = 0.6


@pytest.fixture
def row(one_device):
    """A row of two segments and two tokens of padding; x and both velocities; levels."""
    rng = np.random.default_rng(0)
    segments = [
        make_segment(np.zeros((1, 1, n, WIDTH), np.float32), 8.0, [1], (1, 1, 1)) for n in SIZES
    ]
    batch = stack_rows([pack_row(segments, (TOKENS, 4, 2), WIDTH)], 1)
    batch.known[0, 9] = True
    x, conditional, unconditional = rng.normal(size=(3, 1, TOKENS, WIDTH)).astype(np.float32)
    level = np.where((batch.segment_ids > 0) & ~batch.known, LEVEL, 0)[..., None]
    specs = batch_specs()
    return shard(
        (batch, x, level.astype(np.float32), conditional, unconditional),
        (specs, *[specs.patches] * 4),
    )


def velocity(row, **settings):
    batch, x, level, *velocities = row
    return np.asarray(jax.jit(guide)(Guidance(**settings), batch, x, level, *velocities))


def test_scale_one_is_the_conditional_and_more_goes_beyond(row):
    conditional, unconditional = map(np.asarray, row[3:])
    np.testing.assert_allclose(velocity(row), conditional, atol=1e-6)
    moved = velocity(row, scale=3.0) - conditional
    np.testing.assert_allclose(moved, 2 * (conditional - unconditional), atol=1e-5)


@pytest.mark.parametrize(("lowest", "highest"), [(0.7, 1.0), (0.0, 0.5)])
def test_outside_of_its_interval_there_is_none(row, lowest, highest):
    conditional = np.asarray(row[3])
    found = velocity(row, scale=3.0, lowest=lowest, highest=highest)
    guided = np.asarray(row[2])[..., 0] > 0
    np.testing.assert_allclose(found[guided], conditional[guided], atol=1e-6)
    inside = velocity(row, scale=3.0, lowest=0.5, highest=0.7)
    np.testing.assert_allclose(inside[guided], velocity(row, scale=3.0)[guided])


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_clean_predictions_keep_the_deviation_of_the_conditional(row, share):
    x, _, conditional, _ = (np.asarray(a)[0] for a in row[1:])
    plain = velocity(row, scale=4.0)[0]
    found = velocity(row, scale=4.0, rescale=share)[0]
    for tokens in (slice(0, 4), slice(4, 9)):  # of the second segment, the last one is known
        x0 = {
            name: x[tokens] - LEVEL * v[tokens]
            for name, v in (("conditional", conditional), ("plain", plain), ("found", found))
        }
        ratio = x0["conditional"].std() / x0["plain"].std()
        np.testing.assert_allclose(
            x0["found"], x0["plain"] * (1 - share + share * ratio), rtol=1e-4
        )
    np.testing.assert_allclose(found[9:], plain[9:])


def test_equal_predictions_need_no_rescaling(row):
    batch, x, level, *_ = row
    flat, still = jnp.full_like(x, 0.5), jnp.zeros_like(x)  # x0 is 0.5, of deviation 0
    found = np.asarray(guide(Guidance(2.0, rescale=1.0), batch, flat, level, still, still))
    np.testing.assert_array_equal(found, still)


def test_guided_velocities_are_sharded_as_patches_are(row):
    batch, x, level, *velocities = row
    found = jax.jit(guide)(Guidance(2.0, rescale=0.5), batch, x, level, *velocities)
    assert found.sharding.spec == x.sharding.spec
