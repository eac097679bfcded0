"""Where the parts of a run are: a transformer names its latents, these name their autoencoder."""

from etils import epath

from data_pipelines import encode
from sora_jax.generation.generate import Generator
from sora_jax.training.checkpoint import load_config


def load_generator(workdir: epath.PathLike) -> Generator:
    """A trained model with everything it was trained with, found through its config."""
    data = find_data(workdir)
    return Generator(workdir, data, encode.sources_of(data)[0])


def find_data(workdir: epath.PathLike) -> epath.Path:
    """The latents that a run was trained on: as configured, else beside the run by name."""
    configured = epath.Path(load_config(workdir).data)
    beside = epath.Path(workdir).parent / configured.name
    return configured if configured.exists() else beside
