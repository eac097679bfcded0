"""The demo's autoencoder: 4x temporal, 8x spatial, 56 channels, on the simulator worlds.

Command:   sora-jax train --config=experiments/demo_vae.py --workdir=runs/demo/vae
Hardware:  2 CPU cores, 98 s.
Expected:  held-out PSNR 30.8 ballistics, 27.7 builder, 30.3 occlusion, 28.4 orbit, 27.3 dB painter.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.models.vae import PRESETS


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    model = dataclasses.asdict(PRESETS["tiny"])
    if debug:
        model["channels"] = (8, 16, 16)
    return ConfigDict(
        {
            "experiment": "vae",
            "data": "runs/demo/data",
            "start": "",
            "model": model,
            "crops": (
                {"batch": 12, "frames": 9, "height": 48, "width": 48},
                {"batch": 12, "frames": 9, "height": 48, "width": 48},
                {"batch": 12, "frames": 9, "height": 48, "width": 48},
                {"batch": 48, "frames": 1, "height": 48, "width": 48},
            ),
            "validation_clips": 0,
            "loss": {"l1": 0.5, "l2": 8.0, "kl": 1e-5},
            "optimizer": {
                "steps": 4 if debug else 200,
                "learning_rate": 1e-3,
                "warmup_steps": 50,
                "ema": 0.98,
            },
            "loop": {"save_every": 100, "log_every": 10},
        }
    )
