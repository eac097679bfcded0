"""The loss of held-out clips of an experiment's latents, in reports and during training."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from data_pipelines.loader import PackedRows, open_rows
from sora_jax.evals import validation_loss
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.types import Params, TrainState

SPLIT = "validation"


class HeldOutClips(NamedTuple):
    """Held-out clips, packed in the rows of one epoch."""

    rows: PackedRows

    @property
    def plan(self) -> list[np.ndarray]:
        """Numbers of each row's pieces: that of their clip in its split, for the first of a clip.

        Later pieces have numbers beyond those of all clips.
        """
        numbers, pieces = self.rows.latents.numbers, self.rows.pieces
        later = pieces.starts > 0
        named = np.where(later, np.arange(len(later)) + 2**32, numbers[pieces.clips])
        return [named[row] for row in self.rows.epoch(0).rows]

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """Frames, height and width of the clip of each piece, in the order of their numbers."""
        pieces = self.rows.pieces
        clips = [*pieces.clips[pieces.starts == 0], *pieces.clips[pieces.starts > 0]]
        return [tuple(self.rows.latents[clip].meta.size) for clip in clips]


def open_clips(experiment: DiffusionExperiment, most: int | None = None) -> HeldOutClips:
    """The validation split of `experiment.data`, each clip once, with its detailed caption.

    Args:
      most: maximum number of clips, which are chosen evenly; None: all of the split.

    Raises:
      ValueError: there are no such latents, or they do not fit the experiment.
    """
    held_out = dataclasses.replace(
        experiment,
        more_data=(),
        detailed_caption_prob=1.0,
        caption_dropout=0.0,
    )
    return HeldOutClips(open_rows(held_out, SPLIT, most=most))


def clip_errors(
    experiment: DiffusionExperiment,
    params: Params,
    channel_scale: Float[np.ndarray, "c"],
    clips: HeldOutClips,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float[np.ndarray, "clips levels"]:
    """See `validation_loss.clip_errors`, on the current mesh.

    As many rows are evaluated together as training has in a micro-batch.

    Args:
      params: weights of the transformer.
      channel_scale: what normalised latents are multiplied by.
      progress: called with (rows done, rows in all).
    """
    together = experiment.packing.rows // experiment.optimizer.micro_batches
    return validation_loss.clip_errors(
        *(experiment.denoiser, params, channel_scale), *(clips.rows, clips.plan, together), progress
    )


def evaluate_held_out(
    experiment: DiffusionExperiment,
) -> Callable[[TrainState], dict[str, float]]:
    """A function of a state: the loss of held-out clips with its averaged weights; {} if not asked.

    Raises:
      ValueError: the latents have no validation split, or it does not fit the experiment.
    """
    if not experiment.held_out.every:
        return lambda state: {}
    try:
        clips = open_clips(experiment, experiment.held_out.clips)
    except ValueError as error:
        raise ValueError(
            f"{error} (or give --config.held_out.every=0 to measure no held-out loss)"
        ) from error

    def evaluate(state: TrainState) -> dict[str, float]:
        scale = np.asarray(state.statistics["channel_scale"])
        return validation_loss.mean_by_level(clip_errors(experiment, state.ema, scale, clips))

    return evaluate
