"""What checkpoints, logging and checks add to a training step, and how long a save blocks.

Command:  python -m experiments.benchmarks.loop_cost
Bar:      at most 2 %: what the checks in the compiled step add to its median time, plus what the
          loop's thread computes beside it, by processor time, more than a bare loop's.

A bare loop runs the compiled step of the task and fetches its loss two steps later. The compiled
steps with and without checks take turns, step by step: whole runs differ by more than 2 % from one
minute to the next. The thread's time would be hidden behind the devices' unless they are CPUs. The
transformer has 2.9M parameters and 2,560 tokens a step; training logs every step and saves every
twentieth, more often than anyone would. What a save blocks is told apart; what the writing of a
save takes from the steps beside it is not measured.
"""

import contextlib
import json
import pathlib
import statistics
import tempfile
import time

import jax
import numpy as np

from experiments.benchmarks import finish, table
from sora_jax.commands.train import diffusion_run
from sora_jax.kernels.products import choose_products, use_products
from sora_jax.models.dit import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.processes import batch_share
from sora_jax.rows import PackingConfig
from sora_jax.sharding import AXES, P, make_mesh
from sora_jax.training import loop
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.guard import guard
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.progress import with_requests
from tests.data_pipelines.folders import write_latents
from tests.tiny_run import note_sensitivity

BAR, STEPS, FIRST, SAVE_EVERY, AHEAD = 0.02, 65, 5, 20, 2


def experiment(data: str) -> DiffusionExperiment:
    """The run."""
    text = TextEncoderConfig(vocabulary=64, width=64, depth=1, heads=4)
    return DiffusionExperiment(
        data,
        model=DiTConfig(
            latent_channels=2, width=192, depth=4, heads=4, mlp_dim=768, text=text, remat="none"
        ),
        packing=PackingConfig(2, 1280, 64, 4, 16),
        optimizer=OptimizerConfig(steps=STEPS, warmup_steps=1),
        loop=LoopConfig(save_every=SAVE_EVERY, log_every=1),
    )


def step_seconds(setup: DiffusionExperiment, workdir: pathlib.Path) -> dict[str, float]:
    """Median seconds of the compiled step without and with its checks, which take turns."""
    task, data = diffusion_run(setup, workdir)
    mesh, specs = make_mesh(setup.mesh), task.batch_specs()
    share = batch_share(mesh, specs)
    times: dict[str, list[float]] = {"bare": [], "checked": []}
    with (
        jax.set_mesh(mesh),
        use_products(choose_products()),
        contextlib.closing(iter(data.open(share).to_iter_dataset())) as batches,
    ):
        constants = jax.device_put(task.constants(), P())
        requests = batch_share(mesh, P(AXES)).place(np.zeros((1, 4), np.int32), P(AXES, None))
        checked = with_requests(guard(task.train_step, setup.loop.spike_factor))
        steps = {
            "bare": (jax.jit(task.train_step, donate_argnums=0), ()),
            "checked": (jax.jit(checked, donate_argnums=0), (requests,)),
        }
        states = {name: task.first_state() for name in steps}
        for _ in range(STEPS):
            batch = share.place(next(batches), specs)
            for name, (step, more) in steps.items():
                start = time.perf_counter()
                states[name], metrics = step(states[name], batch, constants, *more)
                jax.block_until_ready((states[name], metrics))
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(kept[FIRST:]) for name, kept in times.items()}


def bare_thread_seconds(setup: DiffusionExperiment, workdir: pathlib.Path) -> float:
    """Median processor seconds of a bare loop's thread in a step."""
    task, data = diffusion_run(setup, workdir)
    mesh, specs = make_mesh(setup.mesh), task.batch_specs()
    share = batch_share(mesh, specs)
    ends, waiting = [], []
    with (
        jax.set_mesh(mesh),
        use_products(choose_products()),
        contextlib.closing(iter(data.open(share).to_iter_dataset())) as batches,
    ):
        state, constants = task.first_state(), jax.device_put(task.constants(), P())
        step = jax.jit(task.train_step, donate_argnums=0)
        for _ in range(STEPS):
            state, metrics = step(state, share.place(next(batches), specs), constants)
            waiting.append(metrics["loss"])
            if len(waiting) > AHEAD:
                jax.device_get(waiting.pop(0))
                ends.append(time.thread_time())
    return _median_difference(ends)


def trained_thread_seconds(
    setup: DiffusionExperiment, workdir: pathlib.Path
) -> tuple[float, list[float]]:
    """Median processor seconds of training's thread in a step; seconds that its saves block."""
    task, data = diffusion_run(setup, workdir)
    ends, describe = [], task.describe

    def noting(metrics: dict[str, float]) -> str:
        ends.append(time.thread_time())
        return describe(metrics)

    task.describe = noting
    loop.train(task, workdir, data)
    lines = (workdir / "speed.jsonl").read_text().splitlines()
    blocked = [json.loads(line)["seconds"]["save"] for line in lines]
    saves = [after - before for before, after in zip(blocked, blocked[1:], strict=False)]
    return _median_difference(ends), [seconds for seconds in saves if seconds > 0]


def _median_difference(ends: list[float]) -> float:
    steps = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    return statistics.median(steps[FIRST:])


def main() -> None:
    """Times, prints, writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
        write_latents(folder / "latents", [(5, 32, 32, 2)] * 64)
        note_sensitivity(folder / "latents")
        setup = experiment(str(folder / "latents"))
        steps = step_seconds(setup, folder / "steps")
        bare = bare_thread_seconds(setup, folder / "bare")
        trained, saves = trained_thread_seconds(setup, folder / "run")
    checks = steps["checked"] / steps["bare"] - 1
    thread = (trained - bare) / steps["bare"]
    rows = [
        ["compiled step", steps["bare"], steps["checked"], f"{checks:+.2%}"],
        ["thread of the loop", bare, trained, f"{thread:+.2%}"],
    ]
    print(table(["seconds a step", "bare", "training", "of a step"], rows))
    first, later = saves[0], statistics.median(saves[1:])
    print(f"a save blocks {later:.3g} s; the first one, which compiles, {first:.3g} s")
    total = checks + thread
    missed = [] if total <= BAR else [f"{total:.2%} are added to a step: the bar is {BAR:.0%}"]
    figures = {"step": steps, "thread": {"bare": bare, "training": trained}, "added": total}
    finish("loop_cost", figures | {"save_blocks": saves}, missed)


if __name__ == "__main__":
    main()
