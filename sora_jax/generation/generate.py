"""Prompts to videos: canvases packed into rows, one compiled sampler, the autoencoder's decoder."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, UInt8

from sora_jax import media
from sora_jax.codec.video_codec import load_codec
from sora_jax.config import DiffusionExperiment
from sora_jax.diffusion import process
from sora_jax.diffusion.noise_levels import shifted, timesteps
from sora_jax.diffusion.samplers import classifier_free_guidance, euler
from sora_jax.generation.canvas import Canvas, Request, text_canvas
from sora_jax.patches import grid_of, pack_row, unpatchify
from sora_jax.sharding import BATCH, axis_size
from sora_jax.text_inputs import load_captions
from sora_jax.training import step
from sora_jax.training.checkpoint import load_config, load_items
from sora_jax.types import PackedBatch, Params

MULTIPLE = 128
"""Rows longer than the training's are whole multiples of this many tokens."""


class Generator:
    """A trained transformer with its text encoder or tokenizer, and its autoencoder.

    Attributes:
      experiment: how it was trained.
      params: the averaged weights.
      channel_scale: what normalised latents are multiplied by before the transformer sees them.
      captions: what turns prompts into tokens, or into states.
      codec: the autoencoder.
    """

    def __init__(self, workdir: epath.PathLike, data: epath.PathLike, vae: epath.PathLike):
        """Loads everything.

        Args:
          workdir: the transformer's run.
          data: the latents it was trained on, which hold the tokenizer or name the text encoder.
          vae: the autoencoder's run.

        Raises:
          ValueError: one of them is missing.
        """
        experiment = load_config(workdir)
        if not isinstance(experiment, DiffusionExperiment):
            raise ValueError(f"{workdir} holds an autoencoder: name a diffusion run's workdir")
        self.experiment = experiment
        like = jax.eval_shape(functools.partial(step.init_state, experiment))
        items = load_items(workdir, {"ema": like.params, "statistics": like.statistics})
        self.params = items["ema"]
        self.channel_scale = np.asarray(items["statistics"]["channel_scale"])
        self.captions = load_captions(data, experiment.model)
        self.codec = load_codec(vae)

    def sample(
        self,
        requests: Sequence[Request],
        steps: int = 32,
        guidance: float = 2.0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[UInt8[np.ndarray, "t h w 3"]]:
        """One video for each request, whatever their sizes; the same seed gives the same video.

        Args:
          steps: Euler steps from noise to data.
          guidance: scale of classifier-free guidance; 1 means none.
          progress: called with (rows done, rows in all).

        Raises:
          ValueError: there is no request, or one of them is empty or too small.
        """
        if not requests:
            raise ValueError("there are no prompts: give at least one")
        patch = self.experiment.model.patch
        *texts, empty = self.captions.encode([*(r.prompt for r in requests), ""])
        canvases = [
            text_canvas(r, self.codec.config, patch, text)
            for r, text in zip(requests, texts, strict=True)
        ]
        capacity = self._capacity(canvases)
        rows = share_rows(canvases, capacity)
        shards = axis_size(BATCH)
        batch = -(-min(self.experiment.packing.rows, len(rows)) // shards) * shards
        specs = step.batch_shardings()
        levels, scale = timesteps(steps), jnp.float32(guidance)
        videos: list[np.ndarray] = []
        for start in range(0, len(rows), batch):
            chunk = rows[start : start + batch]
            packed, noise = self._stack(chunk, capacity, batch)
            packed = step.scaled(packed, self.channel_scale)
            batches = step.place((packed, without_text(packed, empty)), (specs, specs))
            noise = step.place(noise, specs.patches)
            patches = np.asarray(
                integrate(self.experiment, self.params, *batches, noise, levels, scale)
            )
            for row, canvases_of_row in zip(patches, chunk, strict=False):
                at = 0
                for canvas in canvases_of_row:
                    n = len(canvas.noise)
                    videos.append(self._finish(canvas, row[at : at + n]))
                    at += n
            progress(min(start + batch, len(rows)), len(rows))
        return videos

    def _capacity(self, canvases: Sequence[Canvas]) -> tuple[int, int, int]:
        """Training's row, longer where a canvas or a prompt asks for it."""
        tokens, text, segments = self.experiment.packing.capacity
        longest = max(len(c.noise) for c in canvases)
        wordiest = max(len(c.segment.text) for c in canvases)
        return (
            tokens if longest <= tokens else -(-longest // MULTIPLE) * MULTIPLE,
            text if wordiest <= text else -(-wordiest // MULTIPLE) * MULTIPLE,
            segments,
        )

    def _stack(self, rows, capacity, batch: int) -> tuple[PackedBatch, np.ndarray]:
        """Rows of canvases with their noise, filled up to `batch` with rows of padding."""
        width = self.experiment.model.patch_width
        packed = [pack_row([c.segment for c in row], capacity, width) for row in rows]
        noise = np.zeros((batch, capacity[0], width), np.float32)
        for line, row in zip(noise, rows, strict=False):
            together = np.concatenate([c.noise for c in row])
            line[: len(together)] = together
        blank = jax.tree.map(np.zeros_like, packed[:1]) * (batch - len(rows))
        fields: Any = (np.stack(field) for field in zip(*packed, *blank, strict=True))
        return PackedBatch(*fields), noise

    def _finish(self, canvas: Canvas, patches: np.ndarray) -> np.ndarray:
        patch, r = self.experiment.model.patch, canvas.request
        latent = unpatchify(patches, grid_of(canvas.latent_shape, patch), patch)
        latent = latent / self.channel_scale
        video = np.asarray(self.codec.decode(jnp.asarray(latent)[None])[0])
        return media.to_uint8(video[: r.frames, : r.height, : r.width])


def without_text(batch: PackedBatch, empty: np.ndarray) -> PackedBatch:
    """The same rows with the empty caption in place of each caption, none of which is shorter."""
    text, segments = np.zeros_like(batch.text), np.zeros_like(batch.text_segment_ids)
    for row, ids in enumerate(batch.segment_ids):
        for number in range(ids.max()):
            here = slice(number * len(empty), (number + 1) * len(empty))
            text[row, here], segments[row, here] = empty, number + 1
    return batch._replace(text=text, text_segment_ids=segments)


def share_rows(canvases: Sequence[Canvas], capacity: tuple[int, int, int]) -> list[list[Canvas]]:
    """Canvases in their order, as many to a row as fit."""
    rows: list[list[Canvas]] = [[]]
    for canvas in canvases:
        row = [*rows[-1], canvas]
        need = (sum(len(c.noise) for c in row), sum(len(c.segment.text) for c in row), len(row))
        if rows[-1] and any(n > c for n, c in zip(need, capacity, strict=True)):
            rows.append([canvas])
        else:
            rows[-1] = row
    return rows


@functools.partial(jax.jit, static_argnums=0)
def integrate(
    experiment: DiffusionExperiment,
    params: Params,
    batch: PackedBatch,
    empty: PackedBatch,
    noise: Float[Array, "b l p"],
    levels: Float[Array, "levels"],
    guidance: Float[Array, ""],
) -> Float[Array, "b l p"]:
    """Patches at level 0 from noise; known patches keep their values.

    Levels are shifted as in training, for each segment by its size.

    `empty` is `batch` without captions, for guidance.
    """
    known = batch.known[..., None]
    shifts = experiment.noise_levels.shifts(step.segment_sizes(batch))

    def tokens(level: Array) -> Array:
        return step.token_levels(step.at_level(batch, shifted(level, shifts)))

    def velocity(x: Array, level: Array) -> Array:
        def predict(rows: PackedBatch) -> Array:
            rows = step.at_level(rows, shifted(level, shifts))
            out = step.predict(experiment, params, x, rows)
            return process.to_velocity(experiment.prediction, out, x, tokens(level))

        return jnp.where(
            known, 0.0, classifier_free_guidance(predict(batch), predict(empty), guidance)
        )

    return euler(velocity, jnp.where(known, batch.patches, noise), levels, tokens)
