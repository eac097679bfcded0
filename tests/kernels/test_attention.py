"""Every backend against the formula, segment by segment; what is dead is never read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.kernels import reference, splash, tiled
from sora_jax.kernels.attention import _append_bias, attention
from sora_jax.kernels.reference import reference_attention
from sora_jax.kernels.splash import splash_attention
from sora_jax.kernels.tiled import tiled_attention

HEADS, WIDTH = 4, 8
ROWS = {  # lengths of segments; what is left of a row is padding
    "one segment": ([512], [512]),
    "mixed": ([40, 128, 1, 215, 100], [3, 300, 128, 7]),
    "many small": ([16] * 30, [31] * 12),
    "mostly padding": ([5], [130, 1]),
}


@pytest.fixture
def blocks(monkeypatch):
    """Several blocks and chunks in short rows."""
    monkeypatch.setattr(splash, "MAX_BLOCK_TOKENS", 128)
    monkeypatch.setattr(reference, "CHUNK_QUERIES", 100)
    monkeypatch.setattr(tiled, "LARGEST_BLOCK", 100)
    monkeypatch.setattr(tiled, "TILE_SCORES", 2 * 100 * 100)  # of two heads at a time


@pytest.fixture(params=[("float32", 1e-5), ("bfloat16", 8e-3)], ids=lambda p: p[0])
def precision(request):
    return request.param


def ids(lengths, total):
    return jnp.repeat(
        jnp.array([*range(1, len(lengths) + 1), 0]), jnp.array([*lengths, total - sum(lengths)])
    )


def tensors(q_segments, kv_segments, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(*segments.shape, HEADS, WIDTH) for segments in (q_segments, *[kv_segments] * 2)]
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def formula(q, k, v, q_segments, kv_segments):
    """Each segment by itself, in float64."""
    out = np.zeros(q.shape)
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    q_segments, kv_segments = np.asarray(q_segments), np.asarray(kv_segments)
    for row, head in np.ndindex(q.shape[0], q.shape[2]):
        for segment in np.unique(q_segments[row]):
            ours, theirs = q_segments[row] == segment, kv_segments[row] == segment
            scores = np.exp(q[row, ours, head] @ k[row, theirs, head].T)
            out[row, ours, head] = scores @ v[row, theirs, head] / scores.sum(1, keepdims=True)
    return out


def gradients(attend, inputs, *segments):
    """Of a sum with fixed random weights, by q, k and v."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=inputs[0].shape), jnp.float32)
    total = lambda *qkv: jnp.sum(attend(*qkv, *segments) * weights)  # noqa: E731
    return jax.jit(jax.grad(total, (0, 1, 2)))(*inputs)


def mesh_of(context):
    kinds = (jax.sharding.AxisType.Explicit,) * 4
    return jax.make_mesh((1, 1, context, 1), sharding.AXES, kinds, devices=jax.devices()[:context])


def near(found, wanted, tolerance=1e-5):
    assert np.abs(np.asarray(found) - wanted).max() <= tolerance * np.abs(wanted).max()


def interpreted(*inputs):
    """The TPU's kernel as plain JAX, traced anew: tests change the size of its blocks."""
    return jax.jit(lambda *inputs: splash_attention(*inputs, interpret=True))(*inputs)


every_backend = pytest.mark.parametrize(
    "attend",
    [reference_attention, tiled_attention, interpreted],
    ids=["reference", "tiled", "splash"],
)


@every_backend
@pytest.mark.parametrize("rows", [("one segment", "mixed"), ("many small", "mostly padding")])
def test_a_row_is_its_segments_each_alone(blocks, attend, rows):
    segments = jnp.stack([ids(ROWS[name][0], 512) for name in rows])
    inputs = tensors(segments, segments)
    near(jax.jit(attend)(*inputs, segments, segments), formula(*inputs, segments, segments))
    whole = lambda q, k, v, a, b: reference._attend(q, k, v, a, b)  # noqa: E731
    wanted = gradients(whole, inputs, segments, segments)
    for found, right in zip(gradients(attend, inputs, segments, segments), wanted, strict=True):
        near(found, right)


@every_backend
def test_keys_may_be_other_tokens_of_the_same_segments(blocks, attend):
    """As text, of lengths that are no multiple of a block; both rows have text of padding."""
    q_segments = jnp.stack([ids([250, 7, 100], 410), ids([410], 410)])
    kv_segments = jnp.stack([ids([5, 190, 20], 230), ids([9], 230)])
    q, k, v = tensors(q_segments, kv_segments)
    near(
        jax.jit(attend)(q, k, v, q_segments, kv_segments), formula(q, k, v, q_segments, kv_segments)
    )
    found = gradients(attend, (q, k, v), q_segments, kv_segments)
    wanted = gradients(reference._attend, (q, k, v), q_segments, kv_segments)
    for one, right in zip(found, wanted, strict=True):
        near(one, right)
        assert not np.asarray(one)[1, 9:].any() or one.shape[1] == 410  # no query wants them


def test_a_bias_of_log_n_makes_a_key_count_n_times(precision):
    dtype, tolerance = precision
    segments, kv_segments = ids([6], 7)[None], ids([3], 4)[None]
    q, k, v = (x.astype(dtype) for x in tensors(segments, kv_segments))
    bias = jnp.log(jnp.array([[1.0, 1.0, 500.0, 1.0]]))
    ones, columns = (np.asarray(x, np.float64)[..., WIDTH:] for x in _append_bias(q, k, bias))
    np.testing.assert_allclose((ones[:, :1] * columns).sum(-1)[..., 0], bias, atol=1e-6)
    times = jnp.array([0, 1, *[2] * 500, 3])
    with jax.set_mesh(mesh_of(1)):
        found = attention(q, k, v, segments, kv_segments, bias)
        wanted = attention(q, k[:, times], v[:, times], segments, kv_segments[:, times])
    near(found.astype(jnp.float32), np.asarray(wanted, np.float32), tolerance)


def test_splash_never_reads_blocks_of_other_segments(blocks):
    """NaN in segments that share no block with the others reach neither output nor gradients."""
    segments = ids([256, 128, 256], 768)[None]
    kv_segments = ids([128, 256, 128], 768)[None]
    q, k, v = tensors(segments, kv_segments)
    bad = [x.at[0, s == 2].set(jnp.nan) for x, s in ((q, segments[0]), (k, kv_segments[0]))]
    bad.append(v.at[0, kv_segments[0] == 2].set(jnp.nan))
    clean = [
        interpreted(q, k, v, segments, kv_segments),
        *gradients(interpreted, (q, k, v), segments, kv_segments),
    ]
    found = [
        interpreted(*bad, segments, kv_segments),
        *gradients(interpreted, bad, segments, kv_segments),
    ]
    for x, y, s in zip(clean, found, [segments[0]] * 2 + [kv_segments[0]] * 2, strict=True):
        np.testing.assert_array_equal(x[0, s != 2], y[0, s != 2])
        assert np.isnan(y[0, s == 2]).any()


@pytest.mark.parametrize(("count", "length"), [(2, 64), (2, 256), (8, 64)])
def test_a_cpu_never_reads_blocks_of_other_segments(count, length):
    """Blocks are as short as many segments want them: NaN in one of them reaches no other."""
    segments = ids([length] * count, length * (count + 1))[None]
    inputs = tensors(segments, segments)
    bad = [jnp.where(segments[..., None, None] == 2, jnp.nan, x) for x in inputs]
    attend = lambda *inputs: attention(*inputs, max_segments=count)  # noqa: E731
    with jax.set_mesh(mesh_of(1)):
        clean = [attend(*inputs, segments, segments)]
        clean += gradients(attend, inputs, segments, segments)
        found = [attend(*bad, segments, segments), *gradients(attend, bad, segments, segments)]
    for x, y in zip(clean, found, strict=True):
        np.testing.assert_array_equal(x[segments != 2], y[segments != 2])
        assert np.isnan(y[segments == 2]).all()


@pytest.mark.parametrize(("queries", "keys"), [(200, 150), (30, 5)])
def test_segments_need_no_order_and_values_no_width_on_a_cpu(blocks, precision, queries, keys):
    dtype, tolerance = precision
    rng = np.random.default_rng(0)
    segments = jnp.asarray(rng.integers(0, 4, (2, queries)), jnp.int32)
    kv_segments = jnp.asarray(rng.integers(0, 4, (2, keys)), jnp.int32).at[:, :4].set(jnp.arange(4))
    q, k, v = (x.astype(dtype) for x in tensors(segments, kv_segments))
    inputs = q, k, jnp.concatenate([v, v[..., :3]], -1)

    def results(attend):
        out, pull = jax.vjp(lambda *qkv: attend(*qkv, segments, kv_segments), *inputs)
        return out, *pull(out)

    for one, right in zip(results(tiled_attention), results(reference._attend), strict=True):
        assert one.dtype == dtype
        near(one.astype(jnp.float32), np.asarray(right, np.float32), 2 * tolerance)


def test_a_block_of_queries_without_keys_is_finite_on_a_cpu(blocks):
    """Padding of a row whose text is full."""
    segments, kv_segments = ids([200], 400)[None], ids([200], 200)[None]
    inputs = tensors(segments, kv_segments)
    out = tiled_attention(*inputs, segments, kv_segments)
    assert not np.asarray(out)[0, 200:].any()
    found = gradients(tiled_attention, inputs, segments, kv_segments)
    assert all(np.isfinite(x).all() for x in found) and not np.asarray(found[0])[0, 200:].any()


def test_a_block_without_keys_gives_zero_and_no_gradient(blocks):
    segments, kv_segments = ids([128], 256)[None], ids([128], 128)[None]
    inputs = tensors(segments, kv_segments)
    out = interpreted(*inputs, segments, kv_segments)
    assert not np.asarray(out)[0, 128:].any()
    for found in gradients(interpreted, inputs, segments, kv_segments):
        assert np.isfinite(found).all()


def test_visits_follow_the_squares_of_the_lengths():
    """16,384 tokens in blocks of 512: the visits are those of the live pairs, not all 1,024."""

    def visits(lengths):
        segments = splash._ids(ids(lengths, 16_384)[None], 512)
        return int(splash.live_blocks(segments, segments, 512, 512).sum())

    assert visits([16_384]) == 32**2
    assert visits([8_192] * 2) == 2 * 16**2
    assert visits([512] * 32) == 32
    assert visits([1_000] * 16) <= 16 * 3**2 + 2  # lengths that straddle
    short = visits([64] * 256)
    assert short == 32  # many in a block cost one


def test_lists_name_the_blocks_that_are_live():
    segments = splash._ids(ids([128, 256, 100], 512)[None], 128)
    found = splash._visit_lists(splash.live_blocks(segments, segments, 128, 128))
    block, counts = np.asarray(found.data_next)[0], np.asarray(found.block_mask)[0]
    assert counts.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    # What is passed over loads nothing new.
    assert block.tolist() == [[0] * 4, [1, 2, 2, 2], [1, 2, 2, 2], [3] * 4]


def test_long_rows_are_right_without_lists(blocks, monkeypatch):
    """Where the lists do not fit, every block is visited and masked; rows go one by one."""
    segments = jnp.stack([ids(ROWS[name][0], 512) for name in ("mixed", "many small")])
    inputs = tensors(segments, segments)
    monkeypatch.setattr(splash, "MAX_LISTED_BLOCKS", 15)
    near(interpreted(*inputs, segments, segments), formula(*inputs, segments, segments))


def test_keys_that_are_cut_are_refused():
    """They would be attended to on their own device only."""
    with jax.set_mesh(mesh_of(2)):
        segments = jnp.ones((1, 8), jnp.int32)
        q, k, v = tensors(segments, segments)
        cut = jax.sharding.reshard(k, jax.P(None, "context", None, None))
        with pytest.raises(ValueError, match="keys are cut over context: reshard them"):
            attention(q, cut, v, segments, segments)
