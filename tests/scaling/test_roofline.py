"""Least times from a program's counts, on figures that a head can follow."""

import types

import jax
import pytest

from sora_jax.scaling.chips import Chip
from sora_jax.scaling.hlo import Collective
from sora_jax.scaling.roofline import hbm_bytes, roofline

CHIP = Chip("v0", flops=10.0, hbm=64.0, hbm_bandwidth=4.0, axis_bandwidth=2.0, network=0.5)
MEMORY = types.SimpleNamespace(
    argument_size_in_bytes=5,
    output_size_in_bytes=7,
    alias_size_in_bytes=4,
    temp_size_in_bytes=6,
)


def times(slices, *found):
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"))
    return roofline(CHIP, mesh, slices, 800.0, MEMORY, list(found))


def test_what_a_program_holds_counts_shared_buffers_once():
    assert hbm_bytes(MEMORY)["total"] == 5 + 7 + 6 - 4


def test_work_and_memory_are_each_chips_share():
    assert times(1) == {"compute": 800 / 8 / 10, "memory": (5 + 7 + 2 * 6) / 4}


@pytest.mark.parametrize(
    ("axes", "group"), [(("data",), (0, 2, 4, 6)), (("data", "fsdp"), range(8))]
)
def test_only_one_share_of_a_reduction_crosses_between_slices(axes, group):
    """An all-reduce of B over n chips sends 2 B (n - 1) / n a chip. By hand, for two slices: reduce
    and gather among the n / 2 of a slice, and between them an all-reduce of B / (n / 2)."""
    size, chips = 96.0, len(group)
    inner = chips / 2
    found = times(
        2, Collective("all-reduce", axes, 2 * size * (chips - 1) / chips, 3, tuple(group))
    )
    within = 2 * size * (inner - 1) / inner
    between = 2 * (size / inner) * (2 - 1) / 2
    assert found["network"] == pytest.approx(3 * between / 0.5)
    assert found[f"links {'+'.join(axes)}"] == pytest.approx(3 * within / 2)


def test_groups_within_a_slice_do_not_cross_and_pairs_between_slices_do():
    within = Collective("all-gather", ("data",), 10.0, 2, (0, 2))
    assert times(2, within) == times(1, within)
    assert times(1, within)["links data"] == 2 * 10 / 2
    pair = within._replace(group=(2, 6))
    assert times(2, pair)["network"] == 2 * 10 / 0.5 and times(2, pair)["links data"] == 0
