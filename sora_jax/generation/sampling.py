"""Sampling of packed rows of canvases: noise to clean patches, in one compiled program."""

import dataclasses
import functools

import jax
from jaxtyping import Array, Float

from sora_jax.config import check_choice, check_minimum
from sora_jax.diffusion.noise_levels import NoiseLevels, shift_noise_level, timesteps
from sora_jax.diffusion.process import corrupt
from sora_jax.diffusion.samplers import SAMPLERS, classifier_free_guidance
from sora_jax.models.denoiser import Denoiser
from sora_jax.rows import PackedBatch, level_table, segment_sizes, token_levels
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P
from sora_jax.types import Params

TABLES = P(None, *S.act_bs)
"""Sharding of tables of noise levels [levels, b, e]."""


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How rows are sampled; requests that share a row are sampled alike.

    Attributes:
      steps: number of steps from noise to data.
      guidance: scale of classifier-free guidance; 1 means none.
      sampler: a name in `diffusion.samplers`.
    """

    steps: int = 32
    guidance: float = 2.0
    sampler: str = "euler"

    def __post_init__(self):
        check_minimum(self, steps=1)
        check_choice(self, sampler=tuple(SAMPLERS))


@functools.partial(jax.jit, static_argnums=(0, 3))
def noise_level_tables(
    noise_levels: NoiseLevels, batch: PackedBatch, strengths: Float[Array, "b g"], steps: int
) -> Float[Array, "levels b e"]:
    """Tables of levels down to 0, shifted as in training for each segment by its size.

    Args:
      strengths: where each segment begins, 1 at noise, before levels are shifted.
    """
    shifts = noise_levels.shifts(segment_sizes(batch))[None]
    times = timesteps(steps)[:, None, None] * jax.sharding.reshard(strengths, S.act_bs)[None]
    return jax.sharding.reshard(level_table(shift_noise_level(times, shifts)), TABLES)


@functools.partial(jax.jit, static_argnums=(0, 1))
def sample_rows(
    denoiser: Denoiser,
    sampler: str,
    params: Params,
    batch: PackedBatch,
    without_captions: PackedBatch,
    noise: Float[Array, "b l p"],
    levels: Float[Array, "levels b e"],
    guidance: Float[Array, ""],
) -> Float[Array, "b l p"]:
    """Patches at the last table of levels, from the batch's with noise at the first.

    Known patches are at level 0 in all tables, and keep their values.

    Args:
      sampler: a name in `diffusion.samplers`.
      batch: the canvases' rows, whose patches are read below level 1; its levels are not read.
      without_captions: the same rows with empty captions.
      noise: standard normal noise.
      levels: tables of noise levels, see `noise_level_tables`.
      guidance: scale of classifier-free guidance.
    """

    def velocity(x: Array, table: Array) -> Array:
        conditional, unconditional = (
            denoiser.velocity(params, x, rows._replace(levels=table))
            for rows in (batch, without_captions)
        )
        return classifier_free_guidance(conditional, unconditional, guidance)

    x = corrupt(batch.patches, noise, token_levels(levels[0], batch.level_ids))
    return SAMPLERS[sampler](velocity, x, levels, batch.level_ids)
