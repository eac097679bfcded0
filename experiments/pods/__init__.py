"""Training on TPU pods: whole recipes, whose step is compiled without one; README.md has the table.

What is not the model's, the rows' or the mesh's own is the same in all of them, and from:

- learning rate 1e-4, weight decay 1e-3: Wan 2.1 (arXiv:2503.20314, 4.3). There the rate falls when
  the scores of samples stand still. Here it is constant and falls in the last fifth, which does as
  well as a cosine and leaves the length open (arXiv:2405.18392).
- b2 0.95, warm-up of 2,000 steps: Llama (arXiv:2302.13971, 2.3); large batches want a short memory.
- average of decay 0.9999: DiT (arXiv:2212.09748, 4).
- noise levels: logit-normal and a shift by the root of the number of tokens (arXiv:2403.03206,
  3.1 and equation 23). A shift of 1 at 3,276 tokens is 3.2 for 81 frames of 480x832 and 4.8 for 81
  of 720x1280, where Wan 2.1 samples at 3 and 5.
- 100,000 steps are an assumption; `--config.optimizer.steps` is another number.

The data is `--config.data`, a folder of latents with embeddings of captions (`sora-jax encode`).
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.models.dit_config import DiTConfig
from sora_jax.rows import PackingConfig
from sora_jax.sharding import MeshConfig
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.optimizer import OptimizerConfig


def pod_config(model: DiTConfig, packing: dict[str, int], mesh: dict[str, int]) -> ConfigDict:
    """Training of a model in bfloat16, its blocks recomputed in the backward pass.

    Args:
      packing: sizes of a batch, see `PackingConfig`.
      mesh: sizes of the mesh axes that are not 1, see `MeshConfig`.
    """
    experiment = DiffusionExperiment(
        "",
        dataclasses.replace(model, remat="full", dtype="bfloat16"),
        noise_levels=NoiseLevels(reference_tokens=3276),
        packing=PackingConfig(**packing),
        optimizer=OptimizerConfig(
            steps=100_000,
            learning_rate=1e-4,
            schedule="wsd",
            warmup_steps=2000,
            final_fraction=0.0,
            weight_decay=1e-3,
            b2=0.95,
            ema_decay=0.9999,
        ),
        mesh=MeshConfig(**mesh),
        loop=LoopConfig(
            save_every=1000, keep=3, keep_every=10_000, log_every=50, threads=16, prefetch=8
        ),
    )
    return to_config_dict(experiment)
