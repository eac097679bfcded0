"""The demo's autoencoder: cells of 4x8x8 pixels, 16 channels, on the simulated worlds.

Command:   sora-jax train --config=experiments/demo_vae.py --workdir=runs/small/vae
Hardware:  2 CPU cores, 98 s.
Expected:  held-out PSNR 30.8 ballistics, 27.7 builder, 30.3 occlusion, 28.4 orbit, 27.3 dB painter.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.models.vae_config import PRESETS
from sora_jax.training.experiments import CropConfig, LoopConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.vae_loss import VAELossConfig


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    model = PRESETS["tiny"]
    video, image = CropConfig(12, 9, 48, 48), CropConfig(48, 1, 48, 48)
    return to_config_dict(
        VAEExperiment(
            data="runs/small/data",
            model=dataclasses.replace(model, width=16) if debug else model,
            crops=(video, video, video, image),  # three steps of four on videos
            validation_clips=0,
            loss=VAELossConfig(l1=0.5, l2=4.0, motion=3.0, kl=2e-4),
            optimizer=OptimizerConfig(
                steps=4 if debug else 200, learning_rate=2e-3, warmup_steps=50, ema_decay=0.98
            ),
            loop=LoopConfig(save_every=100, log_every=10),
        )
    )
