"""sora-jax train: train an autoencoder (on clips) or a diffusion transformer (on latents).

The experiment file's config.experiment says which. A killed run goes on from its latest
checkpoint when the same command is given again. On several hosts of a cluster that JAX detects
(TPU pods, Slurm, Open MPI) give every host the same command.

Example:
  sora-jax train --config=experiments/demo_vae.py --workdir=runs/demo/vae --config.data=runs/data
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import flags
from etils import epath
from ml_collections import config_flags

from data_pipelines import crops, latents, loader
from data_pipelines.clips import open_split
from sora_jax import config, media, sharding
from sora_jax.codec.video_codec import VideoCodec, load_codec
from sora_jax.commands.runs import keep_source
from sora_jax.evals import reconstruction, vae_scores
from sora_jax.evals.demo_scores import by_group
from sora_jax.models.latents import PrincipalAxes
from sora_jax.training import loop, step, vae_step
from sora_jax.training.checkpoint import load_config
from sora_jax.training.vae_loss import VAELossConfig, resolve_features
from sora_jax.types import TrainState

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
BATCHES = 48  # that the principal axes are taken from
DISTRIBUTED = flags.DEFINE_enum("distributed", "auto", ["auto", "on", "off"], "Several hosts?")


def first_vae_state(experiment: config.VAEExperiment, batches: crops.Crops) -> TrainState:
    """Random weights, or those of `experiment.start`.

    The principal axes and the map of neighbours, where wanted, are those of the first batches.
    """
    if experiment.start:
        codec = load_codec(experiment.start)
        if dataclasses.replace(codec.config, dtype=experiment.model.dtype) != experiment.model:
            raise ValueError(
                f"config.start, {experiment.start}, has another config.model: copy its sizes"
            )
        state = jax.jit(functools.partial(vae_step.init_state, experiment))()
        copies = jax.tree.map(jnp.copy, (codec.params, codec.params, codec.statistics))
        return state._replace(params=copies[0], ema=copies[1], statistics=copies[2])
    axes = lapped = None
    if experiment.model.principal_axes:
        moments = crops.cell_moments(batches, BATCHES)
        axes = PrincipalAxes.fit(moments, experiment.model.latent_channels)
        if experiment.model.neighbour_kernel:
            lapped = crops.lapped_kernel(batches, BATCHES, axes)
    return jax.jit(functools.partial(vae_step.init_state, experiment, axes, lapped))()


def known_features(experiment: config.VAEExperiment, workdir: epath.PathLike) -> VAELossConfig:
    """The losses with `auto` as the run used it so far, else as the packages allow."""
    losses = experiment.loss
    if losses.features == "auto" and (epath.Path(workdir) / "config.json").exists():
        old = load_config(workdir)
        if isinstance(old, config.VAEExperiment):
            losses = dataclasses.replace(losses, features=old.loss.features)
    return resolve_features(losses)


def watch_reconstructions(
    experiment: config.VAEExperiment, workdir: epath.PathLike
) -> Callable[[TrainState], dict[str, float]]:
    """Reconstructs a few validation clips at their own size: PSNR by source, and a strip of frames.

    The strip lies at `strips/STEP.png`, each clip above its reconstruction.
    """
    if not experiment.validation_clips:
        return lambda state: {}
    try:
        split = open_split(experiment.data, "validation")
    except ValueError as error:
        raise ValueError(
            f"{error} (or give --config.validation_clips=0 to watch no clips)"
        ) from error
    found = [
        split[i] for i in vae_scores.choose(split.metas(), experiment.validation_clips, shortest=2)
    ]
    if not found:
        return lambda state: {}
    codec = VideoCodec(experiment.model, {}, {})

    def watch(state: TrainState) -> dict[str, float]:
        codec.params, codec.statistics = state.ema, state.statistics
        pairs, psnr = [], []
        for clip in found:
            made = reconstruction.reconstruct(clip.video, codec)
            pairs.append((clip.video, made))
            name = f"psnr_db {clip.meta.source}"
            psnr.append((name, reconstruction.psnr_db(made, clip.video)))
        path = epath.Path(workdir) / "strips" / f"{int(state.step):07d}.png"
        if jax.process_index() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(media.image_bytes(reconstruction.strip(pairs)))
        return by_group(psnr)

    return watch


def first_dit_state(experiment: config.DiffusionExperiment) -> TrainState:
    """Random weights, and the scale of channels from what `sora-jax encode` measured."""
    energy = latents.load_channel_sensitivity(experiment.data)
    return jax.jit(functools.partial(step.init_state, experiment, energy))()


def main() -> None:
    """Trains to the experiment's last step."""
    if CONFIG.value is None or not WORKDIR.value:
        raise ValueError("--config and --workdir are needed: name an experiment file and a folder")
    experiment = config.parse(CONFIG.value.to_dict())
    sharding.start_distributed(DISTRIBUTED.value)
    if isinstance(experiment, config.VAEExperiment):
        experiment = dataclasses.replace(experiment, loss=known_features(experiment, WORKDIR.value))
        records = open_split(experiment.data, "train")
        batches = crops.Crops(experiment, records, experiment.optimizer.steps)
        loop.train(
            experiment,
            WORKDIR.value,
            crops.crop_batches(batches),
            functools.partial(first_vae_state, experiment, batches),
            lambda m: f"loss {m['loss']:.4f} psnr {m['psnr_db']:.2f} dB kl {m['kl']:.2f}",
            watch_reconstructions(experiment, WORKDIR.value),
        )
        return
    rows = loader.open_rows(
        experiment, "train", experiment.optimizer.steps * experiment.packing.rows
    )
    keep_source(WORKDIR.value, [folder for folder, _ in experiment.folders])
    loop.train(
        experiment,
        WORKDIR.value,
        loader.packed_batches(rows, experiment.packing.rows),
        functools.partial(first_dit_state, experiment),
        lambda m: f"loss {m['loss']:.4f} fill {rows.fill:.3f}",
    )
