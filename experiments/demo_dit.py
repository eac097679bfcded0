"""The demo's world model: a packed diffusion transformer on the latents of the simulator worlds.

Command:   sora-jax train --config=experiments/demo_dit.py --workdir=runs/demo/dit
Needs:     runs/demo/latents, from `sora-jax encode` with the autoencoder of demo_vae.py.
Hardware:  2 CPU cores, 8 to 13 minutes.
Expected:  training loss 0.40; the prompted colour shows in 63 of 64 held-out ballistics prompts.
"""

from ml_collections import ConfigDict


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    debug = mode == "debug"
    width = 24 if debug else 128
    return ConfigDict(
        {
            "experiment": "diffusion",
            "data": "runs/demo/latents",
            "model": {
                "latent_channels": 56,
                "patch": (1, 2, 2),
                "width": width,
                "depth": 2 if debug else 4,
                "heads": 2 if debug else 4,
                "mlp_dim": 4 * width,
                "rope_base": 100.0,
                "input_skip": True,
                "absolute_positions": True,
                "pooled_text": True,
                "text": {"vocabulary": 512, "width": 24 if debug else 96, "depth": 2, "heads": 4},
            },
            "prediction": "v",
            # Captions and layout matter where noise is strong: half of the levels are above 6/7.
            "noise_levels": {"scale": 0.0, "shift": 6.0},
            "channel_weight_exponent": 0.5,
            "packing": {
                "rows": 8,
                "rows_per_device": 8,  # on one device, steps may hold any rows
                "tokens": 240,
                "text_tokens": 160,
                "segments": 16,
            },
            "optimizer": {
                "name": "muon",
                "steps": 4 if debug else 1250,
                "learning_rate": 2e-3,
                "warmup_steps": 50,
                "ema": 0.99,
            },
            "loop": {"save_every": 300, "log_every": 10},
        }
    )
