"""What loading costs: packed rows of latents from disk to device, crops of pixels, and waiting.

Command:  python -m experiments.benchmarks.loader [--seed=N] [--clips=N]
Bar:      the demo's training waits for data for less than 1 % of its time.

latents: rows of 16k tokens of the stream `mixed` of `benchmarks.packing`, 16 channels at 4x8x8 in
patches of 2x2, with T5 states of 4,096 numbers (8 KB a token of text) for captions of 8 to 100
tokens: what the 7B config reads. Files are dropped from the page cache first. `cores` is what it
takes to feed four v5p chips that train that config at 40 % of their peak (`scaling.flops`).

pixels: the autoencoder's crops of 17x64x64 from stored videos of two worlds; a token is 16x16
pixels of 4 frames.

demo: rows of the demo's shapes into its training step on this machine: the share of the time in
which the loop waits for the next batch and puts it on the device, after the first steps. Each step
ends before the next batch is asked for, so waiting hides behind nothing.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
import time
import types
from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np

from data_pipelines import caption_embeddings, crops, loader, records, shards
from data_pipelines.clip_meta import ClipMeta
from data_pipelines.clips import open_split
from data_pipelines.latents import NAME, TOKENIZER, Index
from data_pipelines.worlds import base, dataset
from experiments import demo_dit, demo_vae
from experiments.benchmarks import finish, packing, table
from experiments.pods import v5p_7b
from sora_jax import sharding
from sora_jax.files import write_whole
from sora_jax.models.tokenizer import Tokenizer, train_tokenizer
from sora_jax.provenance import ENCODE_NOTE
from sora_jax.rows import batch_specs
from sora_jax.scaling.flops import step_flops
from sora_jax.training import diffusion_task
from sora_jax.training.experiments import (
    CropConfig,
    DiffusionExperiment,
    VAEExperiment,
    parse,
    require_kind,
)

PEAK, BUSY, CHIPS = 459e12, 0.4, 4
ROWS, WARM, STEPS, BAR = 24, 5, 40, 0.01
WORDS = [f"word{i}" for i in range(200)]


def write_latents(folder: pathlib.Path, shapes: np.ndarray, rng: np.random.Generator) -> None:
    """A folder of random latents with random captions, as `sora-jax encode` leaves it."""
    write_whole(folder / TOKENIZER, train_tokenizer(WORDS, 256))
    tokenizer, metas = Tokenizer(folder / TOKENIZER), []

    def rows() -> Iterator[dict[str, Any]]:
        for shape in shapes:
            payload = rng.standard_normal(shape, np.float32).astype(np.float16).tobytes()
            words = [" ".join(rng.choice(WORDS, n)) for n in rng.integers((4, 12), (12, 30))]
            metas.append(
                ClipMeta(
                    captions=dict(zip(("short", "detailed"), words, strict=True)),
                    fps=24.0,
                    size=(0, 0, 0),
                    source="noise",
                    split="train",
                    seed=len(metas),
                    attributes={},
                    origin="random numbers",
                    licence="Apache-2.0",
                    sha256=records.sha256(payload),
                    latent_shape=tuple(shape.tolist()),
                )
            )
            yield {"video": payload, "meta": json.dumps(metas[-1].write())}

    shards.write(shards.path_of(folder, NAME, "train", 0, 1), rows())
    Index.of(metas, tokenizer).save(shards.index_path(folder, "train", 0, 1), metas)
    shards.finish(folder, NAME, {"train": [len(shapes)]})
    write_whole(folder / ENCODE_NOTE, '{"weights": ""}')


def write_states(folder: pathlib.Path, width: int, rng: np.random.Generator) -> None:
    """Random states of the captions there."""

    def stream(captions):
        for i in range(len(captions)):
            yield (
                i,
                rng.standard_normal((rng.integers(8, 100), width), np.float32).astype(np.float16),
            )

    fake = types.SimpleNamespace(
        weights="", max_tokens=512, config=types.SimpleNamespace(width=width), stream=stream
    )
    caption_embeddings.encode(folder, folder / "t5", fake, lambda *_: None)  # type: ignore


def forget(folder: pathlib.Path) -> None:
    """Drops a folder's files from the page cache."""
    for path in filter(pathlib.Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measured(source: grain.MapDataset, threads: int, count: int) -> tuple[float, float]:
    """Wall seconds and core seconds until so many batches are on the device."""
    iterator = iter(source.to_iter_dataset(grain.ReadOptions(threads, 2 * threads)))
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        jax.block_until_ready(jax.device_put(next(iterator)))
    found = time.perf_counter() - wall, time.process_time() - cpu
    iterator.close()
    return found


def latents(folder: pathlib.Path, clips: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the 7B config."""
    rng, experiment = np.random.default_rng(seed), parse(v5p_7b.get_config().to_dict())
    experiment = require_kind(experiment, DiffusionExperiment, "v5p_7b")
    stream = packing.stream("mixed", 4 * clips, seed)
    fits = np.flatnonzero(stream["tokens"] <= experiment.packing.tokens)[:clips]
    height = np.sqrt(stream["pixels"] / stream["aspect"])[fits]
    sides = 2 * np.ceil(np.stack([height, height * stream["aspect"][fits]], 1) / 16)
    shapes = np.column_stack([1 + (stream["frames"][fits] - 1) // 4, sides, np.full(clips, 16)])
    write_latents(folder, shapes.astype(int), rng)
    write_states(folder, experiment.model.text_embed_dim, rng)
    experiment = dataclasses.replace(experiment, data=str(folder))
    rows = loader.open_rows(experiment, "train", ROWS)
    segments = [(int(n), 60) for n in rows.latents.catalog.shapes[:, :3].prod(1) // 4]
    flops = step_flops(experiment.model, segments) / sum(n for n, _ in segments)
    wanted, found = CHIPS * PEAK * BUSY / flops, []
    for threads in (1, 2):
        forget(folder)
        wall, cpu = measured(loader.packed_batches(rows, 1), threads, ROWS)
        tokens = ROWS * experiment.packing.tokens * rows.fill
        line = {"what": "latents", "threads": threads, "tokens_per_second": tokens / wall}
        line |= {"tokens_per_core_second": tokens / cpu, "wanted": wanted}
        found.append(line | {"cores": wanted / (tokens / cpu)})
    return found


def pixels(folder: pathlib.Path, seed: int) -> list[dict[str, Any]]:
    """Crops from stored videos."""
    dataset.build(folder, {"occlusion": 220, "orbit": 220}, seed)
    experiment = parse(demo_vae.get_config().to_dict())
    experiment = require_kind(experiment, VAEExperiment, "demo_vae")
    crop = CropConfig(8, 17, 64, 64)
    experiment = dataclasses.replace(experiment, crops=(crop,))
    batches = crops.Crops(experiment, open_split(folder, "train"), ROWS)
    tokens, found = ROWS * 8 * 17 * 64 * 64 / 1024, []
    for threads in (1, 2):
        wall, cpu = measured(crops.crop_batches(batches), threads, ROWS)
        line = {"what": "pixels", "threads": threads, "tokens_per_second": tokens / wall}
        found.append(line | {"tokens_per_core_second": tokens / cpu, "wanted": "", "cores": ""})
    return found


def waiting(folder: pathlib.Path, seed: int) -> dict[str, float]:
    """The demo's loop, its waiting apart."""
    rng, experiment = np.random.default_rng(seed), parse(demo_dit.get_config().to_dict())
    experiment = require_kind(experiment, DiffusionExperiment, "demo_dit")
    model = parse(demo_vae.get_config().to_dict()).model
    frames = rng.choice(list(base.DURATIONS), 1000, p=list(base.DURATIONS.values()))
    sizes = np.array(base.SIZES)[rng.integers(len(base.SIZES), size=1000)]
    sides = 2 * -(-sizes // (2 * model.spatial_stride))
    channels = np.full(1000, model.latent_channels)
    write_latents(folder, np.column_stack([1 + (frames - 1) // 4, sides, channels]), rng)
    experiment = dataclasses.replace(experiment, data=str(folder))
    rows = loader.open_rows(experiment, "train", 1000)
    batches = loader.packed_batches(rows, experiment.packing.rows)
    with sharding.use_mesh():
        state = jax.jit(lambda: diffusion_task.init_state(experiment))()
        train = jax.jit(
            functools.partial(diffusion_task.train_step, experiment=experiment), donate_argnums=0
        )
        iterator = iter(
            batches.to_iter_dataset(
                grain.ReadOptions(experiment.loop.threads, experiment.loop.prefetch)
            )
        )
        waited, began = 0.0, 0.0
        for number in range(WARM + STEPS):
            if number == WARM:
                waited, began = 0.0, time.perf_counter()
            start = time.perf_counter()
            batch = jax.device_put(next(iterator), batch_specs())
            jax.block_until_ready(batch)
            waited += time.perf_counter() - start
            state, _ = train(state, batch)
            jax.block_until_ready(state)  # so that no step runs while the loop waits
        seconds = time.perf_counter() - began
        iterator.close()
    return {"steps": STEPS, "seconds": seconds, "waiting": waited, "share": waited / seconds}


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=400)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = latents(pathlib.Path(folder, "latents"), args.clips, args.seed)
        rates += pixels(pathlib.Path(folder, "clips"), args.seed)
        demo = waiting(pathlib.Path(folder, "demo"), args.seed)
    print(table(list(rates[0]), [list(rate.values()) for rate in rates]))
    print(f"the demo waits for {demo['share']:.2%} of {demo['seconds']:.1f} s")
    missed = [f"the demo waits for {demo['share']:.2%}"] if demo["share"] >= BAR else []
    finish("loader", {"rates": rates, "demo": demo, "seed": args.seed}, missed)


if __name__ == "__main__":
    main()
