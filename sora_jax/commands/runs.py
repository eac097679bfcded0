"""The folders that a run depends on: a transformer names its latents, these name their codec."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from data_pipelines import latents
from sora_jax import release
from sora_jax.codec.video_codec import load_codec
from sora_jax.files import write_whole
from sora_jax.generation.generate import Generator
from sora_jax.processes import is_first
from sora_jax.provenance import read_encode_note
from sora_jax.text_inputs import TextInputs, load_text_inputs
from sora_jax.training.run_folder import load_diffusion_run, load_experiment


def load_generator(
    checkpoint: epath.PathLike | None, rope_stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Generator:
    """A trained transformer with its text inputs and codec.

    Args:
      checkpoint: folder of a released model, or workdir of a diffusion run, of which the others are
        found through its config; None: the model that comes with this package.
      rope_stretch: factors by which positions are stretched beyond training's, along time, height
        and width; see `models.rope`.

    Raises:
      ValueError: one of them is missing, or there is no mesh.
    """
    if jax.sharding.get_abstract_mesh().empty:
        raise ValueError("no mesh is set: load and sample within `with sharding.use_mesh():`")
    folder = release.SHIPPED if checkpoint is None else checkpoint
    text_inputs: TextInputs
    if release.is_release(folder):
        released = release.load_release(folder)
        run, text_inputs, codec = released.dit, released.tokenizer, released.codec
    else:
        run, data = load_diffusion_run(folder), find_data(folder)
        codec = load_codec(latents.sources_of(data)[0])
        text_inputs = load_text_inputs(data, run.experiment.model)
    model = run.experiment.model
    stretch = tuple(a * b for a, b in zip(model.rope_stretch, rope_stretch, strict=True))
    model = dataclasses.replace(model, rope_stretch=stretch)
    run = run._replace(experiment=dataclasses.replace(run.experiment, model=model))
    return Generator(run, text_inputs, codec)


def keep_source(workdir: epath.PathLike, folders: Sequence[epath.PathLike]) -> None:
    """Notes in `latents.json` of a run which codec made its latents, and of which clips.

    Raises:
      ValueError: the run was trained on latents of another codec, or of other clips.
    """
    path, notes = epath.Path(workdir) / "latents.json", list(map(read_encode_note, folders))
    clips = [encoded and encoded.get("clips") for encoded in notes]
    note: dict[str, Any] = {"weights": latents.weights_of(folders[0]), "clips": clips}
    old = json.loads(path.read_text()) if path.exists() else {}
    for name, what in (("weights", "autoencoders"), ("clips", "clips")):
        if name in old and old[name] != note[name]:
            raise ValueError(
                f"{workdir} was trained on latents of other {what} than {folders[0]} is of: choose "
                "another --workdir"
            )
    if is_first():
        write_whole(path, json.dumps(note))


def find_data(workdir: epath.PathLike) -> epath.Path:
    """The latents that a run was trained on: as configured, else beside the run by name.

    Raises:
      ValueError: neither folder holds latents of the run's autoencoder.
    """
    configured = epath.Path(load_experiment(workdir).data)
    sibling = epath.Path(workdir).parent / configured.name
    note = epath.Path(workdir) / "latents.json"
    weights = json.loads(note.read_text())["weights"] if note.exists() else None
    for folder in (configured, sibling):
        if weights is not None and latents.weights_of(folder) == weights:
            return folder
    raise ValueError(
        f"the latents that {workdir} was trained on are neither at {configured} nor at {sibling}: "
        "put them there"
    )
