"""sora-jax import: weights of Wan 2.1's autoencoder (diffusers' AutoencoderKLWan) to a workdir.

Reads config.json and safetensors, strictly; the workdir is then named wherever an autoencoder is:
--vae of encode and reconstruct, --checkpoint of eval-vae, --config.init_from of train.

Example:
  sora-jax import --input=Wan2.1-T2V-1.3B-Diffusers/vae --output=runs/wan_vae
"""

from absl import flags

from sora_jax import sharding
from sora_jax.interop import wan
from sora_jax.training.experiments import CropConfig, VAEExperiment
from sora_jax.training.run_folder import save_weights

INPUT = flags.DEFINE_string("input", None, "Folder with config.json, or of a whole pipeline.")
OUTPUT = flags.DEFINE_string("output", None, "Workdir to make.")


def main() -> None:
    """Reads, checks, writes."""
    if not (INPUT.value and OUTPUT.value):
        raise ValueError("--input and --output are needed: name the two folders")
    with sharding.use_mesh():
        weights = wan.load_vae(INPUT.value)
        model = weights.config
        crop = CropConfig(1, 1 + model.temporal_stride, model.spatial_stride, model.spatial_stride)
        experiment = VAEExperiment(data="", model=model, crops=(crop,))
        save_weights(OUTPUT.value, experiment, weights.params, weights.statistics)
    print(OUTPUT.value)
