"""Clips of `experiments.shipped.drawing` as they come, and packed rows of their latents.

Latents of all clips stay on the device, token after token, in one array. A step is told only where
its rows' clips begin, and `assemble` gathers them there; see `sora_jax.rows` for what a row is.
"""

import pathlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from data_pipelines import packing
from sora_jax.patches import POSITIONS_PER_SECOND
from sora_jax.rows import PackedBatch, PackingConfig, level_table

CAPTIONS = (0.25, 0.65, 0.10)
"""How often a clip is seen with its short, its detailed and no caption."""
TEXT_STEP = 4


class Clip(NamedTuple):
    """A drawn clip: uint8 [t, h, w, 3], frames per second, ids of both captions."""

    video: np.ndarray
    fps: float
    texts: tuple[np.ndarray, np.ndarray]


def read_clips(path: pathlib.Path, grid: int) -> Iterator[Clip]:
    """Clips of a file, their sides padded to multiples of `grid` as `media.fit_canvas` does."""
    with np.load(path) as file:
        stored = {name: file[name] for name in file.files}
    start, text = 0, np.split(stored["text"], stored["text_lengths"].ravel().cumsum()[:-1])
    for i, size in enumerate(stored["sizes"]):
        video = stored["pixels"][start : start + 3 * size.prod()].reshape(*size, 3)
        start += 3 * size.prod()
        missing = [(0, 0), *((0, -int(n) % grid) for n in size[1:]), (0, 0)]
        yield Clip(
            np.pad(video, missing, "edge"),
            float(stored["fps"][i]),
            (text[2 * i], text[2 * i + 1]),
        )


def new_files(folder: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Files in the order of their names, each once; None where no other is there yet."""
    seen: set[pathlib.Path] = set()
    while True:
        found = sorted(set(folder.glob("*.npz")) - seen)
        seen.update(found)
        yield from found
        if not found:
            yield None
            time.sleep(0.05)


class Row(NamedTuple):
    """Where the clips of a row are: first tokens, grids of latents, frame rates and captions."""

    starts: np.ndarray
    grids: np.ndarray
    fps: np.ndarray
    texts: list[tuple[np.ndarray, np.ndarray]]


def plan(clips: list[Any], starts: np.ndarray, grids: np.ndarray, config: PackingConfig):
    """The rows of some clips, as `packing.plan_rows` shares them out."""
    words = np.array([max(len(t) for t in clip.texts) for clip in clips])
    lengths = np.stack([grids.prod(1), -(-words // TEXT_STEP) * TEXT_STEP], 1)
    row_of = packing.plan_rows(lengths, config.capacity, len(clips))
    fps = np.array([clip.fps for clip in clips], np.float32)
    for number in range(row_of.max() + 1):
        at = np.flatnonzero(row_of == number)
        yield Row(starts[at], grids[at], fps[at], [clips[i].texts for i in at])


class Plan(NamedTuple):
    """What a step is told of its rows; zeros where a row has fewer clips."""

    starts: Int[np.ndarray, "b g"]
    grids: Int[np.ndarray, "b g 3"]
    fps: Float[np.ndarray, "b g"]
    text: Int[np.ndarray, "b s"]
    text_segment_ids: Int[np.ndarray, "b s"]


def plan_step(rows: list[Row], config: PackingConfig, end: int, rng: np.random.Generator) -> Plan:
    """The plan of a step of `rows`, with a caption drawn for each clip.

    Args:
      end: id of the end-of-text token, which is the empty caption.
    """
    b, (_, s, g) = len(rows), config.capacity
    made = Plan(
        np.zeros((b, g), np.int32),
        np.zeros((b, g, 3), np.int32),
        np.ones((b, g), np.float32),
        np.zeros((b, s), np.int32),
        np.zeros((b, s), np.int32),
    )
    none = np.array([end], np.int32)
    for i, row in enumerate(rows):
        n, at = len(row.starts), 0
        made.starts[i, :n], made.grids[i, :n], made.fps[i, :n] = row.starts, row.grids, row.fps
        for number, which in enumerate(rng.choice(3, n, p=CAPTIONS), 1):
            text = (*row.texts[number - 1], none)[which]
            made.text[i, at : at + len(text)] = text
            made.text_segment_ids[i, at : at + len(text)] = number
            at += len(text)
    return made


def assemble(store: Float[Array, "tokens c"], step: Plan, tokens: int) -> PackedBatch:
    """The packed batch of a plan, at levels of 0.

    Args:
      store: latents of all clips.
      tokens: video tokens of a row.
    """
    b, g = step.starts.shape
    sizes = step.grids.prod(-1)
    ends = jnp.cumsum(sizes, -1)
    index = jnp.arange(tokens)
    segment = jnp.sum(index[None, :, None] >= ends[:, None], -1)  # from 0; g is padding
    valid, at = segment < g, jnp.minimum(segment, g - 1)

    def of_token(table: Array) -> Array:
        return jnp.take_along_axis(table, at.reshape(b, tokens, *[1] * (table.ndim - 2)), 1)

    local = index[None] - of_token(ends - sizes)
    grid = jnp.maximum(of_token(step.grids), 1)
    y, x = local // grid[..., 2] % grid[..., 1], local % grid[..., 2]
    place = jnp.stack([local // (grid[..., 1] * grid[..., 2]), y, x], -1)
    seconds = POSITIONS_PER_SECOND / of_token(step.fps)
    scale = jnp.stack([seconds, *[jnp.ones_like(seconds)] * 2], -1)
    patches = store[jnp.where(valid, of_token(step.starts) + local, 0)].astype(jnp.float32)
    live = valid[..., None]
    ids = jnp.where(valid, at + 1, 0)
    return PackedBatch(
        patches=jnp.where(live, patches, 0),
        segment_ids=ids,
        positions=jnp.where(live, place * scale, 0),
        remaining=jnp.where(live, (grid - 1 - place) * scale, 0),
        known=jnp.zeros_like(valid),
        levels=level_table(jnp.zeros((b, g))),
        level_ids=ids,
        text=step.text,
        text_segment_ids=step.text_segment_ids,
        weights=sizes.astype(jnp.float32),
    )
