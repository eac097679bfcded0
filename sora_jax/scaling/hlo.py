"""Collectives of a compiled program, read from its HLO text.

What a chip sends for a result of B bytes over a group of n chips (rings):

    all-gather      B (n - 1) / n        all-to-all          B (n - 1) / n
    reduce-scatter  B (n - 1)            collective-permute  B
    all-reduce      2 B (n - 1) / n

Bodies of loops count as often as they run. Parts of one collective that the compiler spreads over
several fusions share a channel and count once.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

BETWEEN = ("slices",)
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_BETWEEN = re.compile(r"= \((\w+\[[\d,]*\]).* send\(.*_megascale_transfer_type=\"(\w+)\"")
_WHILE = re.compile(r"\bwhile\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|to_apply|branch_computations)=\{?((?:%?[\w.\-]+(?:, )?)+)")
_SHAPE = re.compile(r"\b(pred|[su]\d+|f\d+\w*|bf16)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One collective: axes of the mesh it spans, bytes a chip sends each time, times a step.

    What crosses between slices has the axes `BETWEEN`: the TPU compiler reduces or gathers within
    a slice first, and hands the rest to the host (`send`), one collective of as many as slices.
    """

    kind: str
    axes: tuple[str, ...]
    sent: float
    times: int


def collectives(text: str, mesh: Mapping[str, int], slices: int = 1) -> list[Collective]:
    """All collectives of a program that was compiled for a mesh of these axes and sizes."""
    bodies: dict[str, list[str]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            name = start[2]
            bodies[name], entry = [], name if start[1] else entry
        elif name:
            bodies[name].append(line)
    found: dict[str, Collective] = {}
    for name, times in _times(bodies, entry).items():
        for i, line in enumerate(bodies[name]):
            if between := _BETWEEN.search(line):
                kind = between[2].lower().replace("_", "-")
                found[line] = Collective(kind, BETWEEN, _sent(kind, between[1], slices), times)
            if not (match := _COLLECTIVE.search(line)):
                continue
            channel = re.search(r"channel_id=(\d+)", line)
            key = channel[1] if channel else f"{name} {i}"
            kind, group = match[2], _group(line, mesh)
            sent = _sent(kind, match[1], len(group))
            if name.startswith("all-reduce-scatter"):  # fused with the slice that each chip keeps
                kind, sent = "reduce-scatter", sent / 2
            one = Collective(kind, _axes(group, mesh), sent, times)
            if key not in found or times > found[key].times:
                found[key] = one
    return list(found.values())


def _times(bodies: Mapping[str, list[str]], entry: str) -> dict[str, int]:
    """How often each computation runs that is reached from the entry."""
    total: dict[str, int] = {}

    def visit(name: str, times: int) -> None:
        total[name] = total.get(name, 0) + times
        for line in bodies[name]:
            if found := _WHILE.search(line):
                visit(found[2], times * _trips(bodies[found[1]]))
            elif found := _CALLS.search(line):
                for called in re.findall(r"[\w.\-]+", found[1]):
                    if called in bodies:
                        visit(called, times)

    visit(entry, 1)
    return total


def _trips(condition: list[str]) -> int:
    """Runs of a loop that counts from 0 up to a constant."""
    return max(int(n) for line in condition for n in re.findall(r"constant\((\d+)\)", line))


def _sent(kind: str, result: str, group: int) -> float:
    """Bytes that a chip of a group of so many sends, from the type of the result."""
    sizes = [
        math.prod(int(n) for n in dims.split(",") if n) * _width(dtype)
        for dtype, dims in _SHAPE.findall(result)
        if dims
    ]
    if kind == "collective-permute":  # of an asynchronous one: source, target, context
        return sizes[0]
    bytes_ = sum(sizes)
    if kind == "reduce-scatter":
        return bytes_ * (group - 1)
    return bytes_ * (group - 1) / group * (2 if kind == "all-reduce" else 1)


def _width(dtype: str) -> float:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else 1


def _group(line: str, mesh: Mapping[str, int]) -> list[int]:
    """Devices of one group, by number in the mesh; of a permutation, a pair that is furthest."""
    if pairs := re.search(r"source_target_pairs=\{\{([\d,{}]*)\}\}", line):
        found = [tuple(map(int, pair.split(","))) for pair in pairs[1].split("},{")]
        return list(max(found, key=lambda pair: len(_axes(list(pair), mesh))))
    count = math.prod(mesh.values())
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return [int(n) for n in found[1].split(",")]
    if found := re.search(r"replica_groups=\[([\d,]+)\](<=\[[\d,]+\](?:T\([\d,]+\))?)", line):
        return _iota(found[2]).reshape(_numbers(found[1]))[0].tolist()
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", line):
        sizes = {k: int(n) for k, n in re.findall(r"'(\w+)'=(\d+)", found[1])}
        ids = re.search(r"device_ids=\((.*\))\)", found[2])
        devices = _iota(f"<={ids[1]}") if ids else np.arange(math.prod(sizes.values()))
        named = re.findall(r"'(\w+)'", found[3])
        index = tuple(slice(None) if axis in named else 0 for axis in sizes)
        return devices.reshape(tuple(sizes.values()))[index].reshape(-1).tolist()
    return list(range(count))


def _iota(text: str) -> np.ndarray:
    """`<=[4,2]T(1,0)`: numbers from 0, shaped and transposed."""
    found = re.search(r"<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    assert found is not None
    numbers = np.arange(math.prod(_numbers(found[1]))).reshape(_numbers(found[1]))
    return numbers.transpose(_numbers(found[2])) if found[2] else numbers


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _axes(devices: list[int], mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Axes along which the devices differ."""
    places = np.unravel_index(devices, tuple(mesh.values()))
    return tuple(axis for axis, at in zip(mesh, places, strict=True) if len(set(at.tolist())) > 1)
