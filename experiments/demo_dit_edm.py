"""The demo's world model with EDM's prediction, loss and noise levels (arXiv:2206.00364, table 1).

Command:   sora-jax train --config=experiments/demo_dit_edm.py --workdir=runs/small/dit_edm
Needs:     runs/small/latents, from `sora-jax encode` with the autoencoder of demo_vae.py.
Hardware:  2 CPU cores, as demo_dit.py.
Expected:  not measured to the end; `debug` trains four steps.
"""

from ml_collections import ConfigDict

from experiments import demo_dit


def get_config(mode: str = "") -> ConfigDict:
    """The settings; `debug` runs in seconds."""
    config = demo_dit.get_config(mode)
    config.prediction = "edm"
    config.velocity_loss = False
    config.noise_levels.update(location=-1.2, scale=1.2, shift=1.0)
    return config
