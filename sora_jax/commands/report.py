"""sora-jax report: score a trained model on held-out clips and prompts, and write its gallery.

Writes report.json and index.html. Where the output folder holds stages.json (as `make demo`
writes it), its seconds and memory are reported too.

Example:
  sora-jax report --checkpoint=runs/demo/dit --output=runs/demo
"""

import collections
import dataclasses
import json
import platform
import resource
import time
from typing import Any

import jax
from absl import flags
from etils import epath

from data_pipelines import loader
from data_pipelines.clips import ClipRecord, Split, open_split
from data_pipelines.latents import sources_of
from sora_jax import sharding
from sora_jax.commands.runs import find_data, load_generator
from sora_jax.evals import demo_page, demo_scores, validation_loss
from sora_jax.evals.world_rule import NearestWorld
from sora_jax.files import write_whole
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.laws.palette import COLORS
from sora_jax.progress import peak_memory_gib, progress_of
from sora_jax.provenance import commit
from sora_jax.training.run_folder import read_metrics

RUN = flags.DEFINE_string("checkpoint", None, "Workdir of a diffusion run.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
PROMPTS = flags.DEFINE_integer("prompts", 64, "Prompts of the first world, at most.", lower_bound=1)
OTHERS = flags.DEFINE_integer("others", 16, "Prompts of each other world.", lower_bound=0)

COLORED = ("ballistics", "painter", "orbit", "occlusion")  # builder's tiles are as colourful
WIDE = ((54, 96), (96, 54), (64, 64), (48, 112))  # (height, width); the last one is not trained on


def choose(records: Split, prompts: int, others: int) -> list[ClipRecord]:
    """The first videos of each world in a split, images left out."""
    counts = collections.defaultdict(lambda: others, ballistics=prompts)
    chosen = []
    for i, meta in enumerate(records.metas()):
        if meta.size[0] > 1 and counts[meta.source] > 0:
            counts[meta.source] -= 1
            chosen.append(records[i])
    return chosen


def request(record: ClipRecord, seed: int) -> Request:
    """The prompt of a clip, at the clip's size and duration."""
    frames, height, width = record.video.shape[:3]
    return Request(record.captions["short"], frames, height, width, record.fps, seed)


def measure(generator: Generator, latents: epath.Path, data: epath.Path) -> tuple[dict, dict]:
    """All scores, and the clips that the page shows."""
    valid, test = (open_split(data, split) for split in ("validation", "test"))
    held_out = list(valid)
    psnr, reconstructions = demo_scores.reconstruction_scores(
        held_out, generator.codec, progress_of("clips reconstructed")
    )
    run = generator.run
    trained = dataclasses.replace(run.experiment, data=str(latents))
    experiment = dataclasses.replace(
        trained, more_data=(), detailed_caption_prob=1.0, caption_dropout=0.0
    )
    rows = loader.open_rows(experiment, "validation")
    fill = loader.open_rows(trained, "train").fill
    errors = validation_loss.clip_errors(
        *(run.experiment.denoiser, run.params, run.channel_scale),
        *(rows, rows.epoch(0).rows, run.experiment.packing.rows),
        progress_of("rows of held-out loss"),
    )

    chosen = choose(test, PROMPTS.value, OTHERS.value)
    extra = [r for r in chosen if r.meta.source == "ballistics"][: len(WIDE)]
    requests = [request(r, i) for i, r in enumerate(chosen)]
    requests += [
        Request(r.captions["short"], 17, *size, seed=i)
        for i, (r, size) in enumerate(zip(extra, WIDE, strict=False))
    ]
    videos = generator.sample(requests, progress=progress_of("rows of samples"))
    generated = videos[: len(chosen)]

    train = open_split(data, "train")
    reference = [train[i] for i in range(0, len(train), 4)]
    nearest = NearestWorld([r.video for r in reference], [r.meta.source for r in reference])
    worlds = [r.meta.source for r in chosen]

    def agreement(clips) -> float:
        hits = [nearest(clip) == world for clip, world in zip(clips, worlds, strict=True)]
        return sum(hits) / len(hits)

    colors = {}
    for world in dict.fromkeys(worlds):
        numbers = [i for i, name in enumerate(worlds) if name == world]
        if world in COLORED:
            colors[world] = demo_scores.alignment(
                [generated[i] for i in numbers], [chosen[i] for i in numbers], COLORS
            )
    first = colors.get("ballistics", {})
    report = psnr | {
        "packing_fill": fill,
        "eval_loss": validation_loss.by_size_and_level(errors, [r.meta.size for r in rows.latents]),
        "color_accuracy": first.get("generated"),
        "color_accuracy_real": first.get("real"),
        "color_accuracy_shuffled": first.get("shuffled"),
        "color_by_world": colors,
        "world_accuracy": agreement(generated),
        "world_accuracy_real": agreement([r.video for r in chosen]),
    }
    return report, {
        "held_out": held_out,
        "reconstructions": reconstructions,
        "chosen": chosen,
        "generated": generated,
        "shaped": list(zip(requests[len(chosen) :], videos[len(chosen) :], strict=True)),
    }


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
        "commit": commit(),
        "commits": {
            name: stage.get("commit", "") for name, stage in stages.items() if name != "report"
        },
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "machine": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def main() -> None:
    """Measures, then writes both files."""
    if not (RUN.value and OUTPUT.value):
        raise ValueError("--checkpoint and --output are needed: name a diffusion run and a folder")
    began, output = time.monotonic(), epath.Path(OUTPUT.value)
    latents = find_data(RUN.value)
    vae, data = sources_of(latents)
    with sharding.use_mesh():
        generator = load_generator(RUN.value)
        report, clips = measure(generator, latents, data)
        report |= facts(generator, vae, RUN.value, output, began)
    write_whole(output / "report.json", json.dumps(report, indent=1) + "\n")
    demo_page.write_demo_page(output / "index.html", report, clips, vae, RUN.value)
    print(f"wrote {output / 'report.json'} and {output / 'index.html'}")
