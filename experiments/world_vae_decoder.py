"""The world model's decoder, trained on: the encoder stays, and with it the transformer's latents.

Data:      sora-jax worlds --output=runs/world/data --clips=8000
Needs:     runs/world/vae, from `experiments.world_vae` or `experiments.train_shipped`.
Command:   sora-jax train --config=experiments/world_vae_decoder.py --workdir=runs/world/vae2
Hardware:  2 CPU cores; a step costs 0.09 TFLOP.
"""

from ml_collections import ConfigDict

from experiments import world_vae
from sora_jax.config import to_config_dict
from sora_jax.training.experiments import CropConfig, LoopConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    return to_config_dict(
        VAEExperiment(
            data="runs/world/data",
            model=world_vae.get_model(mode),
            crops=(CropConfig(20, 17, 48, 48),),
            loss=world_vae.LOSS,
            init_from="runs/world/vae",
            frozen_encoder=True,
            validation_clips=2,
            optimizer=OptimizerConfig(
                steps=4 if debug else 12_000,
                learning_rate=6e-4,
                warmup_steps=1 if debug else 100,
                ema_decay=0.999,
            ),
            loop=LoopConfig(save_every=2 if debug else 200, log_every=20),
        )
    )
