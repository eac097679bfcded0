"""A world model of 7 billion parameters on 512 chips of TPU v5p.

Command:   sora-jax compile --config=experiments/pods/v5p_7b.py --topology=v5p:8x8x8 \\
             --output=experiments/pods/results/v5p_7b.json --table=experiments/pods/README.md
Rows:      512 rows x 16384 tokens; recomputed in the backward pass: full; bfloat16.
Result:    see README.md here.
"""

from ml_collections import ConfigDict

from experiments.pods import pod_config
from sora_jax.models.dit_config import DiTConfig


def get_config() -> ConfigDict:
    """The settings."""
    return pod_config(
        DiTConfig(width=4096, depth=26, heads=32, mlp_dim=16384, text_embed_dim=4096),
        packing=dict(rows=512, tokens=16384, text_tokens=2048, segments=32),
        mesh=dict(data=8, fsdp=64),
    )
