"""The demo's autoencoder: 4x temporal, 8x spatial, 16 channels, on the simulator worlds.

Command:   sora-jax train --config=experiments/demo_vae.py --workdir=runs/demo/vae
Hardware:  2 CPU cores.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    return ConfigDict(
        {
            "experiment": "vae",
            "data": "runs/demo/data",
            "model": {
                "latent_channels": 16,
                "patch": 4,
                "channels": (8, 16, 16) if debug else (48, 96, 96),
                "strides": ((2, 2), (2, 1)),
                "blocks": 1,
            },
            "crops": (
                {"batch": 4, "frames": 9, "height": 48, "width": 48},
                {"batch": 4, "frames": 9, "height": 48, "width": 48},
                {"batch": 4, "frames": 9, "height": 48, "width": 48},
                {"batch": 16, "frames": 1, "height": 64, "width": 64},
            ),
            "loss": {"l1": 1.0, "l2": 4.0, "kl": 1e-4},
            "optimizer": {
                "steps": 4 if debug else 450,
                "learning_rate": 2e-3,
                "warmup": 30,
                "ema": 0.98,
            },
            "loop": {"save_every": 150, "log_every": 10},
        }
    )
