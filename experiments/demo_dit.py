"""The demo's world model: a packed diffusion transformer on the latents of the simulator worlds.

Command:   sora-jax train --config=experiments/demo_dit.py --workdir=runs/small/dit
Needs:     runs/small/latents, from `sora-jax encode` with the autoencoder of demo_vae.py.
Hardware:  2 CPU cores, 8 to 13 minutes.
Expected:  training loss 0.40; the prompted colour shows in 63 of 64 held-out ballistics prompts.
"""

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.rows import PackingConfig
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.optimizer import OptimizerConfig


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    width = 24 if debug else 128
    return to_config_dict(
        DiffusionExperiment(
            data="runs/small/latents",
            model=DiTConfig(
                latent_channels=16,
                patch=(1, 2, 2),
                width=width,
                depth=2 if debug else 4,
                heads=2 if debug else 4,
                mlp_dim=4 * width,
                rope_base=100.0,  # grids are a few patches wide
                input_skip=True,  # the width is below the numbers of a patch
                absolute_positions=True,
                pooled_text=True,
                text=TextEncoderConfig(vocabulary=512, width=24 if debug else 96),
            ),
            prediction="v",
            # Captions and layout matter where noise is strong: half of the levels are above 6/7.
            noise_levels=NoiseLevels(scale=0.0, shift=6.0),
            channel_weight_exponent=0.5,
            packing=PackingConfig(
                rows=4,
                rows_per_device=4,  # on one device, steps may hold any rows
                tokens=480,  # the longest clip, of 65 frames, has 408
                text_tokens=320,
                segments=32,
            ),
            optimizer=OptimizerConfig(
                name="muon", steps=4 if debug else 1250, learning_rate=2e-3, warmup_steps=50
            ),
            loop=LoopConfig(save_every=300, log_every=10),
        )
    )
