"""The demo's world model: a packed diffusion transformer on the latents of the simulator worlds.

Command:   sora-jax train --config=experiments/demo_dit.py --workdir=runs/demo/dit
Needs:     runs/demo/latents, from `sora-jax encode` with the autoencoder of demo_vae.py.
Hardware:  2 CPU cores.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    width = 24 if debug else 192
    return ConfigDict(
        {
            "experiment": "diffusion",
            "data": "runs/demo/latents",
            "model": {
                "latent_channels": 48,
                "patch": (1, 2, 2),
                "width": width,
                "depth": 2 if debug else 6,
                "heads": 2 if debug else 4,
                "mlp": 4 * width,
                "text": {"vocabulary": 512, "width": 128, "depth": 2, "heads": 4},
            },
            "prediction": "v",
            "noise_levels": {"location": 0.0, "scale": 1.0},
            "packing": {"rows": 4, "tokens": 256, "text_tokens": 192, "segments": 24},
            "optimizer": {
                "steps": 4 if debug else 900,
                "learning_rate": 2e-3,
                "warmup": 50,
                "ema": 0.99,
            },
            "loop": {"save_every": 200, "log_every": 10},
        }
    )
