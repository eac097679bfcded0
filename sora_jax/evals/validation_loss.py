"""The loss on held-out clips, as one number per clip and noise level that nothing else changes.

    error(i, t) = mean (velocity(x_t, t) - (eps_i - x0_i))^2,    x_t = (1 - t) x0_i + t eps_i

with levels t that are fixed, and noise eps_i that follows from the clip's number i in its split
alone: the same for each level, each run and each model of these latents and patches. How clips
share rows, how many rows make a batch and how many processes compute it change only its rounding.
Means are over clips: an image and a long clip count alike. A clip that is longer than a row counts
as so many pieces of it; of one that cannot be read the errors are NaN, and in no mean.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from sora_jax.diffusion.losses import segment_errors
from sora_jax.diffusion.process import corrupt
from sora_jax.models.denoiser import Denoiser
from sora_jax.rows import (
    PackedBatch,
    batch_specs,
    scale_channels,
    token_levels,
    with_noise_level,
)
from sora_jax.sharding import BATCH, P, axis_size, put, shard
from sora_jax.types import Params

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
SEED = 2206

Clips = Sequence[int] | np.ndarray
"""Numbers of a row's clips in their split, in the order of the row."""


def clip_noise(clip: int, tokens: int, width: int) -> Float[np.ndarray, "{tokens} {width}"]:
    """Standard normal noise of a clip's patches."""
    return np.random.default_rng((SEED, clip)).standard_normal((tokens, width), np.float32)


def row_noise(row: PackedBatch, clips: Clips) -> Float[np.ndarray, "l p"]:
    """Noise of a row that holds these clips in this order."""
    noise = np.zeros_like(row.patches)
    for number, clip in enumerate(clips, 1):
        tokens = row.segment_ids == number
        noise[tokens] = clip_noise(int(clip), int(np.sum(tokens)), row.patches.shape[-1])
    return noise


@functools.partial(jax.jit, static_argnums=0)
def velocity_errors(
    denoiser: Denoiser,
    params: Params,
    channel_scale: Float[Array, "c"],
    batch: PackedBatch,
    noise: Float[Array, "b l p"],
    noise_level: Float[Array, ""],
) -> Float[Array, "b g"]:
    """Mean squared error of each segment's velocity at one noise level, on every process."""
    batch = with_noise_level(scale_channels(batch, channel_scale), noise_level)
    x = corrupt(batch.patches, noise, token_levels(batch.levels, batch.level_ids))
    velocity = denoiser.velocity(params, x, batch)
    errors = segment_errors(velocity, noise - batch.patches, batch)
    return jax.sharding.reshard(errors, P(None, None))


def clip_errors(
    denoiser: Denoiser,
    params: Params,
    channel_scale: Float[np.ndarray, "c"],
    rows: Sequence[PackedBatch],
    plan: Sequence[Clips],
    batch_rows: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float[np.ndarray, "clips levels"]:
    """The equation above, for each clip, in ascending order, and each of `LEVELS`.

    All processes call it alike, with all rows, and all get all errors.

    Args:
      rows: the held-out clips, packed; at least as many rows as `plan` has.
      plan: the clips of each row; no clip twice. They may be a part of a split.
      batch_rows: minimum number of rows that are evaluated together.
      progress: called with (rows done, rows in all).
    """
    shards = axis_size(BATCH)
    size = -(-batch_rows // shards) * shards
    in_order = np.sort(np.concatenate([np.asarray(clips, int) for clips in plan]))
    clip_errors = np.full((len(in_order), len(LEVELS)), np.nan, np.float32)
    specs = batch_specs()
    scale = put(np.asarray(channel_scale), P(None))
    for start in range(0, len(plan), size):
        numbers = range(start, min(start + size, len(plan)))
        pairs = [(row := rows[i], row_noise(row, plan[i])) for i in numbers]
        pairs += pairs[:1] * (size - len(numbers))
        stacked = jax.tree.map(lambda *fields: np.stack(fields), *pairs)
        batch, noise = shard(stacked, (specs, specs.patches))
        for column, level in enumerate(LEVELS):
            errors = velocity_errors(denoiser, params, scale, batch, noise, np.float32(level))
            for row_errors, i in zip(np.asarray(errors), numbers, strict=False):
                places = np.searchsorted(in_order, plan[i])
                clip_errors[places, column] = row_errors[: len(plan[i])]
        for row, i in zip((row for row, _ in pairs), numbers, strict=False):
            missing = ~np.isin(np.arange(1, len(plan[i]) + 1), row.segment_ids)
            clip_errors[np.searchsorted(in_order, plan[i])[missing]] = np.nan
        progress(numbers.stop, len(plan))
    return clip_errors


def mean_by_level(errors: Float[np.ndarray, "clips levels"]) -> dict[str, float]:
    """Means over clips as metrics of training: of all levels, and of each."""
    means = {"held_out_loss": float(np.nanmean(errors))}
    for level, mean in zip(LEVELS, np.nanmean(errors, 0), strict=True):
        means[f"held_out_loss/level_{level:g}"] = float(mean)
    return means


def by_size_and_level(
    errors: Float[np.ndarray, "clips levels"], sizes: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Means by level, by size (frames x height x width), and by both; images come first."""
    shapes = sorted({tuple(size) for size in sizes})
    groups = {
        "x".join(map(str, shape)): errors[[tuple(size) == shape for size in sizes]]
        for shape in shapes
    }

    def by_level(some: np.ndarray) -> dict[str, float]:
        return {str(t): float(e) for t, e in zip(LEVELS, np.nanmean(some, 0), strict=True)}

    return {
        "by_level": by_level(errors),
        "by_size": {name: float(np.nanmean(some)) for name, some in groups.items()},
        "by_size_and_level": {name: by_level(some) for name, some in groups.items()},
        "clips_by_size": {name: len(some) for name, some in groups.items()},
    }
