"""What cuDNN is asked for, without a GPU: a stand-in follows JAX's description of its arguments.

`experiments.benchmarks.gpu` compares the kernel itself with the reference where there is a GPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as fused

from sora_jax import sharding
from sora_jax.kernels import attention as entry
from sora_jax.kernels import cudnn
from sora_jax.kernels.reference import reference_attention
from sora_jax.sharding import P
from tests.kernels.test_attention import formula, gradients, ids, near, tensors


@jax.custom_vjp
def unwritten(x, visited):
    """x, whose gradient is NaN where the kernel does not come."""
    return x


unwritten.defvjp(
    lambda x, visited: (x, visited),
    lambda visited, pull: (jnp.where(visited[..., None, None], pull, jnp.nan), None),
)


def stand_in(q, k, v, *, q_seqlen, kv_seqlen, q_offsets, kv_offsets, mask_type):
    """Attention within the spans that starts and lengths name; NaN in all that is not written."""
    assert mask_type == fused.MaskType.PADDING and q_offsets.shape[1] == q_seqlen.shape[1] + 1
    spans = np.zeros(q.shape[:2], int), np.zeros(k.shape[:2], int)  # 0 in none
    for row, number in np.ndindex(q_seqlen.shape):
        sizes = q_seqlen[row, number], kv_seqlen[row, number]
        starts = q_offsets[row, number], kv_offsets[row, number]
        assert len({int(x) < 0 for x in (*sizes, *starts)}) == 1  # absent in all four or in none
        if sizes[0] >= 0:
            for span, start, size in zip(spans, starts, sizes, strict=True):
                own = span[row, int(start) : int(start + size)]
                assert len(own) == size and not own.any()  # within the row, and no other's
                own[:] = number + 1
    q, k, v = (unwritten(x, jnp.asarray(spans[i] > 0)) for x, i in ((q, 0), (k, 1), (v, 1)))
    same = jnp.asarray((spans[0][:, :, None] == spans[1][:, None]) & (spans[0] > 0)[:, :, None])
    scores = jnp.where(same[:, None], jnp.einsum("bqnk,bvnk->bnqv", q, k), -1e30)
    out = jnp.einsum("bnqv,bvnk->bqnk", jax.nn.softmax(scores, -1), v)
    return jnp.where(jnp.asarray(spans[0] > 0)[..., None, None], out, jnp.nan)


@pytest.fixture
def stood_in(monkeypatch):
    monkeypatch.setattr(fused, "dot_product_attention", stand_in)


CASES = {  # lengths of the segments of queries and of keys, for two rows each
    "within": ([[40, 3, 21], [64]], [[40, 3, 21], [64]], 64, 64),
    "padding": ([[9], [30, 7, 1, 2]], [[9], [30, 7, 1, 2]], 64, 64),
    "across": ([[40, 20], [5, 6, 7]], [[3, 9], [1, 10, 4]], 60, 16),
}


@pytest.mark.parametrize("case", CASES)
def test_each_segment_is_found_and_what_is_not_written_is_not_read(stood_in, case):
    q_rows, kv_rows, length, kv_length = CASES[case]
    q_segments = jnp.stack([ids(row, length) for row in q_rows])
    kv_segments = jnp.stack([ids(row, kv_length) for row in kv_rows])
    inputs = tensors(q_segments, kv_segments)
    live = np.asarray(q_segments)[..., None, None] > 0

    def attend(q, k, v, q_ids, kv_ids):
        return cudnn.cudnn_attention(q, k, v, q_ids, kv_ids, max_segments=5)

    found = np.asarray(attend(*inputs, q_segments, kv_segments))
    # The formula gives padding a mean over padding, which may be empty.
    with np.errstate(invalid="ignore"):
        wanted = formula(*inputs, q_segments, kv_segments)
    near(found, np.where(live, wanted, 0))

    def masked(q, k, v, q_ids, kv_ids):
        return jnp.where(live, reference_attention(q, k, v, q_ids, kv_ids), 0)

    wanted = gradients(masked, inputs, q_segments, kv_segments)
    with jax.disable_jit():  # the stand-in reads starts and lengths
        found = gradients(attend, inputs, q_segments, kv_segments)
    for one, right in zip(found, wanted, strict=True):
        near(one, right)


@pytest.mark.parametrize("mesh", [(1, 1, 1, 1), (2, 1, 2, 2)], ids=str)
def test_the_packed_kernel_is_what_a_gpu_gets_both_ways(monkeypatch, mesh):
    monkeypatch.setattr(entry, "platform", lambda: "gpu")
    monkeypatch.setattr(cudnn, "_compute_capability", lambda: (9, 0))
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(fused, "check_compute_capability", lambda wanted: True)
    monkeypatch.setattr(fused, "is_cuda_compute_capability_equal", lambda wanted: False)
    devices = np.array(jax.devices()[: int(np.prod(mesh))]).reshape(mesh)
    explicit = (jax.sharding.AxisType.Explicit,) * 4
    with jax.set_mesh(jax.sharding.Mesh(devices, sharding.AXES, axis_types=explicit)) as _:
        here = jax.sharding.get_mesh()

        def like(shape, dtype, spec):
            return jax.ShapeDtypeStruct(shape, dtype, sharding=jax.NamedSharding(here, spec))

        x = like((2, 256, 4, 64), jnp.bfloat16, sharding.SHARDING.attn_blnk)
        segments = like((2, 256), jnp.int32, P(sharding.BATCH, None))

        def total(q, k, v, segments, max_segments=3):
            out = entry.attention(q, k, v, segments, segments, max_segments=max_segments)
            return jnp.sum(out.astype(jnp.float32))

        def program(function):
            traced = jax.jit(function).trace(x, x, x, segments)
            return traced.lower(lowering_platforms=("cuda",)).as_text()

        text = program(jax.grad(total, (0, 1, 2)))
        for name in ("fmhaSoftmax(", "fmhaSoftmaxBackward("):
            (call,) = (line for line in text.splitlines() if f"@__cudnn${name}" in line)
            assert "max_seg_per_batch\\22: 3" in call and "PADDING" in call
        # One segment at most is no other layout.
        one = program(lambda *a: total(*a, max_segments=1))
        assert "max_seg_per_batch\\22: 2" in one and "PADDING" in one
        # Where the number of segments is not known, the reference.
        assert "__cudnn" not in program(lambda *a: total(*a, max_segments=None))


def test_what_cudnn_does_not_take_gets_the_reference(monkeypatch):
    monkeypatch.setattr(cudnn, "_compute_capability", lambda: (9, 0))
    half = jnp.zeros((1, 8, 2, 64), jnp.bfloat16)
    assert cudnn.supports(half, half)
    assert not cudnn.supports(half.astype(jnp.float32), half.astype(jnp.float32))
    assert not cudnn.supports(half[..., :60], half[..., :60])
    assert not cudnn.supports(jnp.zeros((1, 8, 2, 72), jnp.bfloat16), half)  # a bias' columns
    monkeypatch.setattr(cudnn, "_compute_capability", lambda: (8, 0))
    assert not cudnn.supports(half, half)
