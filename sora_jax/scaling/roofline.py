"""Costs of a compiled program: memory, communication, and lower bounds of its time (a roofline).

    compute    operations that are run, repeated ones too / peak
    memory     (arguments + outputs + 2 temporaries) / bandwidth
    links      bytes a chip sends in its slice / bandwidth of one torus axis, by axes of the mesh
    network    bytes a chip sends between slices / bandwidth

A mesh axis that winds through several axes of the torus has the bandwidth of all of them: links may
then be faster.
"""

from typing import Any

from sora_jax.scaling import hlo
from sora_jax.scaling.chips import Chip


def hbm_bytes(memory: Any) -> dict[str, int]:
    """Bytes of a chip's memory by use, from a compiled program's `memory_analysis()`."""
    sizes = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    return sizes | {"total": sum(sizes.values()) - 2 * sizes["aliased"]}


def sum_collectives(collectives: list[hlo.Collective]) -> list[dict[str, Any]]:
    """Sums collectives by kind and mesh axes: number per step, and bytes that a chip sends."""
    groups: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for one in collectives:
        count_and_bytes = groups.setdefault((one.kind, one.axes), [0, 0.0])
        count_and_bytes[0] += one.times
        count_and_bytes[1] += one.times * one.sent
    return [
        {"kind": kind, "axes": list(axes), "count": int(count), "bytes": sent}
        for (kind, axes), (count, sent) in sorted(groups.items(), key=lambda item: -item[1][1])
    ]


def roofline(
    chip: Chip,
    chips: int,
    operations: float,
    memory: Any,
    collectives: list[hlo.Collective],
) -> dict[str, float]:
    """Minimum seconds of a step by resource; links by the mesh axes that use them.

    Args:
      chips: number of chips.
      operations: floating-point operations that a step runs on all chips, repeated ones too.
      memory: the program's `memory_analysis()`.
    """
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
    times = {
        "compute": operations / chips / chip.flops,
        "memory": (moved + 2 * memory.temp_size_in_bytes) / chip.hbm_bandwidth,
    }
    for one in collectives:
        between = one.axes == hlo.BETWEEN_SLICES
        name = "network" if between else f"links {'+'.join(one.axes) or 'none'}"
        bandwidth = chip.network if between else chip.axis_bandwidth
        times[name] = times.get(name, 0.0) + one.times * one.sent / bandwidth
    return times


def mfu_bound(chip: Chip, chips: int, useful: float, times: dict[str, float]) -> float:
    """Maximum MFU (arXiv:2204.02311, B): useful operations over peak times the minimum time.

    Args:
      chips: number of chips.
      useful: floating-point operations of a step on all chips, without repeated ones.
      times: seconds of `roofline`.
    """
    return useful / chips / chip.flops / max(times.values())
