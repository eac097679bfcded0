"""Least times from a program's counts, on figures that a head can follow."""

import types

from sora_jax.scaling.chips import Chip
from sora_jax.scaling.hlo import BETWEEN_SLICES, Collective
from sora_jax.scaling.roofline import hbm_bytes, mfu_bound, roofline

CHIP = Chip("v0", flops=10.0, hbm=64.0, hbm_bandwidth=4.0, axis_bandwidth=2.0, network=0.5)
MEMORY = types.SimpleNamespace(
    argument_size_in_bytes=5,
    output_size_in_bytes=7,
    alias_size_in_bytes=4,
    temp_size_in_bytes=6,
)


def times(*found):
    return roofline(CHIP, 8, 800.0, MEMORY, list(found))


def test_what_a_program_holds_counts_shared_buffers_once():
    assert hbm_bytes(MEMORY)["total"] == 5 + 7 + 6 - 4


def test_work_and_memory_are_each_chips_share():
    assert times() == {"compute": 800 / 8 / 10, "memory": (5 + 7 + 2 * 6) / 4}


def test_axes_have_their_links_and_slices_the_network():
    within = Collective("all-gather", ("data",), 10.0, 2)
    between = Collective("all-reduce", BETWEEN_SLICES, 12.0, 3)
    found = times(within, within, between)
    assert (found["links data"], found["network"]) == (2 * 2 * 10 / 2, 3 * 12 / 0.5)


def test_mfu_counts_neither_what_is_repeated_nor_what_is_waited_for():
    """Of 800 operations 200 are repeated: 10 s for all, 7.5 s for the others, 80 a second."""
    assert mfu_bound(CHIP, 8, 600.0, times()) == 600 / 800
    between = Collective("all-reduce", BETWEEN_SLICES, 10.0, 2)  # 40 s
    assert mfu_bound(CHIP, 8, 600.0, times(between)) == 7.5 / 40
