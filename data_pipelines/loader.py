"""Latent records to batches of packed rows, through Grain.

The stream is a function of (seed, row number) alone: epoch after epoch of `packing.plan_rows`,
each epoch with its own order and its own choice of captions. A Grain `MapDataset` of rows makes
the state one integer, valid for any number of processes.
"""

import bisect
import functools
import threading
from collections.abc import Sequence
from typing import Any

import grain
import jax
import numpy as np
from etils import epath

from data_pipelines import text_states
from data_pipelines.encode import LatentRecord
from data_pipelines.packing import fill, plan_rows
from sora_jax.config import DiffusionExperiment
from sora_jax.generation.captions import Captions, States, Tokens, read_note
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.patches import make_segment, pack_row
from sora_jax.types import PackedBatch


class PackedRows(Sequence[PackedBatch]):
    """Random access to the endless stream of rows of one split of latents."""

    def __init__(
        self,
        experiment: DiffusionExperiment,
        latents: Sequence[LatentRecord],
        captions: Captions,
        rows: int,
    ):
        self.experiment, self.latents, self.rows = experiment, latents, rows
        patch = experiment.model.patch
        channels = {r.latent.shape[-1] for r in latents}
        if channels != {experiment.model.latent_channels}:
            raise ValueError(
                f"config.model.latent_channels is {experiment.model.latent_channels}, the latents "
                f"of {experiment.data} have {channels}: set it to theirs"
            )
        odd = [
            r for r in latents if any(n % p for n, p in zip(r.latent.shape, patch, strict=False))
        ]
        if odd:
            raise ValueError(
                f"latents of {'x'.join(map(str, odd[0].latent.shape[:3]))} in {experiment.data} do "
                f"not divide into config.model.patch {patch}: run sora-jax encode with "
                f"--multiple={max(patch[1:])}"
            )
        known = sorted({text for r in latents for text in r.texts})
        found = dict(zip(known, captions.encode(known), strict=True))
        self.texts = [[found[text] for text in r.texts] for r in latents]
        most = experiment.packing.text_tokens
        for record, texts in zip(latents, self.texts, strict=True):
            for caption, text in zip(record.texts, texts, strict=True):
                if len(text) > most:
                    raise ValueError(
                        f"the caption {caption[:60]!r} has {len(text)} tokens, a row holds {most}: "
                        "raise config.packing.text_tokens"
                    )
        cells = int(np.prod(experiment.model.patch))
        self.tokens = np.array([np.prod(r.latent.shape[:3]) // cells for r in latents])
        self.starts: list[int] = [0]  # first row of each epoch planned so far
        self._planning = threading.Lock()  # Grain reads from several threads

    def __len__(self) -> int:
        return self.rows

    @functools.lru_cache(4)  # noqa: B019  (lives as long as the run)
    def epoch(self, number: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """The rows of an epoch, the caption chosen for each clip, and the lengths."""
        e = self.experiment
        rng = np.random.default_rng((e.loop.seed, number))
        shares = (1 - e.detailed_captions - e.no_captions, e.detailed_captions, e.no_captions)
        captions = rng.choice(3, len(self.tokens), p=shares)
        texts = np.array([len(t[c]) for t, c in zip(self.texts, captions, strict=True)])
        lengths = np.stack([self.tokens, texts], 1)
        rows = plan_rows(lengths, e.packing.capacity, e.packing.window, rng)
        return rows, captions, lengths

    def fill(self, number: int = 0) -> float:
        """Share of an epoch's video tokens that belong to clips."""
        rows, _, lengths = self.epoch(number)
        return fill(rows, lengths, self.experiment.packing.tokens)

    def __getitem__(self, row) -> Any:
        with self._planning:
            while self.starts[-1] <= row:
                self.starts.append(self.starts[-1] + len(self.epoch(len(self.starts) - 1)[0]))
            number = bisect.bisect_right(self.starts, row) - 1
        rows, captions, _ = self.epoch(number)
        e = self.experiment
        segments = [
            make_segment(
                self.latents[clip].latent,
                self.latents[clip].fps,
                self.texts[clip][captions[clip]],
                e.model.patch,
                e.weight_power,
            )
            for clip in rows[row - self.starts[number]]
        ]
        return pack_row(segments, e.packing.capacity, e.model.patch_width)


def packed_batches(rows: PackedRows, batch: int) -> grain.MapDataset:
    """Batches of `batch` rows over all processes; each process holds its share.

    Row r of global batch i is row i * batch + r of the stream whatever the number of processes,
    as long as the devices of a process lie together on the mesh's batch axes.
    """
    count, index = jax.process_count(), jax.process_index()
    return grain.MapDataset.source(rows).batch(batch // count, drop_remainder=True)[index::count]


def stored_captions(data: epath.PathLike, model: DiTConfig) -> Captions:
    """What turns the captions of latents into a model's text; states are those stored beside them.

    Raises:
      ValueError: `sora-jax encode` left no tokenizer or no states there, or they do not fit.
    """
    if not model.text_states:
        return Tokens(data, model)
    return States(text_states.open_states(data, read_note(data, model).width), model)
