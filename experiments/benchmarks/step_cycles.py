"""Cycles of a training step on a TPU, as the TPU compiler estimates them.

Command:  python -m experiments.benchmarks.step_cycles, with libtpu where `make test` puts it
Hardware: any CPU; nothing runs on a TPU. Four minutes on 2 cores.
Bars:     copies in loops below 2 % of all cycles; all cycles at least 10 % below the 4.32e8 of
          commit c967c05; with remat=attention, three fourths of the kernels that remat=full runs.

Four layers of `experiments.pods.v5e_3b` (2560 wide, bfloat16), one row of 8192 tokens on each chip
of a v5e 2x2, weights cut over all. Cycles are the compiler's estimates and no timings, and leave
out attention's kernels, which are counted instead: forward, forward again where it is recomputed,
and two backward, for self- and cross-attention of each layer.
"""

import pathlib
import sys
from typing import Any

import jax

from experiments.benchmarks import finish, table
from experiments.pods import v5e_3b
from sora_jax.scaling import aot, cycles, hlo
from sora_jax.training.experiments import DiffusionExperiment, parse, require_kind

BEFORE, SHARE, COPIES = 4.32e8, 0.9, 0.02


def experiment(remat: str) -> DiffusionExperiment:
    """Four layers of the pod's model."""
    config = v5e_3b.get_config()
    config.model.update(depth=4, remat=remat)
    config.packing.rows = 4
    config.mesh.update(data=1, fsdp=4)
    return require_kind(parse(config.to_dict()), DiffusionExperiment, "the pod's config")


def measure(remat: str) -> dict[str, Any]:
    """The figures of one step."""
    report, text = aot.compile_program(experiment(remat), "v5e:2x2")
    found = cycles.operations(text)
    total = sum(each.cycles * each.times for each in found)
    copies = sum(e.cycles * e.times for e in found if e.times > 1 and e.name.startswith("copy"))
    kernels = sum(
        times * ("splash" in line and " custom-call(" in line)
        for _, lines, times in hlo.scheduled(text)
        for line in lines
    )
    return {
        "remat": remat,
        "cycles": total,
        "copies in loops": copies / total,
        "kernels": kernels,
        "temporaries GB": report["hbm_bytes"]["temporaries"] / 1e9,
    }


def main() -> None:
    """Compiles, prints, writes."""
    jax.config.update("jax_platforms", "cpu")  # JAX would look for a TPU where it finds libtpu
    sys.path.append(str(pathlib.Path(sys.prefix, "libtpu")))
    full, attention = rows = [measure(remat) for remat in ("full", "attention")]
    print(table(list(full), [list(row.values()) for row in rows]))
    missed = []
    for row in rows:
        if row["copies in loops"] >= COPIES:
            missed.append(f"remat={row['remat']}: copies are {row['copies in loops']:.1%}")
        if row["cycles"] > SHARE * BEFORE:
            missed.append(f"remat={row['remat']}: {row['cycles']:.3g} cycles")
    if 4 * attention["kernels"] != 3 * full["kernels"]:
        missed.append(f"kernels: {attention['kernels']} of {full['kernels']}")
    finish("step_cycles", {"steps": rows}, missed)


if __name__ == "__main__":
    main()
