"""sora-jax train: train an autoencoder (on clips) or a diffusion transformer (on latents).

The experiment file says which. Every setting can be overridden, as in --config.optimizer.steps=100;
`sora-jax train --config=FILE --help` lists them. A killed run goes on from its latest checkpoint
when the same command is given again. On several hosts of a cluster that JAX detects (TPU pods,
Slurm, Open MPI) give every host the same command; elsewhere also --coordinator, --num_processes and
--process_id.

Example:
  sora-jax train --config=experiments/demo_vae.py --workdir=runs/small/vae --config.data=runs/data
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath
from ml_collections import config_flags

from data_pipelines import crops, latents, loader
from data_pipelines.clips import open_split
from data_pipelines.row_stream import RowStream
from sora_jax import config
from sora_jax.commands import checkpoint_scores, devices, held_out
from sora_jax.commands.first_states import first_diffusion_state, first_vae_state
from sora_jax.commands.runs import keep_inputs
from sora_jax.scaling.chips import peak_flops
from sora_jax.scaling.flops import step_flops
from sora_jax.training import loop, vae_task
from sora_jax.training.diffusion_task import DiffusionTask, Evaluation
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment, parse
from sora_jax.training.run_folder import load_experiment
from sora_jax.training.task import StepWork, Task, TrainingData
from sora_jax.training.vae_loss import VAELossConfig, resolve_features

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
devices.define_process_flags()


def list_settings() -> str:
    """What `--help` prints of the experiment file: every setting, its type, value and meaning."""
    return config.format_settings(parse(CONFIG.value.to_dict()))


def resolve_loss(experiment: VAEExperiment, workdir: epath.PathLike) -> VAELossConfig:
    """The loss with `auto` features resolved as the run did before, else as the packages allow."""
    losses = experiment.loss
    if losses.features == "auto" and (epath.Path(workdir) / "config.json").exists():
        old = load_experiment(workdir)
        if isinstance(old, VAEExperiment):
            losses = dataclasses.replace(losses, features=old.loss.features)
    return resolve_features(losses)


def vae_run(experiment: VAEExperiment, workdir: epath.PathLike) -> tuple[Task, TrainingData]:
    """The task of an autoencoder's experiment, and its data."""
    experiment = dataclasses.replace(experiment, loss=resolve_loss(experiment, workdir))
    records = open_split(experiment.data, "train")
    batches = crops.Crops(experiment, records, experiment.optimizer.steps)
    task = vae_task.VAETask(
        experiment,
        functools.partial(first_vae_state, experiment, batches),
        checkpoint_scores.score_reconstructions(experiment, workdir),
    )
    open_batches = functools.partial(crops.crop_batches, batches)
    return task, TrainingData(open_batches, batches.digest, batches.name_clips)


def step_work(experiment: DiffusionExperiment, rows: loader.PackedRows) -> StepWork:
    """What a step of a transformer's training does, by the mean of some rows."""
    packing = experiment.packing
    flops = packing.rows * float(
        np.mean([step_flops(experiment.model, row) for row in rows.sample_rows()])
    )
    peak = peak_flops(jax.devices()[0])
    return StepWork("tokens", packing.rows * packing.tokens, rows.fill, flops, peak)


def diffusion_run(
    experiment: DiffusionExperiment, workdir: epath.PathLike
) -> tuple[Task, TrainingData]:
    """The task of a transformer's experiment, and its data."""
    count = experiment.optimizer.steps * experiment.packing.rows
    rows = loader.open_rows(experiment, "train", count)
    channels = latents.load_channels(experiment.data)
    work = step_work(experiment, rows)
    first_state = functools.partial(first_diffusion_state, experiment, channels)
    evaluations = (
        Evaluation(experiment.evals.every, checkpoint_scores.score_worlds(experiment, workdir)),
        Evaluation(experiment.held_out.every, held_out.evaluate_held_out(experiment)),
    )
    task = DiffusionTask(experiment, channels, work, evaluations, first_state)
    keep = functools.partial(keep_inputs, [folder for folder, _ in experiment.folders])

    def data_of(stream: RowStream) -> TrainingData:
        def go_on(position: dict[str, Any], step: int) -> TrainingData:
            return data_of(stream.go_on(position, step))

        names, position = stream.name_clips, stream.position
        faults = stream.rows.count_faults
        return TrainingData(stream.open, rows.digest, names, position, go_on, keep, faults)

    return task, data_of(RowStream(rows))


RUNS = {VAEExperiment.kind: vae_run, DiffusionExperiment.kind: diffusion_run}
"""What makes the task and the data of each kind of experiment."""


def main() -> None:
    """Trains to the experiment's last step."""
    if CONFIG.value is None or not WORKDIR.value:
        raise ValueError("--config and --workdir are needed: name an experiment file and a folder")
    experiment = parse(CONFIG.value.to_dict())
    devices.start()
    task, data = RUNS[experiment.kind](experiment, WORKDIR.value)
    loop.train(task, WORKDIR.value, data)
