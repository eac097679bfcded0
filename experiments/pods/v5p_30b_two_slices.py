"""A world model of 30 billion parameters on two slices of 512 chips of TPU v5p.

Command:   sora-jax compile --config=experiments/pods/v5p_30b_two_slices.py \\
             --topology=v5p:8x8x8 --slices=2 --table=experiments/pods/README.md \\
             --output=experiments/pods/results/v5p_30b_two_slices.json
Rows:      512 rows x 32768 tokens; recomputed in the backward pass: full; bfloat16.
Result:    see README.md here.
"""

from ml_collections import ConfigDict

from experiments.pods import pod_config
from sora_jax.models.dit_config import DiTConfig


def get_config() -> ConfigDict:
    """The settings."""
    return pod_config(
        DiTConfig(width=6144, depth=48, heads=48, mlp_dim=24576, text_embed_dim=4096),
        packing=dict(rows=512, tokens=32768, text_tokens=2048, segments=32),
        mesh=dict(data=16, fsdp=32, context=2),
    )
