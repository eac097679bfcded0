"""Run folders (workdirs): what `sora-jax train` writes, as sampling and evaluation read it.

A run folder holds `config.json` (data, never code), `metrics.jsonl` and `checkpoints/`. Reading
weights to sample or to encode builds no optimizer.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float

from sora_jax.config import to_dict
from sora_jax.files import write_whole
from sora_jax.interop.tensors import read_json
from sora_jax.models import dit, vae
from sora_jax.processes import is_first, is_true_everywhere
from sora_jax.training import checkpoint_io
from sora_jax.training.experiments import (
    DiffusionExperiment,
    Experiment,
    VAEExperiment,
    parse,
    require_kind,
)
from sora_jax.types import Params


class VAERun(NamedTuple):
    """A trained autoencoder: experiment, averaged weights, non-trained state and steps taken."""

    experiment: VAEExperiment
    params: Params
    statistics: Params
    step: int


class DiffusionRun(NamedTuple):
    """A trained transformer.

    Attributes:
      experiment: how it was trained.
      params: averaged weights.
      channel_scale: factors of normalised latents before the transformer sees them.
      step: number of steps taken.
    """

    experiment: DiffusionExperiment
    params: Params
    channel_scale: Float[np.ndarray, "c"]
    step: int


def save_config(workdir: epath.PathLike, experiment: Experiment) -> None:
    """Writes `config.json`."""
    if is_first():
        write_whole(epath.Path(workdir) / "config.json", json.dumps(to_dict(experiment), indent=1))


@contextlib.contextmanager
def lock(workdir: epath.PathLike) -> Iterator[None]:
    """Keeps other trainings out of a folder while this one runs, by a lock that dies with it.

    Folders of object stores (`gs://`) cannot be locked, and are not.

    Raises:
      ValueError: another one runs there.
    """
    path = epath.Path(workdir) / "lock"
    holder = ""
    with contextlib.ExitStack() as stack:
        if is_first() and "://" not in os.fspath(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path, "a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
            except OSError as error:  # a file system without locks
                print(f"{path} is no lock, as its file system has none: {error}", file=sys.stderr)
            else:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
        if not is_true_everywhere(not holder):
            raise ValueError(
                f"{workdir} is being trained by {holder or 'others'}: wait for it, end it, or "
                "choose another --workdir"
            )
        yield


def load_experiment(workdir: epath.PathLike) -> Experiment:
    """The experiment of a run, checked as if it had been typed.

    Raises:
      ValueError: there is no run in the folder, or its `config.json` is none of ours.
    """
    path = epath.Path(workdir) / "config.json"
    if not path.exists():
        raise ValueError(f"no checkpoint at {workdir}: {checkpoint_io.REMEDY}")
    values = read_json(path)
    if "_class_name" in values:
        raise ValueError(
            f"{path} is that of diffusers' {values['_class_name']}: run `sora-jax import` first, "
            "and name its --output here"
        )
    try:
        return parse(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_vae_run(workdir: epath.PathLike) -> VAERun:
    """The latest weights of an autoencoder's run, replicated on the current mesh.

    Raises:
      ValueError: the folder holds no autoencoder's checkpoint, or a damaged one.
    """
    experiment = require_kind(load_experiment(workdir), VAEExperiment, str(workdir))
    model = experiment.model
    like = {"ema": vae.shapes(model), "statistics": vae.statistics_shapes(model)}
    step, items = checkpoint_io.read_newest(workdir, like)
    return VAERun(experiment, items["ema"], items["statistics"], step)


def load_diffusion_run(workdir: epath.PathLike) -> DiffusionRun:
    """The latest weights of a transformer's run, sharded over the current mesh as in training.

    Raises:
      ValueError: the folder holds no transformer's checkpoint, or a damaged one.
    """
    experiment = require_kind(load_experiment(workdir), DiffusionExperiment, str(workdir))
    scale = jax.ShapeDtypeStruct((experiment.model.latent_channels,), jnp.float32)
    like = {"ema": dit.shapes(experiment.model), "statistics": {"channel_scale": scale}}
    step, items = checkpoint_io.read_newest(workdir, like)
    scales = np.asarray(items["statistics"]["channel_scale"])
    return DiffusionRun(experiment, items["ema"], scales, step)


def save_weights(
    workdir: epath.PathLike,
    experiment: Experiment,
    params: Params,
    statistics: Params,
    step: int = 0,
) -> None:
    """Makes a run folder of weights from elsewhere, to be read as a trained run's.

    Args:
      step: number of steps that they were trained.

    Raises:
      ValueError: the folder holds a run.
    """
    if checkpoint_io.saved_steps(workdir):
        raise ValueError(f"{workdir} holds a run: choose another folder")
    save_config(workdir, experiment)
    items = {"ema": params, "statistics": statistics}
    checkpoint_io.start_saving(workdir, step, items).result()


def read_metrics(workdir: epath.PathLike) -> list[dict[str, Any]]:
    """The logged lines of a run, oldest first; [] if there is no file.

    Numbers that were not finite are None.
    """
    return _read_lines(epath.Path(workdir) / "metrics.jsonl")


def read_speeds(workdir: epath.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's `speed.jsonl`, in the order of time; [] if there is no file.

    Steps that were taken again have a line each time.
    """
    return _read_lines(epath.Path(workdir) / "speed.jsonl")


def _read_lines(path: epath.Path) -> list[dict[str, Any]]:
    """All lines of JSON; one that is half written, or was left so, is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found
