"""Wan 2.1's transformer of 14 billion parameters, trained on 256 chips of TPU v6e.

Command:   sora-jax compile --config=experiments/pods/v6e_wan_14b.py --topology=v6e:16x16 \\
             --output=experiments/pods/results/v6e_wan_14b.json --table=experiments/pods/README.md
Rows:      64 rows x 32768 tokens; recomputed in the backward pass: full; bfloat16.
Result:    see README.md here.
"""

from ml_collections import ConfigDict

from experiments.pods import pod_config
from sora_jax.models.dit_config import PRESETS


def get_config() -> ConfigDict:
    """The settings."""
    return pod_config(
        PRESETS["wan_14b"],
        packing=dict(rows=64, tokens=32768, text_tokens=2048, segments=32),
        mesh=dict(data=4, fsdp=16, context=4),
    )
