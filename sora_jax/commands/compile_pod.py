"""sora-jax compile: compile an experiment's training step for a TPU pod, without one.

Prints memory, operations, communication and the least time of a step, and writes them as JSON.
Needs libtpu (pip install 'sora-jax[tpu]'), no TPU.

Example:
  sora-jax compile --config=experiments/pods/v5e_3b.py --topology=v5e:16x16 --output=v5e_3b.json
"""

import json

from absl import flags
from etils import epath
from ml_collections import config_flags

from sora_jax import config
from sora_jax.scaling import aot

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file.", lock_config=True)
TOPOLOGY = flags.DEFINE_string("topology", None, "Chips of one slice, as v5p:8x8x8.")
SLICES = flags.DEFINE_integer("slices", 1, "Slices, joined by a network.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
HLO = flags.DEFINE_string("hlo", None, "Text file to write the compiled program to.")


def main() -> None:
    """Compiles, prints, writes."""
    if CONFIG.value is None or not TOPOLOGY.value:
        raise ValueError("--config and --topology are needed: an experiment file, and v5e:16x16")
    experiment = config.parse(CONFIG.value.to_dict())
    if not isinstance(experiment, config.DiffusionExperiment):
        raise ValueError("--config is of an autoencoder: name one of a diffusion transformer")
    report, program = aot.compile_step(experiment, TOPOLOGY.value, SLICES.value)
    print("\n".join(lines(report)))
    if HLO.value:
        epath.Path(HLO.value).write_text(program)
    if OUTPUT.value:
        epath.Path(OUTPUT.value).write_text(json.dumps(report, indent=1) + "\n")


def lines(report: dict) -> list[str]:
    """The report for a person."""
    hbm, chip, rows = report["hbm_bytes"], report["chip"], report["rows_x_tokens"]
    found = [
        f"{report['slices']} x {report['topology']}, {report['chips']} chips, {report['mesh']}",
        f"{report['parameters'] / 1e9:.2f} B parameters, {rows[0]} rows x {rows[1]} tokens, "
        f"remat {report['remat']}, {report['dtype']}; compiled in {report['compile_s']:.0f} s",
        f"memory a chip: {hbm['total'] / 1e9:.2f} GB of {chip['hbm'] / 1e9:.1f} "
        f"(arguments {hbm['arguments'] / 1e9:.2f}, temporaries {hbm['temporaries'] / 1e9:.2f})",
        f"operations: {report['flops']['step']:.3g} a step, {report['flops']['token']:.3g} a token",
    ]
    found += [
        f"  {c['kind']} over {'+'.join(c['axes']) or 'one'}: {c['count']} a step, "
        f"{c['bytes'] / 1e6:.1f} MB a chip"
        for c in report["collectives"]
    ]
    found += [f"  {name}: at least {t * 1e3:.1f} ms" for name, t in report["roofline_s"].items()]
    return [*found, f"MFU is at most {report['mfu_bound']:.2f}"]
