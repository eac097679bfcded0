"""Where the parts of a run are: a transformer names its latents, these name their autoencoder."""

import json
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from data_pipelines import latents
from sora_jax.files import write_whole
from sora_jax.generation.generate import Generator
from sora_jax.training.checkpoint import load_config


def load_generator(workdir: epath.PathLike) -> Generator:
    """A trained model with everything it was trained with, found through its config."""
    data = find_data(workdir)
    return Generator(workdir, data, latents.sources_of(data)[0])


def keep_source(workdir: epath.PathLike, folders: Sequence[epath.PathLike]) -> None:
    """Notes in `latents.json` of a run which autoencoder made its latents, and of which clips.

    Raises:
      ValueError: the run was trained on latents of another one, or of other clips.
    """
    path, found = epath.Path(workdir) / "latents.json", list(map(latents.read_note, folders))
    clips = [made and made.get("clips") for made in found]
    note: dict[str, Any] = {"weights": latents.weights_of(folders[0]), "clips": clips}
    old = json.loads(path.read_text()) if path.exists() else {}
    for name, what in (("weights", "autoencoders"), ("clips", "clips")):
        if name in old and old[name] != note[name]:
            raise ValueError(
                f"{workdir} was trained on latents of other {what} than {folders[0]} is of: choose "
                "another --workdir"
            )
    if jax.process_index() == 0:
        write_whole(path, json.dumps(note))


def find_data(workdir: epath.PathLike) -> epath.Path:
    """The latents that a run was trained on: as configured, else beside the run by name.

    Raises:
      ValueError: neither place holds latents of the run's autoencoder.
    """
    configured = epath.Path(load_config(workdir).data)
    beside = epath.Path(workdir).parent / configured.name
    note = epath.Path(workdir) / "latents.json"
    weights = json.loads(note.read_text())["weights"] if note.exists() else None
    for folder in (configured, beside):
        if weights is not None and latents.weights_of(folder) == weights:
            return folder
    raise ValueError(
        f"the latents that {workdir} was trained on are neither at {configured} nor at {beside}: "
        "put them there"
    )
