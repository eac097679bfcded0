"""sora-jax export: an autoencoder's averaged weights to the layout of diffusers' AutoencoderKLWan.

The autoencoder must be of Wan 2.1's kind (presets `base` and `wan2_1`): convolutional, no patches.

Example:
  sora-jax export --checkpoint=runs/vae --output=exported
"""

from absl import flags
from etils import epath

from sora_jax import sharding
from sora_jax.codec.video_codec import load_codec
from sora_jax.interop import wan
from sora_jax.models.vae_config import VAEConfig

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir of the autoencoder.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write; it must not exist.")


def main() -> None:
    """Reads, writes."""
    if not (CHECKPOINT.value and OUTPUT.value):
        raise ValueError("--checkpoint and --output are needed: name the two folders")
    if epath.Path(OUTPUT.value).exists():
        raise ValueError(f"{OUTPUT.value} exists: choose another --output")
    with sharding.use_mesh():
        codec = load_codec(CHECKPOINT.value)
        if not isinstance(codec.config, VAEConfig):
            raise ValueError(
                f"{CHECKPOINT.value} is an autoencoder of cells: name one of Wan 2.1's kind"
            )
        wan.save_vae(OUTPUT.value, wan.Weights(codec.config, codec.params, codec.statistics))
    print(OUTPUT.value)
