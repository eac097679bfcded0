"""Collectives of a compiled program, read from its HLO text.

Bytes that a chip sends for a result of B bytes, in a group of n chips (ring algorithms):

    all-gather      B (n - 1) / n        all-to-all          B (n - 1) / n
    reduce-scatter  B (n - 1)            collective-permute  B
    all-reduce      2 B (n - 1) / n

The body of a loop counts as often as it runs. Parts of one collective that the compiler spreads
over several fusions share a channel and count once.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

BETWEEN_SLICES = ("slices",)
COLLECTIVE_KINDS = (
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "all-to-all",
    "collective-permute",
)
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVE_KINDS)})(-start)?\(")
_BETWEEN_SLICES = re.compile(r"= \((\w+\[[\d,]*\]).* send\(.*_megascale_transfer_type=\"(\w+)\"")
_WHILE = re.compile(r"\bwhile\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|to_apply|branch_computations)=\{?((?:%?[\w.\-]+(?:, )?)+)")
_SHAPE = re.compile(r"\b(pred|[su]\d+|f\d+\w*|bf16)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One collective of a program.

    A collective between slices has the axes `BETWEEN_SLICES`: the TPU compiler reduces or gathers
    within each slice first, then hands the result to the host (`send`), in a group with one member
    for each slice.

    Attributes:
      kind: one of `COLLECTIVE_KINDS`.
      axes: axes of the mesh that it spans.
      sent: bytes that a chip sends each time.
      times: number of times that it runs in a step.
    """

    kind: str
    axes: tuple[str, ...]
    sent: float
    times: int


def collectives(text: str, mesh: Mapping[str, int], slices: int = 1) -> list[Collective]:
    """Reads all collectives of a program.

    Args:
      text: its HLO, of `compiled.as_text()`.
      mesh: axes and sizes of the mesh that it was compiled for.
      slices: number of slices of that mesh.
    """
    by_channel: dict[str, Collective] = {}
    for name, lines, times in scheduled(text):
        for i, line in enumerate(lines):
            if send := _BETWEEN_SLICES.search(line):
                kind = send[2].lower().replace("_", "-")
                sent = _bytes_sent(kind, send[1], slices)
                by_channel[line] = Collective(kind, BETWEEN_SLICES, sent, times)
            if not (match := _COLLECTIVE.search(line)):
                continue
            channel = re.search(r"channel_id=(\d+)", line)
            key = channel[1] if channel else f"{name} {i}"
            kind, group = match[2], _group(line, mesh)
            sent = _bytes_sent(kind, match[1], len(group))
            if name.startswith("all-reduce-scatter"):  # fused with the slice that each chip keeps
                kind, sent = "reduce-scatter", sent / 2
            if key not in by_channel or times > by_channel[key].times:
                by_channel[key] = Collective(kind, _axes(group, mesh), sent, times)
    return list(by_channel.values())


def scheduled(text: str) -> list[tuple[str, list[str], int]]:
    """The computations that a program runs: name, lines of HLO, and how often each runs."""
    bodies: dict[str, list[str]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            name = start[2]
            bodies[name], entry = [], name if start[1] else entry
        elif name:
            bodies[name].append(line)
    return [(name, bodies[name], times) for name, times in _run_counts(bodies, entry).items()]


def _run_counts(bodies: Mapping[str, list[str]], entry: str) -> dict[str, int]:
    """Number of times that each computation runs, of those reached from the entry."""
    total: dict[str, int] = {}

    def visit(name: str, times: int) -> None:
        total[name] = total.get(name, 0) + times
        for line in bodies[name]:
            if loop := _WHILE.search(line):
                visit(loop[2], times * _trip_count(bodies[loop[1]]))
            elif call := _CALLS.search(line):
                for called in re.findall(r"[\w.\-]+", call[1]):
                    if called in bodies:
                        visit(called, times)

    visit(entry, 1)
    return total


def _trip_count(condition: list[str]) -> int:
    """Number of iterations of a loop that counts from 0 up to a constant."""
    return max(int(n) for line in condition for n in re.findall(r"constant\((\d+)\)", line))


def _bytes_sent(kind: str, result: str, group: int) -> float:
    """Bytes that a chip sends in a group of `group` chips, from the type of the result."""
    sizes = [
        math.prod(int(n) for n in dims.split(",") if n) * _dtype_bytes(dtype)
        for dtype, dims in _SHAPE.findall(result)
        if dims
    ]
    if kind == "collective-permute":  # an asynchronous one has source, target and context
        return sizes[0]
    bytes_ = sum(sizes)
    if kind == "reduce-scatter":
        return bytes_ * (group - 1)
    return bytes_ * (group - 1) / group * (2 if kind == "all-reduce" else 1)


def _dtype_bytes(dtype: str) -> float:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else 1


def _group(line: str, mesh: Mapping[str, int]) -> list[int]:
    """Devices of one group, by index in the mesh; of a permutation, a pair that spans most axes."""
    if match := re.search(r"source_target_pairs=\{\{([\d,{}]*)\}\}", line):
        pairs = [tuple(map(int, pair.split(","))) for pair in match[1].split("},{")]
        return list(max(pairs, key=lambda pair: len(_axes(list(pair), mesh))))
    count = math.prod(mesh.values())
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return [int(n) for n in match[1].split(",")]
    if match := re.search(r"replica_groups=\[([\d,]+)\](<=\[[\d,]+\](?:T\([\d,]+\))?)", line):
        return _iota(match[2]).reshape(_numbers(match[1]))[0].tolist()
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", line):
        sizes = {k: int(n) for k, n in re.findall(r"'(\w+)'=(\d+)", match[1])}
        ids = re.search(r"device_ids=\((.*\))\)", match[2])
        devices = _iota(f"<={ids[1]}") if ids else np.arange(math.prod(sizes.values()))
        named = re.findall(r"'(\w+)'", match[3])
        index = tuple(slice(None) if axis in named else 0 for axis in sizes)
        return devices.reshape(tuple(sizes.values()))[index].reshape(-1).tolist()
    return list(range(count))


def _iota(text: str) -> np.ndarray:
    """Parses `<=[4,2]T(1,0)`: integers from 0, reshaped and transposed."""
    match = re.search(r"<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    assert match is not None
    shape = _numbers(match[1])
    devices = np.arange(math.prod(shape)).reshape(shape)
    return devices.transpose(_numbers(match[2])) if match[2] else devices


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _axes(devices: list[int], mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Axes along which the devices differ."""
    indices = np.unravel_index(devices, tuple(mesh.values()))
    return tuple(axis for axis, i in zip(mesh, indices, strict=True) if len(set(i.tolist())) > 1)
