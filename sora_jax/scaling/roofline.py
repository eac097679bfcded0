"""What a compiled program takes of its chips: memory, communication, and the least time.

Times are a roofline, not forecasts:

    compute    useful operations / peak           network    bytes sent between slices / bandwidth
    memory     (arguments + outputs + 2 temporaries) / bandwidth
    links      bytes a chip sends on its slice / bandwidth of one torus axis, by axes of the mesh

A mesh axis that winds through several axes of the torus has the bandwidth of all: links may then be
faster.
"""

from typing import Any

from sora_jax.scaling import hlo
from sora_jax.scaling.chips import Chip


def hbm_bytes(memory: Any) -> dict[str, int]:
    """Bytes of a chip's memory by kind, of a compiled program's `memory_analysis()`."""
    found = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    return found | {"total": sum(found.values()) - 2 * found["aliased"]}


def summed(found: list[hlo.Collective]) -> list[dict[str, Any]]:
    """Collectives by kind and axes of the mesh: how many a step, and bytes that a chip sends."""
    groups: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for one in found:
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
    useful: float,
    memory: Any,
    found: list[hlo.Collective],
) -> dict[str, float]:
    """Least seconds of a step, by what is used up; links by the axes that share them."""
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
    times = {
        "compute": useful / chips / chip.flops,
        "memory": (moved + 2 * memory.temp_size_in_bytes) / chip.hbm_bandwidth,
    }
    for one in found:
        between = one.axes == hlo.BETWEEN
        name = "network" if between else f"links {'+'.join(one.axes) or 'none'}"
        bandwidth = chip.network if between else chip.axis_bandwidth
        times[name] = times.get(name, 0.0) + one.times * one.sent / bandwidth
    return times
