"""Reads and writes Wan 2.1's autoencoder and transformer in the layout of diffusers.

The weights are Apache-2.0; nothing is downloaded here.
"""

from typing import NamedTuple

import numpy as np
from etils import epath

from sora_jax.interop import wan_dit, wan_vae
from sora_jax.interop.entries import to_params, to_tensors
from sora_jax.interop.tensors import read_config, read_tensors, write_tensors
from sora_jax.models import vae
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.vae_config import VAEConfig
from sora_jax.types import Params


class Weights(NamedTuple):
    """An autoencoder: sizes, weights, and non-trained state (statistics of latents)."""

    config: VAEConfig
    params: Params
    statistics: Params


class Transformer(NamedTuple):
    """A diffusion transformer: sizes and weights."""

    config: DiTConfig
    params: Params


def load_vae(folder: epath.PathLike) -> Weights:
    """Reads an AutoencoderKLWan, from its folder or from the `vae` folder of a pipeline.

    Weights come as numpy arrays in float32.

    Raises:
      ValueError: the folder holds something else, or a tensor is missing, unexpected, misshapen or
        not finite.
    """
    folder = _part_folder(folder, "vae")
    theirs = read_config(folder, wan_vae.CLASS)
    config = wan_vae.from_their_config(theirs)
    like = vae.shapes(config)
    params = to_params(wan_vae.entries(config), read_tensors(folder), like)
    latents = wan_vae.statistics(theirs, config.latent_channels)
    return Weights(config, params, {"latents": latents})


def save_vae(folder: epath.PathLike, weights: Weights) -> None:
    """Writes a folder that `load_vae` and diffusers read.

    Raises:
      ValueError: an AutoencoderKLWan cannot have these sizes.
    """
    config, params, statistics = weights
    mean, variance = (
        np.asarray(statistics["latents"][k], np.float64) for k in ("mean", "variance")
    )
    theirs = wan_vae.to_their_config(config) | {
        "latents_mean": mean.tolist(),
        "latents_std": np.sqrt(np.maximum(variance, 1e-8)).tolist(),
    }
    write_tensors(folder, theirs, to_tensors(wan_vae.entries(config), params))


def load_transformer(folder: epath.PathLike) -> Transformer:
    """Reads a WanTransformer3DModel, from its folder or the `transformer` folder of a pipeline.

    Weights come as numpy arrays in float32. The output is a velocity. Wan pads captions to 512
    states with zeros, so a caption's states must end with one state of zeros (see
    `DiTConfig.padded_text_length`).

    Raises:
      ValueError: the folder holds something else, or a tensor is missing, unexpected or misshapen.
    """
    folder = _part_folder(folder, "transformer")
    config = wan_dit.from_their_config(read_config(folder, wan_dit.CLASS))
    return Transformer(config, wan_dit.from_their_tensors(config, read_tensors(folder)))


def save_transformer(folder: epath.PathLike, weights: Transformer) -> None:
    """Writes a folder that `load_transformer` and diffusers read.

    Raises:
      ValueError: a WanTransformer3DModel cannot have these sizes.
    """
    theirs = wan_dit.to_their_config(weights.config)
    write_tensors(folder, theirs, wan_dit.to_their_tensors(*weights))


def _part_folder(folder: epath.PathLike, name: str) -> epath.Path:
    """The folder of one part of a pipeline, or the folder itself."""
    folder = epath.Path(folder)
    return folder / name if (folder / name / "config.json").exists() else folder
