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
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath
from ml_collections import config_flags

from data_pipelines import crops, latents, loader
from data_pipelines.clips import open_split
from data_pipelines.row_stream import RowStream
from sora_jax import config, media
from sora_jax.codec.video_codec import VideoCodec, load_codec
from sora_jax.commands import devices, held_out
from sora_jax.commands.cases import make_request, read_cases
from sora_jax.commands.first_states import first_diffusion_state, first_vae_state
from sora_jax.commands.runs import keep_inputs
from sora_jax.evals import reconstruction, vae_scores, world_scores
from sora_jax.evals.demo_scores import mean_by_group
from sora_jax.generation.generate import Generator
from sora_jax.generation.prompting import generate_from_prompts
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.processes import is_first
from sora_jax.scaling.chips import peak_flops
from sora_jax.scaling.flops import step_flops
from sora_jax.text_inputs import load_text_inputs
from sora_jax.training import loop, vae_task
from sora_jax.training.diffusion_task import DiffusionTask, Evaluation
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment, parse
from sora_jax.training.run_folder import DiffusionRun, load_experiment
from sora_jax.training.task import StepWork, Task, TrainingData
from sora_jax.training.vae_loss import VAELossConfig, resolve_features
from sora_jax.types import TrainState

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


def evaluate_reconstructions(
    experiment: VAEExperiment, workdir: epath.PathLike
) -> Callable[[TrainState], dict[str, float]]:
    """A function of a state: PSNR by source of a few validation clips at their native size.

    It also writes a strip of frames to `strips/STEP.png`, each clip above its reconstruction.
    """
    if not experiment.validation_clips:
        return lambda state: {}
    try:
        split = open_split(experiment.data, "validation")
    except ValueError as error:
        raise ValueError(
            f"{error} (or give --config.validation_clips=0 to reconstruct no clips)"
        ) from error
    numbers = vae_scores.choose(split.metas(), experiment.validation_clips, min_frames=2)
    clips = [split[i] for i in numbers]
    if not clips:
        return lambda state: {}
    codec = VideoCodec(experiment.model, {}, {})

    def evaluate(state: TrainState) -> dict[str, float]:
        codec.params, codec.statistics = state.ema, state.statistics
        pairs = [(clip.video, reconstruction.reconstruct(clip.video, codec)) for clip in clips]
        psnr = [
            (f"psnr_db {clip.meta.source}", reconstruction.psnr_db(reconstructed, video))
            for clip, (video, reconstructed) in zip(clips, pairs, strict=True)
        ]
        path = epath.Path(workdir) / "strips" / f"{int(state.step):07d}.png"
        if is_first():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(media.image_bytes(reconstruction.strip(pairs)))
        return mean_by_group(psnr)

    return evaluate


def evaluate_worlds(
    experiment: DiffusionExperiment,
) -> Callable[[TrainState], dict[str, float]]:
    """A function of a state: mean scores of videos of a few held-out prompts.

    Raises:
      ValueError: the latents' clips are none of simulated worlds, or several hosts train.
    """
    evals = experiment.evals
    if not evals.every:
        return lambda state: {}
    if jax.process_count() > 1:
        raise ValueError("config.evals.every is for one host: set it to 0, and score checkpoints")
    vae_workdir, data = latents.sources_of(experiment.data)
    cases = read_cases(data, "test", (), evals.clips)
    requests = [make_request(case) for case in cases]
    none = [np.zeros((0, *case.size[1:], 3), np.uint8) for case in cases]  # no given frames
    config = SamplingConfig(evals.steps, evals.guidance)
    parts: list[Any] = []  # codec and text inputs, loaded once there is a mesh

    def evaluate(state: TrainState) -> dict[str, float]:
        if not parts:
            text_inputs = load_text_inputs(experiment.data, experiment.model)
            parts.extend([text_inputs, load_codec(vae_workdir)])
        scale = np.asarray(state.statistics["channel_scale"])
        run = DiffusionRun(experiment, state.ema, scale, int(state.step))
        make = generate_from_prompts(Generator(run, *parts), config)
        return world_scores.mean_scores(cases, make(requests, none))

    return evaluate


def vae_run(experiment: VAEExperiment, workdir: epath.PathLike) -> tuple[Task, TrainingData]:
    """The task of an autoencoder's experiment, and its data."""
    experiment = dataclasses.replace(experiment, loss=resolve_loss(experiment, workdir))
    records = open_split(experiment.data, "train")
    batches = crops.Crops(experiment, records, experiment.optimizer.steps)
    task = vae_task.VAETask(
        experiment,
        functools.partial(first_vae_state, experiment, batches),
        evaluate_reconstructions(experiment, workdir),
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
    sensitivity = latents.load_channel_sensitivity(experiment.data)
    work = step_work(experiment, rows)
    first_state = functools.partial(first_diffusion_state, experiment, sensitivity)
    evaluations = (
        Evaluation(experiment.evals.every, evaluate_worlds(experiment)),
        Evaluation(experiment.held_out.every, held_out.evaluate_held_out(experiment)),
    )
    task = DiffusionTask(experiment, sensitivity, work, evaluations, first_state)
    keep = functools.partial(keep_inputs, [folder for folder, _ in experiment.folders])

    def data_of(stream: RowStream) -> TrainingData:
        def go_on(position: dict[str, Any], step: int) -> TrainingData:
            return data_of(stream.go_on(position, step))

        names, position = stream.name_clips, stream.position
        return TrainingData(stream.open, rows.digest, names, position, go_on, keep)

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
