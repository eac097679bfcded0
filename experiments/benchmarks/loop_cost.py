"""What checkpoints, logging and checks add to training, and how long a save blocks.

Command:  python -m experiments.benchmarks.loop_cost
Bar:      at most 2 %: the time that a step of training takes more than one of a bare loop, with or
          without checks in the compiled step, and that a save takes of all, once in
          `loop.save_minutes`.

A bare loop runs the task's step, jitted, or `compile_step` with its checks, and fetches its loss
two steps later. Training logs each step, and saves in the middle of every second block of steps,
more often than anyone would. The three are in one process and take turns, block by block, as
processors change their speed by more than 2 % from one minute to the next: each block of training
is compared to the mean of those before and after it. A block with a save has all of the save's time
in it: what blocks, and what its writing takes from the steps beside it. The transformer has 2.9M
parameters and 2,560 tokens a step.
"""

import dataclasses
import itertools
import json
import pathlib
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator

import grain
import jax

from experiments.benchmarks import finish, table
from sora_jax.commands.train import diffusion_run
from sora_jax.kernels.products import use_products
from sora_jax.models.dit import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.processes import batch_share
from sora_jax.rows import PackingConfig
from sora_jax.sharding import P, make_mesh
from sora_jax.training import loop, progress
from sora_jax.training.compiled_step import compile_step, place_requests
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.optimizer import OptimizerConfig
from tests.data_pipelines.folders import write_latents
from tests.tiny_run import note_sensitivity

BAR, AHEAD = 0.02, 2
BLOCK, BLOCKS = 8, 16
"""Steps of a block, and blocks of training after the first steps, half a block, that compile."""
PRODUCTS = "float32"


def experiment(data: str) -> DiffusionExperiment:
    """The run."""
    text = TextEncoderConfig(vocabulary=64, width=64, depth=1, heads=4)
    return DiffusionExperiment(
        data,
        model=DiTConfig(
            latent_channels=2, width=192, depth=4, heads=4, mlp_dim=768, text=text, remat="none"
        ),
        packing=PackingConfig(2, 1280, 64, 4, 16),
        optimizer=OptimizerConfig(steps=BLOCK // 2 + BLOCKS * BLOCK + 1, warmup_steps=1),
        loop=LoopConfig(save_every=2 * BLOCK, log_every=1, products=PRODUCTS),
    )


def bare_blocks(setup: DiffusionExperiment, checked: bool) -> Iterator[float]:
    """Seconds of each block of a bare loop."""
    optimizer = dataclasses.replace(setup.optimizer, steps=2 * setup.optimizer.steps)
    task, data = diffusion_run(dataclasses.replace(setup, optimizer=optimizer), "")
    mesh, specs = make_mesh(setup.mesh), task.batch_specs()
    share, config = batch_share(mesh, specs), setup.loop
    step = jax.jit(task.train_step, donate_argnums=0)
    if checked:
        step = compile_step(task.train_step, config.spike_factor)
    with jax.set_mesh(mesh), use_products(PRODUCTS):
        options = grain.ReadOptions(config.threads, config.prefetch)
        batches = iter(data.open(share).to_iter_dataset(options))
        state, constants = task.first_state(), jax.device_put(task.constants(), P())
        more = (place_requests((False,) * 4, mesh),) if checked else ()
    while True:
        start = time.perf_counter()
        with jax.set_mesh(mesh), use_products(PRODUCTS):
            waiting = []
            for _ in range(BLOCK):
                batch = share.place(next(batches), specs)
                state, metrics = step(state, batch, constants, *more)
                waiting.append(metrics["loss"])
                if len(waiting) > AHEAD:
                    jax.device_get(waiting.pop(0))
            jax.device_get(waiting)
        yield time.perf_counter() - start


def trained_blocks(setup: DiffusionExperiment, workdir: pathlib.Path) -> Iterator[float]:
    """Seconds of the first steps and of each block of training, which stands still between them."""
    task, data = diffusion_run(setup, workdir)
    begin: queue.SimpleQueue[None] = queue.SimpleQueue()
    ended: queue.SimpleQueue[float] = queue.SimpleQueue()

    class Gated(progress.RunProgress):
        steps = 0

        def place_requests(self, mesh: jax.sharding.Mesh) -> jax.Array:
            if self.steps % BLOCK == BLOCK // 2:
                jax.block_until_ready(list(self._waiting))
                ended.put(time.perf_counter())
                begin.get()
            self.steps += 1
            return super().place_requests(mesh)

    loop.RunProgress = Gated
    thread = threading.Thread(target=loop.train, args=(task, workdir, data), daemon=True)
    start = time.perf_counter()
    thread.start()
    for _ in range(BLOCKS + 1):
        yield ended.get() - start
        start = time.perf_counter()
        begin.put(None)
    thread.join()


def main() -> None:
    """Times, prints, writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_latents(folder / "latents", [(5, 32, 32, 2)] * 64)
        note_sensitivity(folder / "latents")
        setup = experiment(str(folder / "latents"))
        loops = {name: bare_blocks(setup, name == "checked") for name in ("bare", "checked")}
        seconds = {name: [next(blocks)] for name, blocks in loops.items()}
        trained = []
        for block in trained_blocks(setup, folder / "run"):
            trained.append(block)
            for name, blocks in loops.items():
                seconds[name].append(next(blocks))
        lines = (folder / "run" / "speed.jsonl").read_text().splitlines()
    rows, shares = [], {}
    for name, blocks in seconds.items():
        beside = [(a + b) / 2 for a, b in itertools.pairwise(blocks)]
        more = [t - b for t, b in zip(trained, beside, strict=True)]
        quiet, with_save = more[1::2], more[2::2]
        step, added = statistics.median(beside[1:]) / BLOCK, statistics.median(quiet) / BLOCK
        save = statistics.median(with_save) - statistics.median(quiet)
        shares[name] = added / step + save / (60 * LoopConfig().save_minutes)
        rows += [
            [f"a {name} step", step, statistics.stdev(beside[1:]) / BLOCK],
            ["training adds to it", added, statistics.stdev(quiet) / BLOCK],
            ["a save takes in all", save, statistics.stdev(with_save)],
        ]
    blocked = [json.loads(line)["seconds"]["save"] for line in lines]
    blocks = [b - a for a, b in itertools.pairwise(blocked) if b > a][1:]
    rows.append(["of which it blocks", statistics.median(blocks), statistics.stdev(blocks)])
    print(table(["median of blocks", "seconds", "deviation"], rows))
    for name, share in shares.items():
        print(f"training and its saves add {share:+.2%} to a {name} loop")
    missed = [f"{share:.2%} of a {name} loop" for name, share in shares.items() if share > BAR]
    figures = {"seconds": seconds | {"trained": trained}, "added": shares, "save_blocks": blocks}
    finish("loop_cost", figures, missed)


if __name__ == "__main__":
    main()
