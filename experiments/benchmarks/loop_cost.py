"""What checkpoints, logging and checks add to a training step, and how long a save blocks.

Command:  python -m experiments.benchmarks.loop_cost
Bar:      the median step of `sora-jax train` takes at most 2 % longer than a bare loop's, over the
          same batches: the compiled step of the task, whose loss is fetched two steps later.

Both run in turn, `ROUNDS` times `STEPS` steps of a transformer of 2.9M parameters on 2,560 tokens.
Training logs every step and saves every twentieth, more often than anyone would; the steps
that are taken while a save is written count, and what a save blocks is told apart.
"""

import contextlib
import functools
import json
import pathlib
import statistics
import tempfile
import time

import jax

from experiments.benchmarks import finish, table
from sora_jax.commands.train import diffusion_run
from sora_jax.models.dit import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.processes import batch_share
from sora_jax.rows import PackingConfig
from sora_jax.sharding import P, make_mesh
from sora_jax.training import loop
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.optimizer import OptimizerConfig
from tests.data_pipelines.folders import write_latents
from tests.tiny_run import note_sensitivity

BAR, ROUNDS, STEPS, FIRST, SAVE_EVERY, AHEAD = 1.02, 4, 45, 5, 20, 2


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


def bare_seconds(setup: DiffusionExperiment, workdir: pathlib.Path) -> list[float]:
    """Seconds between the ends of a bare loop's steps."""
    task, data = diffusion_run(setup, workdir)
    mesh, specs = make_mesh(setup.mesh), task.batch_specs()
    share = batch_share(mesh, specs)
    with jax.set_mesh(mesh):
        state, constants = task.first_state(), jax.device_put(task.constants(), P())
        step = jax.jit(task.train_step, donate_argnums=0)
        waiting, ends = [], []
        with contextlib.closing(iter(data.open(share).to_iter_dataset())) as batches:
            for _ in range(STEPS):
                state, metrics = step(state, share.place(next(batches), specs), constants)
                waiting.append(metrics["loss"])
                if len(waiting) > AHEAD:
                    jax.device_get(waiting.pop(0))
                    ends.append(time.monotonic())
    return [after - before for before, after in zip(ends, ends[1:], strict=False)][FIRST:]


def trained_seconds(
    setup: DiffusionExperiment, workdir: pathlib.Path
) -> tuple[list[float], list[float]]:
    """Seconds of the steps of a training run, and those that its saves block."""
    task, data = diffusion_run(setup, workdir)
    loop.train(task, workdir, data)
    lines = [json.loads(line) for line in (workdir / "speed.jsonl").read_text().splitlines()]
    spent = [line["seconds"] for line in lines]
    pairs = list(zip(spent, spent[1:], strict=False))
    steps = [sum(b[name] - a[name] for name in ("train", "data")) for a, b in pairs]
    saves = [b["save"] - a["save"] for a, b in pairs]
    return steps[FIRST:], [seconds for seconds in saves if seconds > 0]


def main() -> None:
    """Times, prints, writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
        write_latents(folder / "latents", [(5, 32, 32, 2)] * 64)
        note_sensitivity(folder / "latents")
        setup = experiment(str(folder / "latents"))
        run = functools.partial(trained_seconds, setup)
        bare, trained, saves = [], [], []
        for number in range(ROUNDS):
            bare.append(statistics.median(bare_seconds(setup, folder / "none")))
            steps, blocked = run(folder / f"run{number}")
            trained.append(statistics.median(steps))
            saves += blocked
    ratio = statistics.median(a / b for a, b in zip(trained, bare, strict=True))
    rows = [
        ["a step of a bare loop, s", statistics.median(bare)],
        ["a step of training, s", statistics.median(trained)],
        ["training / bare, median of rounds", f"{ratio:.3f}"],
        ["a save blocks, s", statistics.median(saves)],
    ]
    print(table(["", "median"], rows))
    missed = [] if ratio <= BAR else [f"steps take {ratio:.3f} of a bare loop's: the bar is {BAR}"]
    figures = {"bare": bare, "training": trained, "ratio": ratio, "save_blocks": saves}
    finish("loop_cost", figures, missed)


if __name__ == "__main__":
    main()
