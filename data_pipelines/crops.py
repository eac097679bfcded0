"""Clips to batches of random crops of a few static shapes, for the autoencoder's training.

Convolutions cannot pack, so step i trains on shape i modulo their number: the shape depends on
the step alone. A crop is a function of (seed, step, number in the batch), whatever the number of
processes; each source is as likely as any other, however many clips it has.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import grain
import jax.numpy as jnp
import numpy as np

from data_pipelines.clips import Split
from sora_jax import media, processes
from sora_jax.models.latents import space_to_depth
from sora_jax.processes import BatchShare
from sora_jax.training.experiments import CropConfig, VAEExperiment


class Crops(Sequence[np.ndarray]):
    """Random access to a run's batches, float32 [b, t, h, w, 3] in [-1, 1]."""

    def __init__(self, experiment: VAEExperiment, records: Split, steps: int):
        """Reads the metadata of all records.

        Args:
          experiment: its data, crops, model and seed are read.
          records: clips of a split.
          steps: number of batches.

        Raises:
          ValueError: no clip is as long as a crop.
        """
        self.experiment, self.records, self.steps = experiment, records, steps
        frames, source = records.index.sizes[:, 0], records.index.source
        # frames -> clips that are long enough, of each source, in the order of their first ones
        self.clips: dict[int, list[np.ndarray]] = {}
        for needed in dict.fromkeys(crop.frames for crop in experiment.crops):
            found = [np.flatnonzero((source == s) & (frames >= needed)) for s in np.unique(source)]
            self.clips[needed] = sorted((f for f in found if len(f)), key=lambda clips: clips[0])
            if not self.clips[needed]:
                raise ValueError(
                    f"config.crops asks for {needed} frames, the longest clip of "
                    f"{experiment.data} has {frames.max()}: lower config.crops"
                )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step) -> Any:
        return self.part(step, range(self.crop(step).batch))

    def crop(self, step: int) -> CropConfig:
        """The static shape of a step."""
        return self.experiment.crops[step % len(self.experiment.crops)]

    @property
    def digest(self) -> str:
        """A text of the sizes and sources of all clips; see `task.TrainingData`."""
        parts = [(needed, *map(bytes, clips)) for needed, clips in sorted(self.clips.items())]
        return hashlib.sha256(repr((len(self.records), parts)).encode()).hexdigest()

    def name_clips(self, step: int) -> list[str]:
        """Names of the clips that a step's crops are of."""
        numbers = range(self.crop(step).batch)
        return [self.records.meta(self._choose(step, number)[0]).name for number in numbers]

    def _choose(self, step: int, number: int) -> tuple[int, np.random.Generator]:
        """The clip of a crop, and the generator of random numbers that goes on to crop it."""
        rng = np.random.default_rng((self.experiment.loop.seed, step, number))
        sources = self.clips[self.crop(step).frames]
        clips = sources[rng.integers(len(sources))]
        return int(clips[rng.integers(len(clips))]), rng

    def part(self, step: int, numbers: Sequence[int]) -> np.ndarray:
        """Some crops of a step's batch, the same on every process."""
        crop, grid = self.crop(step), self.experiment.model.spatial_stride
        batch = []
        for number in numbers:
            clip, rng = self._choose(step, number)
            batch.append(random_crop(self.records, clip, crop, grid, rng))
        return np.stack(batch)


def random_crop(
    records: Split, clip: int, crop: CropConfig, grid: int, rng: np.random.Generator
) -> np.ndarray:
    """A random crop of a clip's canvas; what is shorter than the crop repeats its last part.

    Crops lie on the grid of latents, `grid` pixels wide, that encoding lays from a clip's corner.
    Only the frames of the crop are read.
    """
    duration, height, width = records.index.sizes[clip].tolist()
    canvas = media.canvas_shape(duration, height, width, 1, grid)
    want = (crop.frames, crop.height, crop.width)
    first, *corner = (
        step * int(rng.integers(max(have - n, 0) // step + 1))
        for n, have, step in zip(want, canvas, (1, grid, grid), strict=True)
    )
    frames = records.frames(clip, first, min(first + crop.frames, duration))
    video = np.asarray(media.fit_canvas(frames, 1, grid)[0])
    missing = [max(n - have, 0) for n, have in zip(want, video.shape, strict=False)]
    video = np.pad(video, [*((0, n) for n in missing), (0, 0)], "edge")
    rows, columns = (slice(s, s + n) for s, n in zip(corner, want[1:], strict=True))
    return np.asarray(media.to_float(video[:, rows, columns]))


def cell_moments(crops: Crops, steps: int) -> np.ndarray:
    """Second moments [n, n] of the pixels behind a latent, over the first `steps` batches."""
    model = crops.experiment.model
    total, count = 0.0, 0
    for step in range(min(steps, len(crops))):
        pixels = jnp.asarray(crops[step])
        cells = np.asarray(space_to_depth(pixels, model.temporal_stride, model.spatial_stride))
        cells = cells.reshape(-1, cells.shape[-1])
        total, count = total + cells.T @ cells, count + len(cells)
    return np.asarray(total) / count


def crop_batches(crops: Crops, share: BatchShare = processes.WHOLE) -> grain.MapDataset:
    """The batches as a Grain data set; its state is one integer.

    Args:
      share: the crops of a batch that this process loads.
    """

    def read(step: int) -> np.ndarray:
        return crops.part(step, share.rows(crops.crop(step).batch))

    return grain.MapDataset.range(len(crops)).map(read)
