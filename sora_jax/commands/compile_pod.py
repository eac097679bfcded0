"""sora-jax compile: compile an experiment's training step, or sampling, for an absent TPU pod.

Prints memory, operations, communication and a lower bound of a step's time, as lines and JSON.
Needs libtpu (pip install 'sora-jax[tpu]'), no TPU.

Example:
  sora-jax compile --config=experiments/pods/v5e_3b.py --topology=v5e:16x16 \\
    --output=experiments/pods/results/v5e_3b.json --table=experiments/pods/README.md
"""

import json

from absl import flags
from etils import epath
from ml_collections import config_flags

from sora_jax.config import format_settings
from sora_jax.scaling import aot
from sora_jax.training.experiments import DiffusionExperiment, parse, require_kind

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file.", lock_config=True)
TOPOLOGY = flags.DEFINE_string("topology", None, "Chips of one slice, as v5p:8x8x8.")
SLICES = flags.DEFINE_integer("slices", 1, "Slices, joined by a network.", lower_bound=1)
SAMPLE = flags.DEFINE_integer(
    "sample", 0, "Compile sampling, with this number of steps; 0: the training step.", lower_bound=0
)
OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
HLO = flags.DEFINE_string("hlo", None, "Text file to write the compiled program to.")
TABLE = flags.DEFINE_string("table", None, "Markdown file: a table of all JSON beside --output.")

PAGE = """# Pods

What each config here takes of TPU chips, read off the program that the TPU compiler made of it on a
host without one. Written by `sora-jax compile --table`; each file's docstring has its command.
Times are a roofline, not forecasts: compute and memory are floors, links are one torus axis each,
which an axis of the mesh may exceed. Compute has the operations that `remat` repeats, and MFU has
not. Collectives by kind are in `results/`.

"""


def list_settings() -> str:
    """What `--help` prints of the experiment file: every setting, its type, value and meaning."""
    return format_settings(parse(CONFIG.value.to_dict()))


def main() -> None:
    """Compiles, prints, writes."""
    if CONFIG.value is None or not TOPOLOGY.value:
        raise ValueError("--config and --topology are needed: an experiment file, and v5e:16x16")
    experiment = require_kind(parse(CONFIG.value.to_dict()), DiffusionExperiment, "--config")
    if TABLE.value and not OUTPUT.value:
        raise ValueError("--table goes with --output: it shows the JSON files of that folder")
    others = _reports_beside(OUTPUT.value) if TABLE.value and OUTPUT.value else {}
    report, program = aot.compile_program(experiment, TOPOLOGY.value, SLICES.value, SAMPLE.value)
    print("\n".join(lines(report)))
    if HLO.value:
        epath.Path(HLO.value).write_text(program)
    if OUTPUT.value:
        path = epath.Path(OUTPUT.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        if TABLE.value:
            reports = others | {path.stem: report}
            epath.Path(TABLE.value).write_text(table(dict(sorted(reports.items()))))


def _reports_beside(output: str) -> dict[str, dict]:
    """The reports in the folder of a file, by name; read before a compilation, not after it."""
    folder = epath.Path(output).parent
    folder.mkdir(parents=True, exist_ok=True)
    reports = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    for name, report in reports.items():
        if "roofline_s" not in report:
            raise ValueError(f"{folder}/{name}.json is no report of sora-jax compile: move it away")
    return reports


def lines(report: dict) -> list[str]:
    """The report for a person."""
    hbm, chip, rows, ops = (report[k] for k in ("hbm_bytes", "chip", "rows_x_tokens", "flops"))
    text = [
        f"{report['program']} on {report['slices']} x {report['topology']}, {report['chips']} "
        f"chips, {report['mesh']}",
        f"{report['parameters'] / 1e9:.2f} B parameters, {rows[0]} rows x {rows[1]} tokens, "
        f"remat {report['remat']}, {report['dtype']}; compiled in {report['compile_s']:.0f} s",
        f"memory a chip: {hbm['total'] / 1e9:.2f} GB of {chip['hbm'] / 1e9:.1f} "
        f"(arguments {hbm['arguments'] / 1e9:.2f}, temporaries {hbm['temporaries'] / 1e9:.2f})",
        f"operations: {ops['step']:.3g} a step, {ops['token']:.3g} a token, "
        f"and {ops['repeated']:.3g} a step repeated",
    ]
    text += [
        f"  {c['kind']} over {'+'.join(c['axes']) or 'one'}: {c['count']} a step, "
        f"{c['bytes'] / 1e6:.1f} MB a chip"
        for c in report["collectives"]
    ]
    text += [f"  {name}: at least {t * 1e3:.1f} ms" for name, t in report["roofline_s"].items()]
    return [*text, f"MFU is at most {report['mfu_bound']:.2f}"]


def table(reports: dict[str, dict]) -> str:
    """All reports as a page of Markdown."""
    columns = ("config", "program", "chips", "mesh", "parameters", "rows x tokens", "remat")
    columns += (
        "memory a chip",
        "compute",
        "memory",
        "links and network",
        "MFU at most",
        "compiled",
    )
    rows = [columns, ["---"] * len(columns)]
    for name, r in reports.items():
        times = dict(r["roofline_s"])
        compute, memory = times.pop("compute"), times.pop("memory")
        mesh = " ".join(f"{axis} {n}" for axis, n in r["mesh"].items() if n > 1)
        b, l = r["rows_x_tokens"]
        hbm = r["hbm_bytes"]["total"] / 1e9, r["chip"]["hbm"] / 1e9
        links = ", ".join(f"{axes.removeprefix('links ')} {_time(t)}" for axes, t in times.items())
        rows.append(
            [
                f"[{name}]({name}.py)",
                r["program"],
                f"{r['slices']} x {r['topology']}" if r["slices"] > 1 else r["topology"],
                mesh,
                f"{r['parameters'] / 1e9:.1f} B",
                f"{b} x {l}, {r['dtype']}",
                r["remat"],
                f"{hbm[0]:.1f} of {hbm[1]:.1f} GB",
                *(_time(t) for t in (compute, memory)),
                links,
                f"{r['mfu_bound']:.2f}",
                f"{r['compile_s']:.0f} s",
            ]
        )
    return PAGE + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1e3:.0f} ms"
