"""Seconds of a step of the shipped models' training, by how it is computed on CPUs.

Command:  python -m experiments.benchmarks.step_speed
Bar:      the products that `loop.products=auto` chooses here take at most 1.05 times as long as the
          others, of each model.

The world model (`experiments/world_dit.py`, two rows of 2,048 tokens with 11 clips each) and its
codec's decoder (`experiments/world_vae_decoder.py`, 20 crops of 17 frames of 48x48) take whole
steps, of random weights on random data, in each way in turn. The floor is a step's operations over
the speed of a large float32 product.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import world_dit, world_vae_decoder
from experiments.benchmarks import finish, matmul_speed, table
from sora_jax import sharding
from sora_jax.kernels import products
from sora_jax.rows import make_segment, pack_row, stack_rows
from sora_jax.scaling.flops import step_flops
from sora_jax.training.diffusion_task import DiffusionTask
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment, parse
from sora_jax.training.vae_loss import resolve_features
from sora_jax.training.vae_task import VAETask

BAR, ROUNDS = 1.05, 7
FACTORS = "float32", "bfloat16"
ROWS, CLIPS, GRID, WORDS = 2, 11, (5, 6, 6), 30
"""Rows, clips of a row, tokens of a clip along its axes, and of its caption."""


class Way(NamedTuple):
    """A model, the factors of its products, whether its layers are unrolled, and its step."""

    model: str
    factors: str
    unrolled: bool
    step: Callable[[], None]


def repeat(task: Any, batch: Any, factors: str) -> Callable[[], None]:
    """A function that takes one step, of a state of its own, and waits for it."""
    step = jax.jit(task.train_step, donate_argnums=0)
    state, constants = task.first_state(), task.constants()
    batch = sharding.shard(batch, task.batch_specs())

    def run() -> None:
        nonlocal state
        with products.use_products(factors):
            state, metrics = step(state, batch, constants)
        jax.block_until_ready((state, metrics))

    return run


def list_ways(transformer: DiffusionExperiment, codec: VAEExperiment) -> Iterator[Way]:
    """All that is timed."""
    rng, model = np.random.default_rng(0), transformer.model
    capacity = transformer.packing.capacity
    rows = []
    for _ in range(ROWS):
        latents = rng.normal(size=(CLIPS, *GRID, model.latent_channels)).astype(np.float32)
        text = rng.integers(1, model.text.vocabulary, (CLIPS, WORDS))
        pairs = zip(latents, text, strict=True)
        segments = [make_segment(latent, 8.0, words, model.patch, 1.0) for latent, words in pairs]
        rows.append(pack_row(segments, capacity, model.patch_width))
    batch = stack_rows(rows, ROWS)
    for unrolled in (False, True):
        changed = dataclasses.replace(model, unroll=unrolled)
        task = DiffusionTask(dataclasses.replace(transformer, model=changed))
        for factors in FACTORS:
            yield Way("world model", factors, unrolled, repeat(task, batch, factors))
    (crop,) = codec.crops
    shape = (crop.batch, crop.frames, crop.height, crop.width, 3)
    pixels = rng.uniform(-1, 1, shape).astype(np.float32)
    for factors in FACTORS:
        yield Way("decoder", factors, False, repeat(VAETask(codec), pixels, factors))


def main() -> None:
    """Times, prints, writes."""
    transformer, codec = (
        parse(module.get_config().to_dict()) for module in (world_dit, world_vae_decoder)
    )
    assert isinstance(transformer, DiffusionExperiment) and isinstance(codec, VAEExperiment)
    packing = dataclasses.replace(transformer.packing, rows=ROWS, rows_per_device=1)
    transformer = dataclasses.replace(transformer, packing=packing)
    codec = dataclasses.replace(codec, loss=resolve_features(codec.loss))
    with jax.set_mesh(sharding.make_mesh()):
        chosen = products.choose_products()
        with products.use_products("float32"):
            speed = matmul_speed()
        ways = list(list_ways(transformer, codec))
        seconds: list[list[float]] = [[] for _ in ways]
        for turn in range(ROUNDS + 1):
            for way, taken in zip(ways, seconds, strict=True):
                start = time.perf_counter()
                way.step()
                if turn:  # the first one compiles
                    taken.append(time.perf_counter() - start)
    medians = list(map(statistics.median, seconds))
    segments = [(int(np.prod(GRID)), WORDS)] * (ROWS * CLIPS)
    floor = step_flops(transformer.model, segments) / speed
    rows = [
        [way.model, way.factors, "unrolled" if way.unrolled else "scanned", median]
        for way, median in zip(ways, medians, strict=True)
    ]
    print(table(["model", "factors", "layers", "seconds"], rows))
    print(f"a float32 product: {speed / 1e9:.0f} GFLOP/s; the world model's floor: {floor:.2g} s")
    print(f"loop.products=auto is {chosen} here")
    best: dict[tuple[str, str], float] = {}
    for way, median in zip(ways, medians, strict=True):
        key = way.model, way.factors
        best[key] = min(median, best.get(key, median))
    missed = []
    for model in dict.fromkeys(way.model for way in ways):
        mine, least = best[model, chosen], min(best[model, name] for name in FACTORS)
        if mine > BAR * least:
            missed.append(f"{model}: {chosen} takes {mine / least:.2f} times the other products")
    names = ("model", "factors", "layers", "seconds")
    figures = {"ways": [dict(zip(names, row, strict=True)) for row in rows]}
    figures |= {"chosen": chosen, "floor": floor, "matmul_flops_per_second": speed}
    finish("step_speed", figures, missed)


if __name__ == "__main__":
    main()
