"""Latent records to batches of packed rows, through Grain.

The stream is a function of (seed, row number) alone: epochs of equally many rows, each with its
own order and its own choice of captions (see `packing`). A Grain `MapDataset` of rows makes the
state one integer, valid for any number of processes. Latents and states of captions are read when
their row is; only lengths are in memory.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import grain
import jax
import numpy as np
from etils import epath

from data_pipelines import packing
from data_pipelines.caption_embeddings import StoredEmbeddings
from data_pipelines.latents import Index
from data_pipelines.mixture import Mixture, open_mixture
from sora_jax.config import DiffusionExperiment
from sora_jax.models.dit_config import DiTConfig
from sora_jax.patches import make_segment, pack_row
from sora_jax.text_inputs import States, Tokens, read_note
from sora_jax.types import PackedBatch

TEXT_STEP = 4
"""Lengths of text are rounded up to this while planning, so that more clips may be exchanged."""


class StoredText(Protocol):
    """The captions of latents as a model reads them."""

    def lengths(self, index: Index) -> np.ndarray:
        """Int [clips, 3]: of `LatentRecord.texts`."""
        ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids [s] or states [s, d] of each."""
        ...


class Epoch(NamedTuple):
    """An epoch's clips, in the order of its rows.

    Attributes:
      starts: int [rows + 1]: row i has the clips from starts[i] to starts[i + 1].
      clips: int [places].
      captions: int [places], which of its three texts each comes with.
    """

    starts: np.ndarray
    clips: np.ndarray
    captions: np.ndarray

    @property
    def rows(self) -> list[np.ndarray]:
        """The clips of each row."""
        return np.split(self.clips, self.starts[1:-1])


class PackedRows(Sequence[PackedBatch]):
    """Random access to the first `rows` of the endless stream; None: to those of one epoch."""

    def __init__(
        self, experiment: DiffusionExperiment, latents: Mixture, text: StoredText, rows: int | None
    ):
        self.experiment, self.latents, self.text = experiment, latents, text
        _check_shapes(experiment, latents)
        lengths = text.lengths(latents.catalog)
        _check_captions(experiment, latents, lengths)
        capacity = experiment.packing.capacity
        tokens = latents.catalog.shapes[:, :3].prod(1) // np.prod(experiment.model.patch)
        _check_tokens(experiment, latents, tokens)
        longest = np.minimum(-(-lengths.max(1) // TEXT_STEP) * TEXT_STEP, capacity[1])
        self._kinds = packing.length_buckets(latents.source, tokens, longest)
        copies = np.repeat(np.arange(len(tokens)), latents.passes)
        needed = np.stack([tokens, longest], 1)[copies]
        rows_of = packing.plan_rows(needed, capacity, experiment.packing.window)
        model = experiment.model
        alike = 3 * model.width + model.mlp_dim  # see `scaling.flops`
        self.costs = packing.row_costs(rows_of, needed[:, 0], capacity[0], alike)
        self._row_of_place, self._kind_of_place = rows_of, self._kinds[copies]
        self._counts = np.bincount(rows_of)
        self.fill = packing.fill(rows_of, needed[:, 0], capacity[0])
        self._rows = len(self._counts) if rows is None else rows
        self._epochs: dict[int, Epoch] = {}
        self._planning = threading.Lock()  # Grain reads from several threads

    def __len__(self) -> int:
        return self._rows

    def epoch(self, number: int) -> Epoch:
        """What the rows of an epoch hold; the last two asked for are kept."""
        with self._planning:
            if number not in self._epochs:
                found = self._deal(number)
                self._epochs = {k: v for k, v in self._epochs.items() if abs(k - number) < 2}
                self._epochs[number] = found
            return self._epochs[number]

    def _deal(self, number: int) -> Epoch:
        e, count = self.experiment, len(self._counts)
        rng = np.random.default_rng((e.loop.seed, number))
        order = packing.order_rows(
            self.costs, e.packing.rows, e.packing.rows_per_device, number * count, rng
        )
        rank = np.empty_like(order)
        rank[order] = np.arange(count)
        places = np.argsort(rank[self._row_of_place], kind="stable")
        places = self._kind_of_place[places]
        clips = packing.assign_clips(self._kinds, self.latents.passes, places, rng)
        short = max(0.0, 1 - e.detailed_caption_prob - e.caption_dropout)
        shares = np.array([short, e.detailed_caption_prob, e.caption_dropout])
        captions = rng.choice(3, len(clips), p=shares / shares.sum()).astype(np.int8)
        return Epoch(np.append(0, self._counts[order].cumsum()), clips, captions)

    def __getitem__(self, row) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number, row = divmod(int(row), len(self._counts))
        epoch = self.epoch(number)
        here = slice(epoch.starts[row], epoch.starts[row + 1])
        e, segments = self.experiment, []
        for clip, caption in zip(epoch.clips[here], epoch.captions[here], strict=True):
            record = self.latents[clip]
            (text,) = self.text.encode([record.texts[caption]])
            segments.append(
                make_segment(
                    record.latent, record.fps, text, e.model.patch, e.segment_weight_exponent
                )
            )
        return pack_row(segments, e.packing.capacity, e.model.patch_width)


def open_rows(experiment: DiffusionExperiment, split: str, rows: int | None = None) -> PackedRows:
    """So many rows, or an epoch, of a split of the experiment's latents.

    Raises:
      ValueError: there are no such latents, or they do not fit the experiment.
    """
    latents = open_mixture(experiment.folders, split, not experiment.model.text_embed_dim)
    text = stored_captions([folder for folder, _ in experiment.folders], experiment.model)
    return PackedRows(experiment, latents, text, rows)


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


def _check_tokens(experiment: DiffusionExperiment, latents: Mixture, tokens: np.ndarray) -> None:
    most = experiment.packing.tokens
    for clip in np.flatnonzero(tokens > most)[:1]:
        shape = "x".join(map(str, latents.catalog.shapes[clip, :3]))
        raise ValueError(
            f"latents of {shape} in {latents.folder_of(clip)} are {tokens[clip]} tokens, a row "
            f"holds {most}: raise config.packing.tokens, or make shorter or smaller clips"
        )


def _check_captions(experiment: DiffusionExperiment, latents: Mixture, lengths: np.ndarray) -> None:
    most = experiment.packing.text_tokens
    for clip, which in np.argwhere(lengths > most)[:1]:
        raise ValueError(
            f"the caption {latents[clip].texts[which][:60]!r} has {lengths[clip, which]} tokens, a "
            f"row holds {most}: raise config.packing.text_tokens"
        )


def packed_batches(rows: PackedRows, batch: int) -> grain.MapDataset:
    """Batches of `batch` rows over all processes; each process holds its share.

    Row r of global batch i is row i * batch + r of the stream whatever the number of processes,
    as long as the devices of a process lie together on the mesh's batch axes.
    """
    count, index = jax.process_count(), jax.process_index()
    return grain.MapDataset.source(rows).batch(batch // count, drop_remainder=True)[index::count]


class _StoredTokens(Tokens):
    def lengths(self, index: Index) -> np.ndarray:
        return index.tokens


class _StoredStates(States):
    def __init__(self, stored: StoredEmbeddings, model: DiTConfig):
        super().__init__(stored, model)
        self._stored = stored

    def lengths(self, index: Index) -> np.ndarray:
        return self._stored.lengths(index.texts) + self._filled


def stored_captions(folders: Sequence[epath.PathLike], model: DiTConfig) -> StoredText:
    """What turns the captions of latents into a model's text; states are those stored beside them.

    Raises:
      ValueError: `sora-jax encode` left no tokenizer or no states there, or they do not fit.
    """
    if not model.text_embed_dim:
        return _StoredTokens(folders[0], model)
    return _StoredStates(StoredEmbeddings(folders, read_note(folders[0], model).width), model)
