"""What the world model that comes with sora_jax makes of prompts: a page, beside real clips.

Command:   make demo, or python -m experiments.demo [--output=runs/demo]
Hardware:  2 CPU cores, 3 GB of memory, about five minutes; a second call takes seconds.

Prompts are the detailed captions of the first clips of fresh seeds, of combinations that training
never saw, and samples are the first of their seeds: nothing is chosen.
"""

import dataclasses
import gzip
import json
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags, logging
from etils import epath

from data_pipelines.worlds import base, dataset
from sora_jax import media, release, sharding
from sora_jax.commands.runs import load_generator
from sora_jax.evals import score_tables
from sora_jax.evals.gallery import Comparison, Sample, write_gallery
from sora_jax.files import write_whole
from sora_jax.generation.canvas import Request
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.progress import progress_of

OUTPUT = flags.DEFINE_string("output", "runs/demo", "Folder of the page.")
DEBUG = flags.DEFINE_bool("debug", False, "Two worlds, few steps.")

FIRST_SEED = 1_900_000_000
SHAPES = ((17, 64, 64), (17, 64, 96), (17, 96, 64), (1, 64, 64))  # frames, height, width
SAMPLING = SamplingConfig(steps=16, guidance=2.5)


@dataclasses.dataclass(frozen=True)
class Item:
    """A request, and the simulator's clip that its prompt describes."""

    world: str
    request: Request
    real: np.ndarray

    @property
    def name(self) -> str:
        """Name of the file of its sample."""
        r = self.request
        return f"{self.world}-{r.frames}x{r.height}x{r.width}-{r.seed}.mp4"


def list_items(worlds: list[str]) -> list[Item]:
    """A clip of each world and shape."""
    items = []
    for world in worlds:
        for i, (frames, height, width) in enumerate(SHAPES):
            held_out = world not in dataset.HOLD_OUT_LAWS
            wanted = base.ClipRequest(FIRST_SEED + i, held_out, frames, height, width)
            clip = dataset.WORLDS[world].make_clip(wanted)
            prompt = clip.captions["detailed"]
            request = Request(prompt, frames, height, width, clip.fps, seed=i)
            items.append(Item(world, request, clip.video))
    return items


def make_videos(folder: epath.Path, items: list[Item]) -> list[np.ndarray]:
    """The samples, of earlier calls where there are some."""
    missing = [item for item in items if not (folder / item.name).exists()]
    if missing:
        with sharding.use_mesh():
            generator = load_generator(None)
            config = dataclasses.replace(SAMPLING, steps=2) if DEBUG.value else SAMPLING
            made = generator.sample(
                [item.request for item in missing], config, progress_of("rows of samples")
            )
        for item, video in zip(missing, made, strict=True):
            write_whole(folder / item.name, media.encode_video(video, item.request.fps))
    return [media.decode_video((folder / item.name).read_bytes())[0] for item in items]


def write_page(path: epath.Path, items: list[Item], videos: list[np.ndarray]) -> None:
    """Writes the page."""
    comparisons: list[Comparison] = []
    images: list[Sample] = []
    for item, video in zip(items, videos, strict=True):
        r = item.request
        if len(video) == 1:
            images.append(Sample(video, r.fps, r.prompt, "images"))
            continue
        versions = {"model": video, "simulator": item.real}
        note = f"seed {r.seed}"
        comparisons.append(Comparison(versions, r.fps, r.prompt, (note,), item.world))
    scores = release.SHIPPED / "scores.json.gz"
    groups: list[dict[str, Any]] = (
        json.loads(gzip.decompress(scores.read_bytes()))["groups"] if scores.exists() else []
    )
    write_gallery(
        path,
        "The world model that comes with sora_jax",
        "Every prompt is the detailed caption of a clip of a simulator, of a combination of "
        "attributes that the model never saw in training; the clip stands beside what the model "
        "made of the caption. Samples are the first of their seeds, not chosen.\n\n"
        "How it was trained, and what it cannot do: `sora-jax info`.",
        [],
        images,
        {"Text to video": comparisons},
        [],
        [],
        [
            'sora-jax sample --prompt="a red ball rolls behind a blue wall" --frames=17 '
            "--height=64 --width=96 --output=ball.mp4"
        ],
        [table for group in groups for table in score_tables.overview(group)],
    )


def draw_strips(items: list[Item], videos: list[np.ndarray]) -> np.ndarray:
    """Five frames of clips, left, and of their samples, right; videos of the first two shapes."""
    bands = []
    for shape in SHAPES[:2]:
        for item, video in zip(items, videos, strict=True):
            if video.shape[:3] == shape:
                chosen = np.linspace(0, len(video) - 1, 5).astype(int)
                real, made = (np.concatenate([*v[chosen]], 1) for v in (item.real, video))
                gap = np.full((len(real), 8, 3), 255, np.uint8)
                bands.append(np.concatenate([real, gap, made], 1))
    width = max(band.shape[1] for band in bands)
    missing = (((0, 4), (0, width - band.shape[1]), (0, 0)) for band in bands)
    pairs = zip(bands, missing, strict=True)
    return np.concatenate([np.pad(band, n, constant_values=255) for band, n in pairs])


def main(_) -> None:
    """Samples what is missing, then writes the page and the strips."""
    logging.set_verbosity(logging.WARNING)
    began, folder = time.monotonic(), epath.Path(OUTPUT.value)
    worlds = list(dataset.WORLDS)[: 2 if DEBUG.value else None]
    items = list_items(worlds)
    page = folder / "index.html"
    videos = make_videos(folder / "clips", items)
    write_whole(folder / "strips.png", media.image_bytes(draw_strips(items, videos)))
    write_page(page, items, videos)
    print(f"\nDone in {time.monotonic() - began:.0f} s. Look at {page} in a browser.", flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    app.run(main)
