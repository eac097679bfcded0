"""Latent records to batches of packed rows, through Grain.

The stream is a function of (`RowOrder`, row number) alone: epochs of equally many rows, each with
its own order and its own choice of captions (see `packing`). What a run has seen is a number of
rows, for any number of processes; `row_stream` goes on from it. Latents and embeddings of captions
are read when their row is; only lengths are in memory.
"""

import copy
import functools
import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import logging
from etils import epath
from jaxtyping import Int

from data_pipelines import packing
from data_pipelines.caption_embeddings import StoredEmbeddings
from data_pipelines.latents import Index, LatentRecord
from data_pipelines.mixture import Mixture, open_mixture
from data_pipelines.online_embeddings import OnlineEmbeddings
from data_pipelines.pieces import cut_clips
from sora_jax import processes
from sora_jax.models.dit_config import DiTConfig
from sora_jax.processes import BatchShare
from sora_jax.rows import PackedBatch, Segment, empty_segment, make_segment, pack_row, stack_rows
from sora_jax.text_inputs import (
    PaddedEmbeddings,
    TextInputs,
    load_tokenizer,
    read_text_encoder_note,
)
from sora_jax.training.experiments import DiffusionExperiment

TEXT_STEP = 4
"""Lengths of text are rounded up to multiples of this, so that more clips share a length bucket."""


class Epoch(NamedTuple):
    """An epoch's clips, in the order of its rows.

    Attributes:
      starts: int [rows + 1]: row i has the slots from starts[i] to starts[i + 1].
      pieces: int [slots], the piece of a clip in each slot; see `pieces.Pieces`.
      captions: int [slots], number of the clip's caption in `ClipMeta.texts`.
    """

    starts: np.ndarray
    pieces: np.ndarray
    captions: np.ndarray

    @property
    def rows(self) -> list[np.ndarray]:
        """The pieces of each row."""
        return np.split(self.pieces, self.starts[1:-1])


class RowOrder(NamedTuple):
    """What the order of an epoch's rows follows from, beside their plan.

    Attributes:
      seed: seed of the run.
      rows: rows of a step.
      rows_per_device: see `PackingConfig`.
      offset: rows of the stream before the first whole step, less than `rows`.
    """

    seed: int
    rows: int
    rows_per_device: int
    offset: int = 0


class PackedRows(Sequence[PackedBatch]):
    """Random access to the first rows of the endless stream, or to those of one epoch.

    Attributes:
      pieces: what rows are made of: clips, and parts of those that are longer than a row.
      costs: float [rows of an epoch], see `packing.row_costs`.
      fill: fraction of the rows' video tokens that belong to clips.
      per_epoch: number of rows of an epoch.
    """

    def __init__(
        self,
        experiment: DiffusionExperiment,
        latents: Mixture,
        text: TextInputs,
        text_lengths: Int[np.ndarray, "clips 3"],
        rows: int | None,
    ):
        """Plans the rows; reads no latents.

        Args:
          experiment: how clips are packed and captioned.
          latents: clips of all folders.
          text: turns captions into what rows hold of them.
          text_lengths: lengths of that, for each of `ClipMeta.texts` of each clip.
          rows: number of rows; None: those of one epoch.

        Raises:
          ValueError: clips do not fit the model, or too many of them no row.
        """
        self.experiment, self.latents, self.text = experiment, latents, text
        _check_shapes(experiment, latents)
        capacity, model = experiment.packing.capacity, experiment.model
        shapes = latents.catalog.shapes[:, :3]
        self.pieces = pieces = cut_clips(shapes, model.patch, capacity.tokens)
        self._captions_cut = int((text_lengths > capacity.text_tokens).sum())
        self._bad: set[int] = set()
        self._check_large_clips()
        text_tokens = -(-text_lengths.max(1) // TEXT_STEP) * TEXT_STEP
        text_tokens = np.minimum(text_tokens, capacity.text_tokens)[pieces.clips]
        source = latents.source[pieces.clips]
        self._buckets = packing.length_buckets(source, pieces.tokens, text_tokens)
        # A piece has one slot in the rows of an epoch for each time that its clip is repeated.
        self._repeats = latents.repeats[pieces.clips]
        piece_of_slot = np.repeat(np.arange(len(text_tokens)), self._repeats)
        self._bucket_of_slot = self._buckets[piece_of_slot]
        self._lengths = lengths = np.stack([pieces.tokens, text_tokens], 1)[piece_of_slot]
        self._row_of_slot = packing.plan_rows(lengths, capacity, experiment.packing.window)
        self._row_sizes = np.bincount(self._row_of_slot)
        crossover = 3 * model.width + model.mlp_dim  # see `scaling.flops`
        slots = self._row_of_slot, lengths[:, 0], capacity.tokens
        self.costs = packing.row_costs(*slots, crossover)
        self.fill = packing.fill(*slots)
        self.per_epoch = len(self._row_sizes)
        self._rows = self.per_epoch if rows is None else rows
        e = experiment.packing
        self._order = RowOrder(experiment.loop.seed, e.rows, e.rows_per_device)
        self._other_orders: dict[int, RowOrder] = {}
        self._epochs: dict[int, Epoch] = {}
        self._planning = threading.Lock()  # Grain reads from several threads

    def __len__(self) -> int:
        return self._rows

    @functools.cached_property
    def digest(self) -> str:
        """A text of the sizes and captions of all clips; see `task.TrainingData`."""
        parts = (*self.latents.catalog, self.latents.repeats, self._row_of_slot, self.costs)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def reorder(self, rows: int, offset: int, others: Mapping[int, RowOrder]) -> "PackedRows":
        """The first rows of the stream with other orders of its epochs.

        Args:
          rows: number of rows.
          offset: that of the order.
          others: orders of the epochs, by their number, that have another one.
        """
        reordered = copy.copy(self)
        reordered._rows, reordered._order = rows, self._order._replace(offset=offset)
        reordered._other_orders, reordered._epochs = dict(others), {}
        reordered._planning = threading.Lock()
        return reordered

    def order_of(self, epoch: int) -> RowOrder:
        """What the order of an epoch follows from."""
        return self._other_orders.get(epoch, self._order)

    def name_clips(self, row: int) -> list[str]:
        """Names of the clips in a row."""
        return [self._name_clip(int(self.pieces.clips[i])) for i in self._choose(row)[0]]

    def _name_clip(self, clip: int) -> str:
        try:
            return self.latents[clip].meta.name
        except ValueError:
            return f"clip {clip}, which is damaged"

    def count_faults(self) -> dict[str, float]:
        """What rows leave out or cut, so far and in this process, by kind.

        bad_clips: clips whose records are damaged; large_clips: clips of frames larger than a row;
        cut_clips: clips longer than a row, which are in several pieces; cut_captions: captions of
        more tokens than a row has room for.
        """
        return {
            "bad_clips": float(len(self._bad)),
            "large_clips": float(len(self.pieces.too_large)),
            "cut_clips": float(self.pieces.cut),
            "cut_captions": float(self._captions_cut),
        }

    def _check_large_clips(self) -> None:
        large, packing_ = self.pieces.too_large, self.experiment.packing
        for clip in large[:1] if self._are_too_many(len(large)) else ():
            shape = "x".join(map(str, self.latents.catalog.shapes[clip, :3]))
            raise ValueError(
                f"{len(large)} of {len(self.latents)} clips have frames that are larger than a row "
                f"of {packing_.tokens} tokens, as latents of {shape} in "
                f"{self.latents.folder_of(clip)}: raise config.packing.tokens, or "
                "config.packing.max_bad_share to leave them out"
            )

    def _are_too_many(self, count: int) -> bool:
        share = self.experiment.packing.max_bad_share
        return count > max(share > 0, len(self.latents) * share)

    def sample_rows(self, count: int = 1000) -> list[list[tuple[int, int]]]:
        """Lengths (video tokens, text tokens) of the segments of some rows, evenly chosen."""
        rows = np.arange(0, len(self._row_sizes), max(len(self._row_sizes) // count, 1))
        sample: dict[int, list[tuple[int, int]]] = {int(row): [] for row in rows}
        for slot in np.flatnonzero(np.isin(self._row_of_slot, rows)):
            video, text = map(int, self._lengths[slot])
            sample[int(self._row_of_slot[slot])].append((video, text))
        return list(sample.values())

    def _choose(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The pieces of a row, and which of its captions each is seen with."""
        number, row = divmod(int(row), self.per_epoch)
        epoch = self.epoch(number)
        slots = slice(epoch.starts[row], epoch.starts[row + 1])
        return epoch.pieces[slots], epoch.captions[slots]

    def epoch(self, number: int) -> Epoch:
        """The plan of an epoch; the last two that were asked for stay in memory."""
        with self._planning:
            if number not in self._epochs:
                plan = self._plan_epoch(number)
                self._epochs = {k: v for k, v in self._epochs.items() if abs(k - number) < 2}
                self._epochs[number] = plan
            return self._epochs[number]

    def _plan_epoch(self, number: int) -> Epoch:
        e, count, wanted = self.experiment, self.per_epoch, self.order_of(number)
        rng = np.random.default_rng((wanted.seed, number))
        before = number * count - wanted.offset
        order = packing.order_rows(self.costs, wanted.rows, wanted.rows_per_device, before, rng)
        rank = np.empty_like(order)
        rank[order] = np.arange(count)
        slots = np.argsort(rank[self._row_of_slot], kind="stable")
        buckets = self._bucket_of_slot[slots]
        pieces = packing.assign_clips(self._buckets, self._repeats, buckets, rng)
        short = max(0.0, 1 - e.detailed_caption_prob - e.caption_dropout)
        shares = np.array([short, e.detailed_caption_prob, e.caption_dropout])
        captions = rng.choice(3, len(pieces), p=shares / shares.sum()).astype(np.int8)
        return Epoch(np.append(0, self._row_sizes[order].cumsum()), pieces, captions)

    def __getitem__(self, row) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        packing_, width = self.experiment.packing, self.experiment.model.patch_width
        pieces, captions = self._choose(row)
        clips = self.pieces.clips[pieces].tolist()
        records = [self._read(clip) for clip in clips]
        texts = [r.texts[c] if r else "" for r, c in zip(records, captions, strict=True)]
        encoded = self._encode(clips, texts)
        parts = zip(pieces.tolist(), records, encoded, strict=True)
        segments = [self._make_segment(*part) for part in parts]
        return pack_row(segments, packing_.capacity, width)

    def _read(self, clip: int) -> LatentRecord | None:
        """The record of a clip; None where it is damaged."""
        try:
            return self.latents[clip]
        except ValueError as error:
            self._note_bad(clip, error)
            return None

    def _encode(self, clips: Sequence[int], texts: Sequence[str]) -> list[np.ndarray | None]:
        """What the model reads of texts, all at once; None where one of them is damaged."""
        try:
            return list(self.text.encode(texts))
        except ValueError as error:
            if len(texts) > 1:
                each = zip(clips, texts, strict=True)
                return [self._encode([clip], [text])[0] for clip, text in each]
            self._note_bad(clips[0], error)
            return [None]

    def _make_segment(
        self, piece: int, record: LatentRecord | None, text: np.ndarray | None
    ) -> Segment:
        """The segment of a piece; one of no tokens where something of it is damaged."""
        e = self.experiment
        if record is None or text is None:
            return empty_segment(e.model.patch_width, e.model.text_embed_dim)
        room = e.packing.text_tokens
        text = text if len(text) <= room else np.concatenate([text[: room - 1], text[-1:]])
        window = int(self.pieces.starts[piece]), int(self.pieces.stops[piece])
        weight = e.segment_weight_exponent
        return make_segment(record.latent, record.fps, text, e.model.patch, weight, window)

    def _note_bad(self, clip: int, error: ValueError) -> None:
        """Counts a clip that cannot be read. Raises ValueError where there are too many."""
        if clip not in self._bad:
            logging.warning("a clip is left out: %s", error)
        self._bad.add(clip)
        if self._are_too_many(len(self._bad)):
            raise ValueError(
                f"{len(self._bad)} of {len(self.latents)} clips are damaged, more than "
                f"config.packing.max_bad_share {self.experiment.packing.max_bad_share:g} allows; "
                f"the last one: {error}"
            ) from error


def open_rows(
    experiment: DiffusionExperiment, split: str, rows: int | None = None, most: int | None = None
) -> PackedRows:
    """So many rows of a split of an experiment's latents, or an epoch of them.

    Args:
      rows: number of rows; None: those of one epoch.
      most: maximum number of clips of each folder, which are chosen evenly; None: all.

    Raises:
      ValueError: there are no such latents, or they do not fit the experiment.
    """
    latents = open_mixture(experiment.folders, split, not experiment.model.text_embed_dim, most)
    folders = [folder for folder, _ in experiment.folders]
    text, lengths = open_text(folders, experiment.model, latents.catalog)
    return PackedRows(experiment, latents, text, lengths, rows)


def open_text(
    folders: Sequence[epath.PathLike], model: DiTConfig, index: Index
) -> tuple[TextInputs, Int[np.ndarray, "clips 3"]]:
    """The text inputs of the captions of latents, and their length for each caption.

    Embeddings are those stored beside the latents, or computed where they are not.

    Raises:
      ValueError: `sora-jax encode` left no tokenizer or no embeddings there, or they do not fit.
    """
    if not model.text_embed_dim:
        return load_tokenizer(folders[0], model), index.tokens
    note = read_text_encoder_note(folders[0], model)
    if note.stored:
        embeddings = StoredEmbeddings(folders, note.width)
    else:
        embeddings = OnlineEmbeddings(folders, note)
    lengths = embeddings.lengths(index.texts)
    if model.padded_text_length:
        return PaddedEmbeddings(embeddings), lengths + 1
    return embeddings, lengths


def _check_shapes(experiment: DiffusionExperiment, latents: Mixture) -> None:
    shapes, patch = latents.catalog.shapes, experiment.model.patch
    for clip in np.flatnonzero(shapes[:, 3] != experiment.model.latent_channels)[:1]:
        raise ValueError(
            f"config.model.latent_channels is {experiment.model.latent_channels}, the latents of "
            f"{latents.folder_of(clip)} have {shapes[clip, 3]}: set it to theirs"
        )
    for clip in np.flatnonzero((shapes[:, :3] % patch).any(1))[:1]:
        raise ValueError(
            f"latents of {'x'.join(map(str, shapes[clip, :3]))} in {latents.folder_of(clip)} do "
            f"not divide into config.model.patch {patch}: run sora-jax encode with "
            f"--multiple={max(patch[1:])}"
        )


def packed_batches(
    rows: PackedRows, size: int, share: BatchShare = processes.WHOLE, first: int = 0
) -> grain.MapDataset:
    """Batches of `size` rows over all processes.

    Row r of batch i is row first + i * size + r of the stream, whatever the number of processes.

    Args:
      share: the rows of a batch that this process loads.
      first: the row where batch 0 begins; if it is below 0, the first batches cannot be read.
    """
    local = share.rows(size)

    def read(number: int) -> PackedBatch:
        return stack_rows([rows[first + number * size + row] for row in local], len(local))

    return grain.MapDataset.range((len(rows) - first) // size).map(read)
