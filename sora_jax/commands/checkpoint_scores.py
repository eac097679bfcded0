"""What is measured and shown of a run's averaged weights at its checkpoints, on clips of the data.

A strip of frames goes to `strips/STEP.png` of the run: those of each clip above the model's.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import latents
from data_pipelines.clips import open_split
from sora_jax import apart, media
from sora_jax.codec.video_codec import VideoCodec, load_codec
from sora_jax.commands.cases import SPLITS, make_request, read_cases
from sora_jax.commands.runs import CODEC
from sora_jax.evals import reconstruction, vae_scores, world_scores
from sora_jax.evals.demo_scores import mean_by_group
from sora_jax.generation.generate import Generator
from sora_jax.generation.prompting import generate_from_prompts
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.processes import is_first
from sora_jax.progress import first_line
from sora_jax.text_inputs import load_text_inputs
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment
from sora_jax.training.run_folder import DiffusionRun
from sora_jax.types import TrainState

Scores = Callable[[TrainState], dict[str, float]]
"""Metrics of a state by name, the same in all processes, which must all call it."""


def score_reconstructions(experiment: VAEExperiment, workdir: epath.PathLike) -> Scores:
    """PSNR by source of a few validation clips at their native size, and their strip.

    Raises:
      ValueError: the data has no validation split.
    """
    if not experiment.validation_clips:
        return lambda state: {}
    try:
        split = open_split(experiment.data, "validation")
    except ValueError as error:
        raise ValueError(
            f"{error} (or give --config.validation_clips=0 to reconstruct no clips)"
        ) from error
    index = split.index
    wanted = experiment.validation_clips
    numbers = vae_scores.choose(index.sizes[:, 0], index.sources, wanted, min_frames=2)
    clips = [split[i] for i in numbers]
    if not clips:
        return lambda state: {}
    codec = VideoCodec(experiment.model, {}, {})

    def score(state: TrainState) -> dict[str, float]:
        codec.params, codec.statistics = state.ema, state.statistics
        pairs = [(clip.video, reconstruction.reconstruct(clip.video, codec)) for clip in clips]
        psnr = [
            (f"psnr_db {clip.meta.source}", reconstruction.psnr_db(reconstructed, video))
            for clip, (video, reconstructed) in zip(clips, pairs, strict=True)
        ]
        _write_strip(workdir, int(state.step), pairs)
        return mean_by_group(psnr)

    return score


def score_worlds(experiment: DiffusionExperiment, workdir: epath.PathLike) -> Scores:
    """Mean scores of videos of a few held-out prompts, and a strip of each world's first prompt.

    Raises:
      ValueError: the latents' clips are none of simulated worlds.
    """
    evals = experiment.evals
    if not evals.every:
        return lambda state: {}
    _, data = latents.sources_of(experiment.data)
    cases = read_cases(data, SPLITS[0], (), evals.clips)
    requests = [make_request(case) for case in cases]
    none = [np.zeros((0, *case.size[1:], 3), np.uint8) for case in cases]  # no given frames
    config = SamplingConfig(evals.steps, evals.guidance)
    shown = [numbers[0] for numbers in world_scores.group_worlds(cases).values()]
    parts: list[Any] = []  # codec and text inputs, loaded once there is a mesh

    def score(state: TrainState) -> dict[str, float]:
        if not parts:
            text_inputs = load_text_inputs(workdir, experiment.model)
            parts.extend([text_inputs, load_codec(epath.Path(workdir) / CODEC)])
        scale = np.asarray(state.statistics["channel_scale"])
        run = DiffusionRun(experiment, state.ema, scale, int(state.step))
        videos = generate_from_prompts(Generator(run, *parts), config)(requests, none)
        reals = [(cases[i].real, videos[i]) for i in shown]
        pairs = [(real, video) for real, video in reals if real is not None]
        _write_strip(workdir, int(state.step), pairs)
        return apart.on_first(functools.partial(world_scores.mean_scores, cases, videos))

    return score


def _write_strip(
    workdir: epath.PathLike, step: int, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Writes frames of clips and the model's; where that fails, says so: the scores are kept."""
    if not pairs or not is_first():
        return
    path = epath.Path(workdir) / "strips" / f"{step:07d}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(media.image_bytes(reconstruction.strip(pairs)))
    except OSError as error:
        print(f"no strip of step {step}: {first_line(error)}", file=sys.stderr)
