"""Sampling of packed rows of canvases: noise to clean patches, in one compiled program."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from sora_jax.config import check_choice, check_minimum
from sora_jax.diffusion.guidance import Guidance, guide
from sora_jax.diffusion.noise_levels import NoiseLevels, shift_noise_level, timesteps
from sora_jax.diffusion.process import corrupt
from sora_jax.diffusion.samplers import SAMPLERS
from sora_jax.models.denoiser import Denoiser
from sora_jax.rows import PackedBatch, level_table, segment_sizes, token_levels
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P
from sora_jax.types import Params

TURN = (5**0.5 - 1) / 2
"""Of a ring, how far it turns from step to step: the golden section comes near no place twice."""
TABLES = P(None, *S.act_bs)
"""Sharding of tables of noise levels [levels, b, e]."""


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How rows are sampled; requests that share a row are sampled alike.

    Attributes:
      steps: number of steps from noise to data.
      guidance: scale of classifier-free guidance; 1 means none.
      sampler: a name in `diffusion.samplers`.
      guidance_interval: lowest and highest noise level, after any shift, with guidance.
      guidance_rescale: share, 0 to 1, by which the deviation of guided predictions is moved to that
        of predictions without guidance; see `diffusion.guidance`.
      repeats: times that each step but the last is made, with noise added in between; above 1 for
        `ancestral` only.
    """

    steps: int = 32
    guidance: float = 2.0
    sampler: str = "euler"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = 0.0
    repeats: int = 1

    def __post_init__(self):
        check_minimum(self, steps=1, repeats=1, guidance_rescale=0)
        check_choice(self, sampler=tuple(SAMPLERS))
        if not 0 <= self.guidance_interval[0] <= self.guidance_interval[1] <= 1:
            raise ValueError(
                f"guidance_interval is {self.guidance_interval}: give two levels from 0 to 1, the "
                "lower one first"
            )
        if not math.isfinite(self.guidance):
            raise ValueError(f"guidance is {self.guidance}: give it a finite number")
        if self.guidance_rescale > 1:
            raise ValueError(f"guidance_rescale is {self.guidance_rescale}: give one from 0 to 1")
        if self.repeats > 1 and self.sampler != "ancestral":
            raise ValueError(
                f"repeats is {self.repeats}, and {self.sampler} adds no noise: give the sampler "
                "ancestral, or 1"
            )

    def make_guidance(self) -> Guidance:
        """As arrays, so that other values need no other program."""
        values = self.guidance, *self.guidance_interval, self.guidance_rescale
        return Guidance(*map(jnp.float32, values))


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def noise_level_tables(
    noise_levels: NoiseLevels,
    batch: PackedBatch,
    strengths: Float[Array, "b g"],
    steps: int,
    repeats: int = 1,
    replaced: bool = False,
) -> Float[Array, "levels b e"]:
    """Tables of levels down to 0, shifted as in training for each segment by its size.

    Args:
      strengths: where each segment begins, 1 at noise, before levels are shifted.
      repeats: see `timesteps`.
      replaced: whether known patches have the level of the others, see `sample_rows`.
    """
    shifts = noise_levels.shifts(segment_sizes(batch))[None]
    times = timesteps(steps, repeats)[:, None, None]
    times = times * jax.sharding.reshard(strengths, S.act_bs)[None]
    levels = shift_noise_level(times, shifts)
    return jax.sharding.reshard(level_table(levels, levels if replaced else None), TABLES)


@functools.partial(jax.jit, static_argnums=(0, 1))
def sample_rows(
    denoiser: Denoiser,
    sampler: str,
    params: Params,
    batch: PackedBatch,
    without_captions: PackedBatch,
    noise: Float[Array, "b l p"],
    keys: UInt32[Array, "b l 2"],
    rings: Float[Array, "b l 2"],
    levels: Float[Array, "levels b e"],
    guidance: Guidance,
) -> Float[Array, "b l p"]:
    """Patches at the last table of levels, from the batch's with noise at the first.

    Known patches at level 0 in all tables keep their values. At the others' levels they are
    replaced: each step sees them with noise on them, and ends where their values are exact
    (arXiv:2201.09865), which a model needs no training for.

    Args:
      sampler: a name in `diffusion.samplers`.
      batch: the canvases' rows, whose patches are read below level 1 and where they are known; its
        levels are not read.
      without_captions: the same rows with empty captions.
      noise: standard normal noise.
      keys: data of a random key for each patch, for samplers that add noise.
      rings: `Canvas.ring` of each patch, see `turn_rings`.
      levels: tables of noise levels, see `noise_level_tables`.
    """

    def velocity(x: Array, table: Array) -> Array:
        level = token_levels(table, batch.level_ids)
        number = token_levels(number_steps(levels, table), batch.level_ids)
        conditional, unconditional = (
            denoiser.velocity(
                params, x, turn_rings(rows._replace(levels=table), rings, number[..., 0])
            )
            for rows in (batch, without_captions)
        )
        guided = guide(guidance, batch, x, level, conditional, unconditional)
        # Straight to the known value, from wherever x is.
        to_known = (x - batch.patches) / jnp.where(level > 0, level, 1)
        return jnp.where(batch.known[..., None], to_known, guided)

    def draw(step: Array) -> Array:
        def draw_one(key: Array) -> Array:
            key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
            return jax.random.normal(key, noise.shape[-1:])

        return jax.sharding.reshard(jax.vmap(jax.vmap(draw_one))(keys), S.act_bl)

    x = corrupt(batch.patches, noise, token_levels(levels[0], batch.level_ids))
    return SAMPLERS[sampler](velocity, x, levels, batch.level_ids, draw)


def number_steps(
    levels: Float[Array, "steps b e"], table: Float[Array, "b e"]
) -> Float[Array, "b e"]:
    """The number of the step that begins at each entry of a table, from 0.

    It is the number of levels above the entry's; levels that `repeats` visits again count once.
    """
    lowest = jax.lax.cummin(levels, axis=0)
    is_new = jnp.concatenate([jnp.ones_like(lowest[:1]), lowest[1:] < lowest[:-1]])
    return ((levels > table[None]) * is_new).sum(0)


def turn_rings(
    batch: PackedBatch, rings: Float[Array, "b l 2"], numbers: Float[Array, "b l"]
) -> PackedBatch:
    """Turns positions along time on rings, from step to step.

    Patch i of the n along a ring is seen at place (i + floor(number n TURN)) mod n. So the place
    where a model sees the beginning of a video is another one in each step, from three patches on,
    and none is a seam (the shift of latents of arXiv:2502.20307). At a level that a sampler comes
    back to, the ring stands as it stood.

    Args:
      rings: `Canvas.ring` of each token, zeros where there is none.
      numbers: of the step: how many of the tables' levels are above the token's.
    """
    n, step = rings[..., 0], rings[..., 1]
    t, on_ring = batch.positions[..., 0], n > 0
    count = jnp.where(on_ring, n, 1)
    place = jnp.round(t / jnp.where(on_ring, step, 1)) + jnp.floor(numbers * n * TURN)
    place = place % count
    turned = jnp.where(on_ring, place * step, t)
    left = jnp.where(on_ring, (n - 1 - place) * step, batch.remaining[..., 0])
    return batch._replace(
        positions=jnp.concatenate([turned[..., None], batch.positions[..., 1:]], -1),
        remaining=jnp.concatenate([left[..., None], batch.remaining[..., 1:]], -1),
    )
