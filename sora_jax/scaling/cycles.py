"""Cycles that the TPU compiler estimates for a program, read from its HLO text.

The compiler writes an estimate beside each operation that it schedules on a chip's core. Kernels
(attention's) and transfers have none. What a loop's body takes counts as often as it runs.
"""

import re
from typing import NamedTuple

from sora_jax.scaling import hlo

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_NAME = re.compile(r"^\s+(?:ROOT )?%?([\w\-]+)\S* = ")


class Operation(NamedTuple):
    """One scheduled operation.

    Attributes:
      name: its name in the program, without its number; that of a fusion tells what it fuses.
      cycles: estimated cycles each time.
      times: number of times that it runs in a step.
    """

    name: str
    cycles: int
    times: int


def operations(text: str) -> list[Operation]:
    """All operations of a program that have an estimate.

    Args:
      text: its HLO, of `compiled.as_text()`.
    """
    found, name = [], ""
    for _, lines, times in hlo.scheduled(text):
        for line in lines:
            if begins := _NAME.match(line):  # some go on over several lines
                name = begins[1]
            if cycles := _CYCLES.search(line):
                found.append(Operation(name, int(cycles[1]), times))
    return found
