"""The world model: a packed diffusion transformer on the latents of all simulated worlds.

Data:      sora-jax encode --vae=runs/world/vae --data=runs/world/data --output=runs/world/latents
           --vocabulary=1024 --multiple=1
Command:   sora-jax train --config=experiments/world_dit.py --workdir=runs/world/dit
Hardware:  one GPU, by `experiments.train_shipped`, which trains this model and its autoencoder in
           minutes; two CPU cores need weeks for the same.
"""

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.rows import PackingConfig
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.known_patches import KnownPatchesConfig
from sora_jax.training.optimizer import OptimizerConfig


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    width = 64 if debug else 320
    return to_config_dict(
        DiffusionExperiment(
            data="runs/world/latents",
            model=DiTConfig(
                latent_channels=16,
                patch=(1, 1, 1),
                width=width,
                depth=2 if debug else 7,
                heads=2 if debug else 5,
                mlp_dim=4 * width,
                rope_base=100.0,  # grids are a few patches wide
                absolute_positions=True,
                pooled_text=True,
                text=TextEncoderConfig(
                    vocabulary=1024, width=64 if debug else 192, depth=2, heads=2 if debug else 3
                ),
            ),
            prediction="v",
            # Layout is decided where noise is strong, shapes at levels of 0.3 to 0.7: the first
            # training had a shift of 5, half of its levels above 5/6, and its shapes are ragged.
            noise_levels=NoiseLevels(scale=0.0, shift=2.5),
            channel_weight_exponent=0.5,
            known=KnownPatchesConfig(
                first=0.15,
                prefix=0.10,
                suffix=0.03,
                ends=0.04,
                some=0.03,
                inside=0.05,
                outside=0.05,
            ),
            packing=PackingConfig(
                rows=2 if debug else 32,
                rows_per_device=2 if debug else 32,
                tokens=2048,  # the longest clip, of 65 frames, has 1,632
                text_tokens=512,
                segments=16,
            ),
            detailed_caption_prob=0.65,
            optimizer=OptimizerConfig(
                name="muon",
                steps=4 if debug else 20_000,
                learning_rate=1e-3,
                warmup_steps=1 if debug else 200,
                final_fraction=0.02,
                ema_decay=0.999,
            ),
            loop=LoopConfig(save_every=200, log_every=10),
        )
    )
