"""Wan 2.1's transformer of 14 billion parameters, trained on 256 chips of TPU v6e.

Command:   sora-jax compile --config=experiments/pods/v6e_wan_14b.py --topology=v6e:16x16 \\
             --output=experiments/pods/results/v6e_wan_14b.json --table=experiments/pods/README.md
Rows:      64 rows x 32768 tokens; recomputed in the backward pass: full; bfloat16.
Result:    see README.md here.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.models.dit_config import PRESETS


def get_config() -> ConfigDict:
    """The settings."""
    return ConfigDict(
        {
            "experiment": "diffusion",
            "data": "",
            "model": dataclasses.asdict(
                dataclasses.replace(PRESETS["wan_14b"], remat="full", dtype="bfloat16")
            ),
            "packing": {"rows": 64, "tokens": 32768, "text_tokens": 2048, "segments": 32},
            "mesh": {"data": 4, "fsdp": 16, "context": 4, "tensor": 1},
        }
    )
