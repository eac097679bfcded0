"""Training on TPU pods: configs whose step is compiled without one; README.md has the table."""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.config import to_config_dict
from sora_jax.models.dit_config import DiTConfig
from sora_jax.rows import PackingConfig
from sora_jax.sharding import MeshConfig
from sora_jax.training.experiments import DiffusionExperiment


def pod_config(model: DiTConfig, packing: dict[str, int], mesh: dict[str, int]) -> ConfigDict:
    """Training of a model in bfloat16, its blocks recomputed in the backward pass.

    Args:
      packing: sizes of a batch, see `PackingConfig`.
      mesh: sizes of the mesh axes that are not 1, see `MeshConfig`.
    """
    model = dataclasses.replace(model, remat="full", dtype="bfloat16")
    experiment = DiffusionExperiment(
        "", model, packing=PackingConfig(**packing), mesh=MeshConfig(**mesh)
    )
    return to_config_dict(experiment)
