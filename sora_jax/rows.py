"""Packed rows: what a batch holds, how segments fill it, and how it is placed on a mesh.

A row is a sequence of one static length that holds the patches and captions of several segments
(clips and images of any size; Patch n' Pack, arXiv:2307.06304). Each row of up to g segments has a
table of 1 + 2 g noise levels: entry 0 is that of padding, 0; entry i is the level of segment i, and
entry g + i that of its known patches. A token's level is the entry that its `level_ids` names.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sora_jax.config import check_minimum
from sora_jax.patches import grid_positions, patch_grid, patchify
from sora_jax.sharding import SHARDING as S
from sora_jax.sharding import P, abstract_array


class RowCapacity(NamedTuple):
    """Static sizes of a row: numbers of video tokens, text tokens and segments."""

    tokens: int
    text_tokens: int
    segments: int


@dataclasses.dataclass(frozen=True)
class PackingConfig:
    """A batch of packed rows.

    Attributes:
      rows: rows of a training step, over all devices.
      tokens: video tokens that a row has room for.
      text_tokens: text tokens that a row has room for.
      segments: segments (clips and images) that a row has room for.
      window: maximum number of clips that are planned together; see `packing.plan_rows`.
      rows_per_device: rows of a step, or of a micro-batch, that one device holds, a power of two;
        rows of high cost are paired with rows of low cost on it. With 1, a step has rows of equal
        cost, so clips of similar lengths. If it does not divide the rows that a device has, work is
        uneven.
      max_bad_share: maximum share of the clips that may be left out, damaged or of frames larger
        than a row, 0 to 1, and one at least unless it is 0; a run that finds more of them stops.
    """

    rows: int = 8
    tokens: int = 256
    text_tokens: int = 512
    segments: int = 24
    window: int = 2048
    rows_per_device: int = 1
    max_bad_share: float = 0.01

    def __post_init__(self):
        counts = {field.name: 1 for field in dataclasses.fields(self)}
        check_minimum(self, **counts | {"max_bad_share": 0})
        n = self.rows_per_device
        if n & (n - 1) or self.rows % n:
            raise ValueError(
                f"rows_per_device is {n}: give it a power of two that divides the "
                f"{self.rows} rows of a step"
            )

    @property
    def capacity(self) -> RowCapacity:
        """Sizes of a row."""
        return RowCapacity(self.tokens, self.text_tokens, self.segments)


class PackedBatch(NamedTuple):
    """Rows of one static length that hold segments of any size.

    Segment ids count from 1 within a row; 0 is padding, and padding attends only to itself.
    Noise is an argument of the training step and is never stored here.

    Attributes:
      patches: clean spacetime patches, flattened in the order (pt, ph, pw, c).
      segment_ids: segment of each video token.
      positions: (t, h, w) of each video token; see `patches.grid_positions`.
      remaining: distance in positions from each video token to the last one of its clip, by axis.
      known: whether the patch is given and not to be predicted.
      levels: the row's table of noise levels, 0 clean to 1 pure noise; see the module's docstring.
      level_ids: each video token's entry in `levels`.
      text: text token ids, or embeddings of a text encoder that is not trained.
      text_segment_ids: segment of each text token.
      weights: weight of each segment in the loss; entry i belongs to segment i + 1.
    """

    patches: Float[Array, "b l p"]
    segment_ids: Int[Array, "b l"]
    positions: Float[Array, "b l 3"]
    remaining: Float[Array, "b l 3"]
    known: Bool[Array, "b l"]
    levels: Float[Array, "b e"]
    level_ids: Int[Array, "b l"]
    text: Int[Array, "b s"] | Float[Array, "b s d"]
    text_segment_ids: Int[Array, "b s"]
    weights: Float[Array, "b g"]


class Field(NamedTuple):
    """Static description of one field of a batch: shape in letters, dtype, sharding."""

    letters: str
    dtype: Any
    sharding: P


def batch_fields(text_embed_dim: int = 0) -> dict[str, Field]:
    """The `Field` of each field of a batch whose text is tokens, or embeddings of this width."""
    text = (
        Field("b s d", np.float16, S.act_bs) if text_embed_dim else Field("b s", np.int32, S.act_bs)
    )
    return {
        "patches": Field("b l p", np.float32, S.act_bld),
        "segment_ids": Field("b l", np.int32, S.act_bl),
        "positions": Field("b l 3", np.float32, S.act_bld),
        "remaining": Field("b l 3", np.float32, S.act_bld),
        "known": Field("b l", np.bool_, S.act_bl),
        "levels": Field("b e", np.float32, S.act_bs),
        "level_ids": Field("b l", np.int32, S.act_bl),
        "text": text,
        "text_segment_ids": Field("b s", np.int32, S.act_bs),
        "weights": Field("b g", np.float32, S.act_bs),
    }


def batch_specs() -> PackedBatch:
    """A batch with the `PartitionSpec` of each field in its place."""
    specs: dict[str, Any] = {name: field.sharding for name, field in batch_fields().items()}
    return PackedBatch(**specs)


def abstract_batch(
    rows: int, capacity: RowCapacity, patch_width: int, text_embed_dim: int = 0
) -> PackedBatch:
    """Shapes, dtypes and shardings of a batch on the current mesh, as `jax.ShapeDtypeStruct`."""
    shapes = _shapes(rows, capacity, patch_width, text_embed_dim)
    arrays: dict[str, Any] = {name: abstract_array(*static) for name, static in shapes}
    return PackedBatch(**arrays)


def _shapes(rows: int, capacity: RowCapacity, patch_width: int, text_embed_dim: int):
    """Name and (shape, dtype, sharding) of each field."""
    l, s, g = capacity
    sizes = {"b": rows, "l": l, "s": s, "g": g, "e": 1 + 2 * g, "p": patch_width, "3": 3}
    sizes["d"] = text_embed_dim
    for name, field in batch_fields(text_embed_dim).items():
        yield name, (tuple(sizes[c] for c in field.letters.split()), field.dtype, field.sharding)


@dataclasses.dataclass(frozen=True)
class Segment:
    """What a row holds of one clip.

    The segments of a row have text of one kind: token ids, or embeddings of a text encoder. `last`
    is the position of the last token of the clip.
    """

    patches: Float[np.ndarray, "l p"]
    positions: Float[np.ndarray, "l 3"]
    text: Int[np.ndarray, "s"] | Float[np.ndarray, "s d"]
    known: Bool[np.ndarray, "l"]
    weight: float
    last: Float[np.ndarray, "3"] | None = None


def make_segment(
    latent: Float[np.ndarray, "t h w c"],
    fps: float,
    text: Sequence[int] | np.ndarray,
    patch: tuple[int, int, int],
    weight_exponent: float = 0.0,
    window: tuple[int, int] | None = None,
) -> Segment:
    """The segment of a clip's latent, no patch of which is known.

    Args:
      fps: frames per second of the clip.
      text: token ids [s] or embeddings [s, d] of the caption.
      weight_exponent: a segment of n tokens has the weight n ** weight_exponent in the loss.
      window: range of latent frames that the segment has, [start, stop); None: all.
    """
    start, stop = window or (0, len(latent))
    part = latent[start:stop].astype(np.float32)
    patches, text = np.asarray(patchify(part, patch)), np.asarray(text)
    positions = grid_positions(patch_grid(latent.shape, patch), patch[0], fps)
    first = len(positions) * start // len(latent)
    return Segment(
        patches,
        positions[first : first + len(patches)],
        text if text.ndim == 2 else text.astype(np.int32),
        np.zeros(len(patches), bool),
        len(patches) ** weight_exponent,
        positions[-1],
    )


def empty_segment(patch_width: int, text_embed_dim: int) -> Segment:
    """The segment of a clip that cannot be read: it has no tokens and no weight."""
    text = np.zeros((0, text_embed_dim), np.float16) if text_embed_dim else np.zeros(0, np.int32)
    patches, positions = (np.zeros((0, n), np.float32) for n in (patch_width, 3))
    return Segment(patches, positions, text, np.zeros(0, bool), 0.0, np.zeros(3, np.float32))


def pack_row(
    segments: Sequence[Segment],
    capacity: tuple[int, int, int],
    patch_width: int,
) -> PackedBatch:
    """One row of segments, in their order; a batch without the batch axis.

    Args:
      segments: they must fit the capacity; none make a row of padding.
      capacity: see `RowCapacity`.

    Returns:
      The row in numpy arrays, with noise levels of 0.
    """
    embed_dim = segments[0].text.shape[1] if segments and segments[0].text.ndim == 2 else 0
    shapes = _shapes(1, RowCapacity(*capacity), patch_width, embed_dim)
    fields: dict[str, Any] = {
        name: np.zeros(shape[1:], dtype) for name, (shape, dtype, _) in shapes
    }
    if embed_dim:
        fields["text"] = fields["text"].astype(segments[0].text.dtype)
    row = PackedBatch(**fields)
    start, text_start = 0, 0
    for number, segment in enumerate(segments, 1):
        tokens = slice(start, start := start + len(segment.patches))
        text_tokens = slice(text_start, text_start := text_start + len(segment.text))
        row.patches[tokens], row.positions[tokens] = segment.patches, segment.positions
        last = segment.positions.max(0) if segment.last is None else segment.last
        row.remaining[tokens] = last - segment.positions
        row.segment_ids[tokens], row.known[tokens] = number, segment.known
        row.level_ids[tokens] = np.where(segment.known, len(row.weights) + number, number)
        row.text[text_tokens], row.text_segment_ids[text_tokens] = segment.text, number
        row.weights[number - 1] = segment.weight
    return row


def stack_rows(rows: Sequence[PackedBatch], size: int) -> PackedBatch:
    """A batch of `size` rows: those given, then rows of padding."""
    padding = jax.tree.map(np.zeros_like, rows[:1]) * (size - len(rows))
    fields: Any = (np.stack(field) for field in zip(*rows, *padding, strict=True))
    return PackedBatch(*fields)


def replace_captions(batch: PackedBatch, caption: np.ndarray) -> PackedBatch:
    """A batch of numpy arrays with one caption, ids [s] or embeddings [s, d], in every segment.

    It must not be longer than any of the captions that it replaces.
    """
    text, segments = np.zeros_like(batch.text), np.zeros_like(batch.text_segment_ids)
    for row, ids in enumerate(batch.segment_ids):
        for number in range(int(ids.max())):
            tokens = slice(number * len(caption), (number + 1) * len(caption))
            text[row, tokens], segments[row, tokens] = caption, number + 1
    return batch._replace(text=text, text_segment_ids=segments)


def scale_channels(batch: PackedBatch, scale: Float[Array | np.ndarray, "c"]) -> PackedBatch:
    """The batch with each latent channel multiplied by its scale."""
    repeats = batch.patches.shape[-1] // scale.size
    return batch._replace(patches=batch.patches * jnp.tile(scale, repeats)[None, None])


def segment_sizes(batch: PackedBatch) -> Float[Array, "b g"]:
    """Number of video tokens of each segment."""
    member = jax.nn.one_hot(batch.segment_ids - 1, batch.weights.shape[1])
    return jnp.einsum("blg->bg", member, out_sharding=S.act_bs)


def segment_means(
    batch: PackedBatch, values: Float[Array, "b l"], counted: Bool[Array, "b l"]
) -> Float[Array, "b g"]:
    """Mean of a number of each video token over the counted ones of each segment; 0 of none."""
    member = jax.nn.one_hot(batch.segment_ids - 1, batch.weights.shape[1]) * counted[..., None]
    total = jnp.einsum("blg,bl->bg", member, values, out_sharding=S.act_bs)
    return total / jnp.maximum(jnp.einsum("blg->bg", member, out_sharding=S.act_bs), 1)


def token_values(values: Float[Array, "b g"], batch: PackedBatch) -> Float[Array, "b l 1"]:
    """The number of each video token's segment; 0 in padding."""
    return token_levels(jnp.pad(values, ((0, 0), (1, 0))), batch.segment_ids)


def level_table(
    noise_level: Float[Array, "*n b g"], known_level: Float[Array, "*n b g"] | None = None
) -> Float[Array, "*n b e"]:
    """Tables of noise levels from the level of each segment, and that of its known patches.

    Args:
      known_level: None means 0.
    """
    known = jnp.zeros_like(noise_level) if known_level is None else known_level
    return jnp.concatenate([jnp.zeros_like(noise_level[..., :1]), noise_level, known], -1)


def with_noise_level(
    batch: PackedBatch, noise_level: Float[Array, ""] | Float[Array, "b g"]
) -> PackedBatch:
    """The batch at one noise level, or at one of each segment; known patches are at 0."""
    table = level_table(jnp.broadcast_to(noise_level, batch.weights.shape))
    return batch._replace(levels=jax.sharding.reshard(table, S.act_bs))


def token_levels(
    levels: Float[Array, "b e"], level_ids: Int[Array, "b l"]
) -> Float[Array, "b l 1"]:
    """The entry of the row's table of noise levels that each token names."""
    table, ids = (jax.sharding.reshard(a, S.act_bs) for a in (levels, level_ids))
    return jax.sharding.reshard(jnp.take_along_axis(table, ids, 1), S.act_bl)[..., None]
