"""A world model of 3 billion parameters on 256 chips of TPU v5e.

Command:   sora-jax compile --config=experiments/pods/v5e_3b.py --topology=v5e:16x16 \\
             --output=experiments/pods/results/v5e_3b.json --table=experiments/pods/README.md
Rows:      256 rows x 8192 tokens; recomputed in the backward pass: full; bfloat16.
Result:    see README.md here.
"""

from ml_collections import ConfigDict

from experiments.pods import pod_config
from sora_jax.models.dit_config import DiTConfig


def get_config() -> ConfigDict:
    """The settings."""
    return pod_config(
        DiTConfig(width=2560, depth=28, heads=20, mlp_dim=10240, text_embed_dim=4096),
        packing=dict(rows=256, tokens=8192, text_tokens=1024, segments=32),
        mesh=dict(data=8, fsdp=32),
    )
