"""The state that a run starts with: random weights, or those that `config.init_from` names."""

import functools

import jax
import numpy as np
from etils import epath

from data_pipelines import crops, latents
from sora_jax import release
from sora_jax.models import dit, vae
from sora_jax.models.latents import ChannelStatistics, PrincipalAxes
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.processes import is_first
from sora_jax.sharding import P, put
from sora_jax.training import diffusion_task, vae_task
from sora_jax.training.changes import compare
from sora_jax.training.experiments import DiffusionExperiment, Experiment, VAEExperiment
from sora_jax.training.run_folder import DiffusionRun, VAERun, load_diffusion_run, load_vae_run
from sora_jax.training.warm_start import choose_weights, start_from
from sora_jax.types import TrainState

LINEAR_FIT_BATCHES = 48
"""Batches that principal axes are fitted to."""


def first_vae_state(experiment: VAEExperiment, batches: crops.Crops) -> TrainState:
    """The first state of an autoencoder's run.

    Statistics, and principal axes if the model has them, are those of `init_from`; otherwise the
    axes are fitted to the first batches.

    Raises:
      ValueError: weights, or statistics, of `init_from` do not fit (see `choose_weights`).
    """
    model, source, axes = experiment.model, experiment.init_from, None
    if source:
        released = release.is_release(source)
        run = release.load_release(source).vae if released else load_vae_run(source)
        weights = choose_weights(vae.shapes(model), run.params, experiment.init_new, source)
        wanted = jax.tree.map(np.shape, vae.statistics_shapes(model))
        if jax.tree.map(np.shape, run.statistics) != wanted:
            raise ValueError(
                f"config.init_from, {source}, has statistics of other latents: copy its "
                "config.model.latent_channels and the sizes of its cells"
            )
        _show_changes(run, experiment)
        init_state = functools.partial(vae_task.init_state, experiment)
        return start_from(init_state, weights)._replace(statistics=run.statistics)
    if isinstance(model, CellVAEConfig):
        moments = crops.cell_moments(batches, LINEAR_FIT_BATCHES)
        axes = PrincipalAxes.fit(moments, model.latent_channels)

    def init_state() -> TrainState:
        return vae_task.init_state(experiment, vae.init_statistics(model, axes))

    return jax.jit(init_state)()


def first_diffusion_state(
    experiment: DiffusionExperiment, channels: ChannelStatistics | None
) -> TrainState:
    """The first state of a transformer's run.

    With `init_from`, and latents of the same autoencoder that are weighed by the same exponent, the
    scales of channels are that run's, too: its weights know latents so scaled.

    Args:
      channels: see `DiffusionTask`.

    Raises:
      ValueError: weights do not fit (see `choose_weights`), or know other tokens than the data has.
    """
    init_state = functools.partial(diffusion_task.init_state, experiment, channels)
    source = experiment.init_from
    if not source:
        return jax.jit(init_state)()
    released = release.is_release(source)
    run = release.load_release(source).dit if released else load_diffusion_run(source)
    shapes = dit.shapes(experiment.model)
    weights = choose_weights(shapes, run.params, experiment.init_new, source)
    if any(name.startswith("text_encoder/") for name in weights):
        _check_tokenizer(experiment)
    _show_changes(run, experiment)
    state = start_from(init_state, weights)
    hashes = [latents.weights_of(folder) for folder in (source, experiment.data)]
    if None not in hashes and hashes[0] != hashes[1]:
        if is_first():
            print(f"the latents of {experiment.data} are not of the autoencoder of {source}")
        return state
    exponents = {each.channel_weight_exponent for each in (run.experiment, experiment)}
    if len(exponents) == 1 and run.channel_scale.shape == state.statistics["channel_scale"].shape:
        state = state._replace(statistics={"channel_scale": put(run.channel_scale, P(None))})
    return state


def _check_tokenizer(experiment: DiffusionExperiment) -> None:
    """Checks that the data has the tokens that the text encoder of `init_from` knows."""
    folders = epath.Path(experiment.init_from), epath.Path(experiment.data)
    if all((folder / latents.TOKENIZER).exists() for folder in folders):
        source, data = map(latents.read_tokenizer, folders)
        if source != data:
            raise ValueError(
                f"{folders[1]} has another tokenizer than {folders[0]}: encode it again with "
                f"--tokenizer={folders[0]}, or name 'text_encoder' in config.init_new"
            )


def _show_changes(run: VAERun | DiffusionRun, experiment: Experiment) -> None:
    """Prints how the model, or what it predicts, differs from that of `init_from`."""
    for change in compare(run.experiment, experiment):
        if is_first() and change.path.startswith(("config.model", "config.prediction")):
            print(f"unlike {experiment.init_from}: {change}")
