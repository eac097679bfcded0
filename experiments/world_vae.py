"""The autoencoder of the world model: cells of 4x8x8 pixels, 16 channels, all simulated worlds.

Data:      sora-jax worlds --output=runs/world/data --clips=8000
Command:   sora-jax train --config=experiments/world_vae.py --workdir=runs/world/vae
Hardware:  2 CPU cores; a step costs 0.12 TFLOP.

Errors of pixels that move weigh four times as much as others: in most clips little moves, and what
a world model must show is in it. One step of four is on images.
"""

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.models.vae_config import PRESETS, AnyVAEConfig
from sora_jax.training.experiments import CropConfig, LoopConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.vae_loss import VAELossConfig

LOSS = VAELossConfig(l1=0.5, l2=4.0, motion=3.0, kl=2e-4)


def get_model(mode: str) -> AnyVAEConfig:
    """Sizes of the autoencoder."""
    return PRESETS["tiny" if mode == "debug" else "small"]


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    video, image = CropConfig(32, 9, 48, 48), CropConfig(96, 1, 48, 48)
    return to_config_dict(
        VAEExperiment(
            data="runs/world/data",
            model=get_model(mode),
            crops=(video, video, video, image),
            loss=LOSS,
            validation_clips=2,
            optimizer=OptimizerConfig(
                steps=4 if debug else 12_000,
                learning_rate=2e-3,
                warmup_steps=1 if debug else 200,
                ema_decay=0.998,
            ),
            loop=LoopConfig(save_every=2 if debug else 200, log_every=20),
        )
    )
