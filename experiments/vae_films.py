"""The `small` autoencoder on Big Buck Bunny and animated emoji: 4x8x8, 16 channels.

Data:      sora-jax sources --output=runs/film-data --source=bbb:moviepy-2.2.1.tar.gz \\
             --source=fluent_emoji:lobehub-fluent-emoji-anim-1-1.0.0.tgz
Command:   sora-jax train --config=experiments/vae_films.py --workdir=runs/vae_films
Hardware:  2 CPU cores, 2 to 4 s a step (7.4 million parameters, 0.18 TFLOP a step).
Expected:  in 400 steps, 0.07 PFLOP, nothing moves: held-out shots of the film 27.6 dB, emoji 29.0,
           natural clips never trained on 29.0 (all scores: docs/codec.md). Where training starts,
           the principal axes and the map of neighbours, it already is; without that map 1,600 steps
           ended at 26.5 dB on the film, as the axes alone. The network wants far more steps.
           `vae_films.py:tiny`, 3.5 times the latents, 150 steps: 32.4, 33.7 and 34.2 dB.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.models.vae_config import PRESETS, CellVAEConfig
from sora_jax.training.experiments import CropConfig, LoopConfig, VAEExperiment
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.vae_loss import VAELossConfig


def get_config(mode: str = "") -> ConfigDict:
    """The settings; another preset by name, as in `vae_films.py:tiny`; `debug` takes seconds."""
    debug = mode == "debug"
    name = "small" if debug or not mode else mode
    if name not in PRESETS:
        raise ValueError(f"no mode {mode!r}: choose debug or one of {', '.join(PRESETS)}")
    model = PRESETS[name]
    if debug and isinstance(model, CellVAEConfig):
        model = dataclasses.replace(model, width=16)
    return to_config_dict(
        VAEExperiment(
            data="runs/film-data",
            model=model,
            crops=(CropConfig(8, 9, 64, 64), CropConfig(8, 5, 96, 96), CropConfig(8, 1, 96, 96)),
            loss=VAELossConfig(l1=1.0, l2=4.0, perceptual=0.1),
            optimizer=OptimizerConfig(
                steps=4 if debug else 400, learning_rate=1e-3, warmup_steps=100, ema_decay=0.995
            ),
            loop=LoopConfig(save_every=2 if debug else 100, log_every=10),
        )
    )
