"""Collectives of programs whose communication is known beforehand."""

import jax
import jax.numpy as jnp
import pytest

from sora_jax.scaling import hlo
from sora_jax.sharding import AXES, MeshConfig, P, make_mesh


def program(body, mesh, **specs):
    """HLO of `body` run three times in a loop on float32 of 16 x 16, sharded as named."""
    with jax.set_mesh(mesh):
        inputs = [
            jax.ShapeDtypeStruct((16, 16), jnp.float32, sharding=jax.NamedSharding(mesh, spec))
            for spec in specs.values()
        ]

        def run(x, *rest):
            # Weights that differ by step cannot be gathered before the loop.
            step = lambda x, i: (body(x, *(w * i for w in rest)), None)  # noqa: E731
            return jax.lax.scan(step, x, jnp.arange(3.0))[0]

        return str(jax.jit(run).lower(*inputs).compile().as_text())


BYTES = 16 * 16 * 4
CASES = {
    "all-gather": (
        lambda x, w: jnp.tanh(jnp.einsum("bd,de->be", x, w, out_sharding=P("data", None))),
        {"x": P("data", None), "w": P(None, "fsdp")},
        ("fsdp",),
        BYTES * 3 / 4,
    ),
    "all-reduce": (
        lambda x, w: jnp.tanh(
            jax.sharding.reshard(
                jnp.einsum("bd,de->be", x, w, out_sharding=P(None, None)), P(None, "fsdp")
            )
        ),
        {"x": P(None, "fsdp"), "w": P("fsdp", None)},
        ("fsdp",),
        2 * BYTES * 3 / 4,
    ),
    "all-to-all": (
        lambda x: jnp.tanh(
            jax.sharding.reshard(
                jnp.tanh(jax.sharding.reshard(x, P(None, "fsdp"))), P("fsdp", None)
            )
        ),
        {"x": P("fsdp", None)},
        ("fsdp",),
        2 * BYTES / 4 * 3 / 4,
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_loops_count_as_often_as_they_run(kind):
    body, specs, axes, sent = CASES[kind]
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    found = hlo.collectives(
        program(body, mesh, **specs), dict(zip(AXES, (2, 4, 1, 1), strict=True))
    )
    ours = [c for c in found if (c.kind, c.axes, c.times) == (kind, axes, 3)]
    assert ours and sum(c.sent * c.times for c in ours) == 3 * sent, found


LINE = "  %x = bf16[8,4]{1,0:T(8,128)} KIND(%y), channel_id=1, GROUPS, dimensions={0}"


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("tensor",)),
        ("replica_groups={{0,2},{1,3},{4,6},{5,7}}", ("context",)),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", ("fsdp", "context")),
        ("replica_groups=[4,2]<=[8]", ("tensor",)),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'b'}", ("context",)),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", ("fsdp", "context")),
        ("replica_groups={}", ("fsdp", "context", "tensor")),
        ("source_target_pairs={{0,1},{1,0},{2,3},{3,2}}", ("tensor",)),
        ("source_target_pairs={{0,2},{2,4},{4,6},{6,0}}", ("fsdp", "context")),
    ],
)
def test_groups_are_read_as_axes_of_the_mesh(groups, axes):
    kind = "collective-permute" if "pairs" in groups else "all-gather"
    line = LINE.replace("KIND", kind).replace("GROUPS", groups)
    text = f"HloModule m\n\nENTRY %main (p: bf16[8,4]) -> bf16[8,4] {{\n{line}\n}}\n"
    mesh = dict(zip(AXES, (1, 2, 2, 2), strict=True))
    (found,) = hlo.collectives(text, mesh)
    size = 8 // (2 ** (3 - len(axes)))
    share = 1 if "pairs" in groups else (size - 1) / size
    assert (found.kind, found.axes, found.sent) == (kind, axes, 64 * share)


def test_parts_of_one_collective_count_once():
    part = LINE.replace("KIND", "all-gather").replace("GROUPS", "replica_groups=[4,2]<=[8]")
    text = f"%a (p: f32[]) -> f32[] {{\n{part}\n}}\n\nENTRY %main (p: f32[]) -> f32[] {{\n{part}\n"
    text += "  %f = f32[] fusion(%p), kind=kCustom, calls=%a\n}\n"
    assert len(hlo.collectives(text, {"data": 4, "fsdp": 2})) == 1


def test_a_reduction_fused_with_a_slice_is_a_reduce_scatter():
    """As the TPU compiler writes one: the full sum, of which each chip keeps its part."""
    inner = LINE.replace("KIND", "all-reduce").replace("GROUPS", "replica_groups=[2,4]<=[8]")
    text = f"%all-reduce-scatter.2.clone (p: bf16[8,4]) -> bf16[2,4] {{\n{inner}\n}}\n\n"
    text += "ENTRY %main (p: bf16[8,4]) -> bf16[2,4] {\n"
    text += "  %f = bf16[2,4] fusion(%p), kind=kCustom, calls=%all-reduce-scatter.2.clone\n}\n"
    (found,) = hlo.collectives(text, dict(zip(AXES, (2, 4, 1, 1), strict=True)))
    assert (found.kind, found.axes) == ("reduce-scatter", ("fsdp",))
    assert found.sent == 8 * 4 * 2 * 3 / 4


def test_what_goes_to_the_host_crosses_between_slices():
    line = "  %send = (bf16[32,8]{1,0:T(8,128)}, u32[], token[]) send(%x, %after), channel_id=3, "
    line += 'is_host_transfer=true, frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}'
    text = f"HloModule m\n\nENTRY %main (p: f32[]) -> f32[] {{\n{line}\n}}\n"
    (found,) = hlo.collectives(text, {"data": 4}, slices=2)
    assert found == ("all-reduce", hlo.BETWEEN_SLICES, 2 * 32 * 8 * 2 * 1 / 2, 1)
