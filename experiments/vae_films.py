"""The `small` autoencoder on Big Buck Bunny and animated emoji: 4x8x8, 16 channels.

Data:      sora-jax sources --output=runs/film-data --source=bbb:moviepy-2.2.1.tar.gz \\
             --source=fluent_emoji:lobehub-fluent-emoji-anim-1-1.0.0.tgz
Command:   sora-jax train --config=experiments/vae_films.py --workdir=runs/vae_films
Hardware:  2 CPU cores, 2 to 4 s a step (8.0 million parameters, 0.18 TFLOP a step).
Expected:  without `neighbours`, 1,600 steps end at the principal axes' own quality: held-out shots
           of the film 26.5 dB (axes alone 26.5), emoji 27.1 (27.0), natural clips 25.3 (25.3).
           With them 100 steps of the decoder alone gain 0.36 dB on held-out crops, against 0.002
           of the network; a whole run with them is still to be made.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.models.vae import PRESETS


def get_config(mode: str = "") -> ConfigDict:
    """The settings; another preset by name, as in `vae_films.py:tiny`; `debug` takes seconds."""
    debug = mode == "debug"
    name = "small" if debug or not mode else mode
    if name not in PRESETS:
        raise ValueError(f"no mode {mode!r}: choose debug or one of {', '.join(PRESETS)}")
    model = dataclasses.asdict(PRESETS[name])
    if debug:
        model["channels"] = (8, 8, 8)
    return ConfigDict(
        {
            "experiment": "vae",
            "data": "runs/film-data",
            "start": "",
            "model": model,
            "crops": (
                {"batch": 8, "frames": 9, "height": 64, "width": 64},
                {"batch": 8, "frames": 5, "height": 96, "width": 96},
                {"batch": 8, "frames": 1, "height": 96, "width": 96},
            ),
            "watch": 2,
            "loss": {
                "l1": 1.0,
                "l2": 4.0,
                "kl": 1e-5,
                "perceptual": 0.1,
                "features": "auto",
                "adversarial": 0.0,
                "adversarial_start": 0,
            },
            "optimizer": {
                "steps": 4 if debug else 400,
                "learning_rate": 1e-3,
                "warmup": 100,
                "ema": 0.995,
            },
            "loop": {"save_every": 2 if debug else 100, "log_every": 10},
        }
    )
