"""sora-jax report: score a trained model on held-out clips and prompts, and write its gallery.

Writes report.json and index.html: the scores of `sora-jax eval`, the autoencoder's reconstruction,
the loss of held-out clips. Where the output folder holds stages.json (as `make demo-train`
writes it), its seconds and memory are reported too. With --workdir, once for each training, it
writes instead one page that compares their curves, their time and their settings.

Example:
  sora-jax report --checkpoint=runs/small/dit --output=runs/small
  sora-jax report --workdir=runs/a/dit --workdir=runs/b/dit --output=runs/compared.html
"""

import dataclasses
import json
import resource
import time
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath

from data_pipelines import loader
from data_pipelines.clips import open_split
from data_pipelines.latents import sources_of
from sora_jax import sharding
from sora_jax.commands import evaluation, held_out
from sora_jax.commands.runs import find_data, load_generator
from sora_jax.evals import demo_page, demo_scores, runs_page, validation_loss
from sora_jax.files import write_whole
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.prompting import generate_from_prompts
from sora_jax.progress import peak_memory_gib, progress_of
from sora_jax.training.run_folder import read_metrics

WORKDIRS = flags.DEFINE_multi_string(
    "workdir", [], "Workdir of a training to compare; give it once for each. --output is a page."
)
RUN = flags.DEFINE_string("checkpoint", None, "Workdir of a diffusion run.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
WORLDS = flags.DEFINE_list("worlds", [], "Names of worlds; all that the data has if not given.")
NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 6, "Maximum number of clips of a world and split.", lower_bound=1
)

WIDE = ((54, 96), (96, 54), (64, 64), (48, 112))  # (height, width); the last one is not trained on


def measure(
    generator: Generator, latents: epath.Path, data: epath.Path
) -> tuple[dict[str, Any], demo_page.Shown]:
    """All figures, and the clips that the page shows."""
    originals = list(open_split(data, "validation"))
    psnr, reconstructions = demo_scores.reconstruction_scores(
        originals, generator.codec, progress_of("clips reconstructed")
    )
    run = generator.run
    trained = dataclasses.replace(run.experiment, data=str(latents))
    fill = loader.open_rows(trained, "train").fill
    clips = held_out.open_clips(trained)
    errors = held_out.clip_errors(
        trained, run.params, run.channel_scale, clips, progress_of("rows of held-out loss")
    )
    make = generate_from_prompts(generator, progress=progress_of("rows of samples"))
    found, sampled = evaluation.evaluate_model(
        *(generator, make, data, WORLDS.value, NUM_CLIPS.value, [0])
    )
    requests = [
        Request(case.caption, 17, *size, case.expected.fps, seed)
        for seed, ((case, _), size) in enumerate(zip(sampled, WIDE, strict=False))
    ]
    shaped = make(requests, [np.zeros((0, *size, 3), np.uint8) for size in WIDE[: len(requests)]])
    report = psnr | {
        "packing_fill": fill,
        "eval_loss": validation_loss.by_size_and_level(errors, clips.sizes),
        "groups": found.groups,
        "distribution": found.distribution_json(),
        "left_out": found.left_out,
    }
    shown = demo_page.Shown(
        originals, reconstructions, sampled, list(zip(requests, shaped, strict=True)), found
    )
    return report, shown


def facts(
    generator: Generator, vae: epath.Path, dit: epath.PathLike, output: epath.Path, began: float
) -> dict[str, Any]:
    """What a report says of the run itself."""
    path = output / "stages.json"
    stages = json.loads(path.read_text()) if path.exists() else {}
    seconds = {name: stage["seconds"] for name, stage in stages.items() if name != "report"}
    memory = [stage["peak_rss_gb"] for stage in stages.values()]
    memory.append(peak_memory_gib(resource.getrusage(resource.RUSAGE_SELF)))
    sizes = {"dit": generator.run.params, "vae": generator.codec.params}
    return {
        "seconds": seconds | {"report": round(time.monotonic() - began, 1)},
        "peak_rss_gb": round(max(memory), 2),
        "parameters": {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in sizes.items()},
        "steps": {
            "vae": (read_metrics(vae) or [{}])[-1].get("step"),
            "dit": (read_metrics(dit) or [{}])[-1].get("step"),
        },
        "commits": {
            name: stage.get("commit", "") for name, stage in stages.items() if name != "report"
        },
    } | evaluation.describe_run()


def compare() -> None:
    """Writes the page that compares the trainings of --workdir.

    Raises:
      ValueError: a folder holds no training, or is named twice, or other flags clash.
    """
    page = OUTPUT.value or ""
    if RUN.value or not page.endswith(".html"):
        raise ValueError("with --workdir, --output is a file.html, and there is no --checkpoint")
    if len(set(WORKDIRS.value)) < len(WORKDIRS.value):
        raise ValueError(f"a --workdir is named twice: {WORKDIRS.value}")
    runs = [runs_page.read_run(workdir) for workdir in WORKDIRS.value]
    runs_page.write_runs_page(page, runs)
    print(f"wrote {page}")


def main() -> None:
    """Measures, then writes both files; or compares trainings on a page."""
    if WORKDIRS.value:
        return compare()
    if not (RUN.value and OUTPUT.value):
        raise ValueError("--checkpoint and --output are needed: name a diffusion run and a folder")
    began, output = time.monotonic(), epath.Path(OUTPUT.value)
    latents = find_data(RUN.value)
    vae, data = sources_of(latents)
    with sharding.use_mesh():
        generator = load_generator(RUN.value)
        report, shown = measure(generator, latents, data)
        report |= facts(generator, vae, RUN.value, output, began)
    write_whole(output / "report.json", json.dumps(report, indent=1) + "\n")
    demo_page.write_demo_page(output / "index.html", report, shown, vae, RUN.value)
    print(f"wrote {output / 'report.json'} and {output / 'index.html'}")
