"""sora-jax encode: clips to latents with a trained autoencoder, and a tokenizer of the captions.

Example:
  sora-jax encode --vae=runs/demo/vae --data=runs/demo/data --output=runs/demo/latents
"""

from absl import flags

from data_pipelines import encode
from sora_jax import sharding
from sora_jax.generation.coder import load_coder
from sora_jax.training.metrics import Progress

VAE = flags.DEFINE_string("vae", None, "Workdir of the autoencoder.")
DATA = flags.DEFINE_string("data", None, "Folder that `sora-jax worlds` wrote.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
VOCABULARY = flags.DEFINE_integer("vocabulary", 512, "Most pieces of the tokenizer.")

MULTIPLE = flags.DEFINE_integer("multiple", 2, "Side of the transformer's patch, in latents.")


def main() -> None:
    """Encodes every clip, or finds them encoded."""
    if not (VAE.value and DATA.value and OUTPUT.value):
        raise ValueError("--vae, --data and --output are needed: name the three folders")
    with sharding.use_mesh():
        coder = load_coder(VAE.value)
        progress = Progress()
        encode.encode(
            DATA.value,
            VAE.value,
            OUTPUT.value,
            coder,
            VOCABULARY.value,
            MULTIPLE.value,
            lambda done, total: progress.show(done, total, "clips"),
        )
