"""Makes a released model of two run folders.

Command:  python -m experiments.shipped.release --vae=runs/world/vae --dit=runs/world/dit \\
            --tokenizer=tokenizer.model --output=sora_jax/world_model
"""

from absl import app, flags
from etils import epath

from sora_jax import sharding
from sora_jax.release import is_release, load_release, save_release
from sora_jax.training.run_folder import load_diffusion_run, load_vae_run

VAE = flags.DEFINE_string("vae", None, "Its workdir, or a released model.", required=True)
DIT = flags.DEFINE_string("dit", None, "Workdir of the transformer.", required=True)
TOKENIZER = flags.DEFINE_string("tokenizer", None, "File of its tokenizer.", required=True)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", required=True)


def main(_) -> None:
    """Reads, writes."""
    with sharding.use_mesh():
        if is_release(VAE.value):
            vae_run = load_release(VAE.value).vae
        else:
            vae_run = load_vae_run(VAE.value)
        dit_run = load_diffusion_run(DIT.value)
        tokenizer = epath.Path(TOKENIZER.value).read_bytes()
        save_release(OUTPUT.value, vae_run, dit_run, tokenizer)


if __name__ == "__main__":
    app.run(main)
