"""One minute of 1920x1080 at 16 frames a second, sampled on 512 chips of TPU v5p.

Command:   sora-jax compile --config=experiments/pods/v5p_sample_minute.py --topology=v5p:8x8x8 \\
             --sample=32 --output=experiments/pods/results/v5p_sample_minute.json \\
             --table=experiments/pods/README.md
Rows:      1 row x 1,966,592 tokens: 961 frames are 241 latents of 136x240, in patches of 1x2x2
           (32 tokens of padding, so that 128 shards divide them); 32 steps, each with and without
           the caption; bfloat16. More shards than heads: keys are gathered.
Result:    see README.md here. Decoding the latents is not in it.
"""

from ml_collections import ConfigDict

from experiments.pods.v5p_7b import get_config as seven_billion


def get_config() -> ConfigDict:
    """The settings."""
    config = seven_billion()
    config.packing.update(rows=1, tokens=1_966_592, text_tokens=512, segments=1)
    config.mesh.update(data=1, fsdp=1, context=128, tensor=4)
    return config
