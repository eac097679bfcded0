"""A released model: one folder with all that sampling needs, and the one that comes with sora_jax.

The folder holds `config.json` (both experiments, steps taken, scales of latents), the averaged
weights of the autoencoder and of the transformer as `vae.safetensors` and `dit.safetensors`, in
float16, `tokenizer.model`, and `README.md`, which says how they were trained and what they can do.
The channels that rotary embedding rotates are in the order of files (see `interop.rotary`).
"""

import json
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from sora_jax import sharding
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.config import to_dict
from sora_jax.files import write_whole
from sora_jax.interop.rotary import join_pairs, split_pairs
from sora_jax.interop.tensors import read_json, read_tensors, save_tensors, tensor_name
from sora_jax.models import dit, vae
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.training.experiments import (
    DiffusionExperiment,
    VAEExperiment,
    parse,
    require_kind,
)
from sora_jax.training.run_folder import DiffusionRun, VAERun
from sora_jax.types import Params

SHIPPED = epath.Path(__file__).parent / "world_model"
"""The model that comes with this package."""
CONFIG, TOKENIZER = "config.json", "tokenizer.model"
MIN_HALF_SIZE = 4096
"""Number of values from which a tensor is stored in float16."""


class Release(NamedTuple):
    """A released model: autoencoder, transformer on its latents, tokenizer of captions."""

    vae: VAERun
    dit: DiffusionRun
    tokenizer: Tokenizer

    @property
    def codec(self) -> VideoCodec:
        """The autoencoder as an encoder and decoder."""
        codec = VideoCodec(self.vae.experiment.model, self.vae.params, self.vae.statistics)
        codec.step = self.vae.step
        return codec


def is_release(folder: epath.PathLike) -> bool:
    """Whether a folder holds a released model rather than a run."""
    return (epath.Path(folder) / "dit.safetensors").exists()


def save_release(
    folder: epath.PathLike, vae_run: VAERun, run: DiffusionRun, tokenizer: bytes
) -> None:
    """Writes all of a released model but its README.md.

    Args:
      tokenizer: content of the file of the tokenizer that the transformer was trained with.
    """
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vae_tree = {"params": vae_run.params, "statistics": vae_run.statistics}
    parts = {"vae": vae_tree, "dit": join_pairs(jax.device_get(run.params))}
    for name, tree in parts.items():
        save_tensors(folder / f"{name}.safetensors", flatten(tree))
    config = {
        "vae": to_dict(vae_run.experiment),
        "dit": to_dict(run.experiment),
        "steps": {"vae": vae_run.step, "dit": run.step},
        "channel_scale": np.asarray(run.channel_scale).tolist(),
    }
    write_whole(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    write_whole(folder / TOKENIZER, tokenizer)


def load_release(folder: epath.PathLike = SHIPPED) -> Release:
    """Reads a released model, in float32, onto the current mesh.

    Raises:
      ValueError: files are missing or damaged, or do not fit each other.
    """
    folder = epath.Path(folder)
    if not (folder / CONFIG).exists():
        raise ValueError(f"no released model at {folder}: name a folder with {CONFIG}")
    config = read_json(folder / CONFIG)
    vae_experiment = require_kind(parse(config["vae"]), VAEExperiment, f"vae of {folder}")
    experiment = require_kind(parse(config["dit"]), DiffusionExperiment, f"dit of {folder}")
    model = vae_experiment.model
    shapes = {"params": vae.shapes(model), "statistics": vae.statistics_shapes(model)}
    both = _put(shapes, _unflatten(shapes, read_tensors(folder, "vae"), f"vae of {folder}"))
    shapes = dit.shapes(experiment.model)
    weights = _unflatten(shapes, read_tensors(folder, "dit"), f"dit of {folder}")
    weights = _put(shapes, split_pairs(weights))
    vae_run = VAERun(vae_experiment, both["params"], both["statistics"], config["steps"]["vae"])
    scale = np.asarray(config["channel_scale"], np.float32)
    run = DiffusionRun(experiment, weights, scale, config["steps"]["dit"])
    return Release(vae_run, run, Tokenizer(folder / TOKENIZER))


def flatten(tree: Params) -> dict[str, np.ndarray]:
    """Arrays of a tree by their names; large ones in float16."""
    flat = {}
    for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree)):
        array = np.asarray(leaf)
        flat[tensor_name(path)] = array.astype(np.float16) if is_large(array) else array
    return flat


def is_large(array: np.ndarray) -> bool:
    """Whether a tensor is one of those that a file holds in few bits."""
    return array.dtype == np.float32 and array.size >= MIN_HALF_SIZE


def _unflatten(like: Params, tensors: dict[str, np.ndarray], where: str) -> Params:
    """A tree of the structure and shapes of `like`."""

    def read(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = tensor_name(path)
        if name not in tensors or tensors[name].shape != leaf.shape:
            raise ValueError(f"{where}: {name} is missing or of another shape; fetch it again")
        return tensors[name]

    return jax.tree.map_with_path(read, like)


def _put(like: Params, tree: Params) -> Params:
    """Puts the arrays of a tree on the current mesh, in the shardings of `like`."""
    return sharding.shard(tree, jax.tree.map(sharding.spec_of, like))
