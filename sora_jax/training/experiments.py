"""Experiments: all settings of a training run, one frozen dataclass for each kind of run.

`EXPERIMENTS` names the kinds; `parse` makes the dataclass of what an experiment file or a run's
config.json says.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from sora_jax.config import build, check_choice, check_minimum
from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.diffusion.predictions import PREDICTIONS
from sora_jax.models.denoiser import Denoiser
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.vae_config import AnyVAEConfig, VAEConfig
from sora_jax.rows import PackingConfig
from sora_jax.sharding import MeshConfig
from sora_jax.training.known_patches import KnownPatchesConfig
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.vae_loss import VAELossConfig

MAX_CROPS = 4
LOGS = ("tensorboard", "wandb")
"""What metrics may go to; see `log_writers`."""
PRODUCTS = ("auto", "float32", "bfloat16")
"""Factors of matrix products; see `kernels.products`."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Checkpoints, logging and reading of a run.

    Attributes:
      seed: seed of weights, noise and the order of data.
      save_every: steps between checkpoints; the last step is always saved.
      save_minutes: minutes after which a checkpoint is saved between these; 0: never.
      keep: number of checkpoints that are kept, the latest ones.
      keep_every: checkpoints of steps that are multiples of it are kept too; 0: none.
      keep_best: a metric of evaluations; the checkpoint where it was best is kept too: the smallest
        of one whose name has "loss" in it, else the greatest. "": none.
      log_every: steps between lines of metrics.jsonl.
      log_to: what metrics and speeds go to beside the run folder's files: "tensorboard", "wandb" or
        both.
      threads: reader threads per host.
      prefetch: batches read ahead per host.
      max_skipped: bad steps in a row after which the run stops. A bad step changes no weight: its
        loss or gradient is not finite, or a spike.
      spike_factor: a gradient whose norm is so many times the running mean of norms is a spike; 0:
        none is.
      profile_steps: steps, after the first ten of a process, that JAX's profiler records in the
        folder `profile` of the run; 0: none.
      products: factors of products in linear layers and attention on one CPU: "float32",
        "bfloat16" (weights and sums stay float32), or "auto", which is measured to be the faster
        one where a run begins. Elsewhere JAX's own setting decides.
      stuck_minutes: time without a step (the first one compiles) after which a process prints where
        it stands, and ends; 0: never. A save and an evaluation may take `watchdog.PATIENCE` times
        as long.
    """

    seed: int = 0
    save_every: int = 200
    save_minutes: float = 15.0
    keep: int = 2
    keep_every: int = 0
    keep_best: str = ""
    log_every: int = 20
    log_to: tuple[str, ...] = ()
    threads: int = 1
    prefetch: int = 4
    max_skipped: int = 20
    spike_factor: float = 20.0
    profile_steps: int = 0
    products: str = "auto"
    stuck_minutes: float = 60.0

    def __post_init__(self):
        check_choice(self, products=PRODUCTS)
        least = dict.fromkeys(("save_every", "keep", "log_every", "threads", "prefetch"), 1)
        from_zero = ("seed", "save_minutes", "keep_every", "profile_steps", "stuck_minutes")
        check_minimum(self, max_skipped=1, **dict.fromkeys(from_zero, 0), **least)
        if unknown := [name for name in self.log_to if name not in LOGS]:
            raise ValueError(f"log_to has {unknown[0]!r}: choose of {', '.join(LOGS)}")
        if self.spike_factor and not self.spike_factor > 1:
            raise ValueError(
                f"spike_factor is {self.spike_factor}: give it more than 1, or 0 for no limit"
            )


@dataclasses.dataclass(frozen=True)
class CropConfig:
    """One static shape of the autoencoder's training crops.

    Attributes:
      batch: crops of a training step, over all devices.
      frames: frames of a crop, 1 + k times the autoencoder's temporal stride.
      height: pixels, a multiple of the autoencoder's spatial stride.
      width: pixels, a multiple of the autoencoder's spatial stride.
    """

    batch: int = 8
    frames: int = 9
    height: int = 48
    width: int = 48

    def __post_init__(self):
        check_minimum(self, batch=1, frames=1, height=1, width=1)


@dataclasses.dataclass(frozen=True)
class VAEExperiment:
    """Training of the autoencoder on folders of clips.

    Attributes:
      data: folder of clips, as `sora-jax worlds`, `sources` or `ingest` writes it.
      model: sizes of the autoencoder.
      crops: shapes of the training crops; step i trains on shape i modulo their number. At most
        four, as each is a compilation.
      loss: weights of the terms of the loss.
      init_from: workdir of another run, or folder of a released model, whose averaged weights
        training starts from; "": random weights.
      init_new: beginnings of the names of weights that start anew in spite of `init_from`, as in
        ("decoder/blocks",); without them all must be there, in the model's shapes.
      frozen_encoder: trains the decoder alone, so that latents, and transformers that were trained
        on them, stay what they are; needs `init_from`.
      validation_clips: clips of each source in the validation split that are reconstructed at each
        checkpoint.
      optimizer: the optimizer and its schedule.
      mesh: sizes of the device mesh.
      loop: checkpoints, logging and reading.
    """

    kind: ClassVar[str] = "vae"
    subject: ClassVar[str] = "an autoencoder"

    data: str
    model: AnyVAEConfig = VAEConfig()
    crops: tuple[CropConfig, ...] = (CropConfig(),)
    loss: VAELossConfig = VAELossConfig()
    init_from: str = ""
    init_new: tuple[str, ...] = ()
    frozen_encoder: bool = False
    validation_clips: int = 2
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    loop: LoopConfig = LoopConfig()

    def __post_init__(self):
        check_minimum(self, validation_clips=0)
        _check_init(self)
        m = self.model
        if self.frozen_encoder and not self.init_from:
            raise ValueError("frozen_encoder keeps random weights: set init_from to a trained run")
        if self.optimizer.name != "adamw":
            raise ValueError(
                f"optimizer.name is {self.optimizer.name!r}: give an autoencoder 'adamw', the "
                "others are for transformers"
            )
        if self.optimizer.micro_batches != 1:
            raise ValueError(
                f"optimizer.micro_batches is {self.optimizer.micro_batches}: give an autoencoder "
                "1, and smaller crops.batch if memory is short"
            )
        if not 1 <= len(self.crops) <= MAX_CROPS:
            raise ValueError(
                f"crops has {len(self.crops)} shapes: give one to {MAX_CROPS}, as each is a "
                "compilation"
            )
        time, space = m.temporal_stride, m.spatial_stride
        for c in self.crops:
            if (c.frames - 1) % time or c.height % space or c.width % space:
                raise ValueError(
                    f"crops has {c.frames}x{c.height}x{c.width}: frames must be 1 + {time}k and "
                    f"sides multiples of {space}"
                )


@dataclasses.dataclass(frozen=True)
class WorldEvalConfig:
    """Scores of simulated worlds during training, of prompts of held-out clips.

    Attributes:
      every: steps between scores, a multiple of loop.save_every; 0: no scores.
      clips: prompts of each world, the same ones every time.
      steps: steps of the sampler.
      guidance: scale of guidance; 1 means none.
    """

    every: int = 0
    clips: int = 2
    steps: int = 16
    guidance: float = 2.0

    def __post_init__(self):
        check_minimum(self, every=0, clips=1, steps=1)


@dataclasses.dataclass(frozen=True)
class HeldOutConfig:
    """The loss of held-out clips at fixed noise during training; see `evals.validation_loss`.

    Attributes:
      every: steps between measurements, a multiple of loop.save_every; 0: none.
      clips: maximum number of clips of the validation split of `data`, evenly chosen, the same ones
        every time.
    """

    every: int = 0
    clips: int = 256

    def __post_init__(self):
        check_minimum(self, every=0, clips=1)


@dataclasses.dataclass(frozen=True)
class DiffusionExperiment:
    """Training of the diffusion transformer on folders of latents.

    Attributes:
      data: folder of latents, as `sora-jax encode` writes it; it names its autoencoder and holds
        the tokenizer.
      model: sizes of the transformer.
      prediction: what the model predicts, a name in `diffusion.predictions`.
      velocity_loss: whether the loss is the error of the velocity; otherwise it is the error of
        the prediction itself. For `edm` that is EDM's weight, 1 / c_out^2; the velocity's is 1 / n
        times as large, 1 to 2.
      noise_levels: distribution and shift of the noise levels.
      known: shares of clips of which some patches are given, not predicted.
      packing: rows of a batch.
      detailed_caption_prob: probability that a clip is seen with its detailed caption.
      caption_dropout: probability that a clip is seen without a caption, for guidance.
      segment_weight_exponent: a segment of n tokens weighs n to this power in the loss.
      channel_weight_exponent: latents are scaled so that a channel that moves pixels by a mean
        square of m has a variance of m to this power, relative to the mean of all channels. Then
        noise hides fine detail first and colours last, and the loss weighs them so. 0: no scaling.
      optimizer: the optimizer and its schedule.
      mesh: sizes of the device mesh.
      loop: checkpoints, logging and reading.
      evals: scores of simulated worlds that are written to the metrics.
      held_out: loss of held-out clips that is written to the metrics.
      more_data: further folders of latents, each with its share of clips relative to that of
        `data`, 1. Whole folders are repeated in an epoch to reach it.
      init_from: workdir of another run, or folder of a released model, whose averaged weights
        training starts from, at step 0; "": random weights.
      init_new: beginnings of the names of weights that start anew in spite of `init_from`, as in
        ("text_encoder", "patch_"); without them all must be there, in the model's shapes.
    """

    kind: ClassVar[str] = "diffusion"
    subject: ClassVar[str] = "a diffusion transformer"

    data: str
    model: DiTConfig = DiTConfig()
    prediction: str = "velocity"
    velocity_loss: bool = True
    noise_levels: NoiseLevels = NoiseLevels()
    known: KnownPatchesConfig = KnownPatchesConfig()
    packing: PackingConfig = PackingConfig()
    detailed_caption_prob: float = 0.5
    caption_dropout: float = 0.1
    segment_weight_exponent: float = 1.0
    channel_weight_exponent: float = 0.0
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    loop: LoopConfig = LoopConfig()
    evals: WorldEvalConfig = WorldEvalConfig()
    held_out: HeldOutConfig = HeldOutConfig()
    more_data: tuple[tuple[str, float], ...] = ()
    init_from: str = ""
    init_new: tuple[str, ...] = ()

    def __post_init__(self):
        check_minimum(self, detailed_caption_prob=0, caption_dropout=0)
        check_choice(self, prediction=tuple(PREDICTIONS))
        if self.detailed_caption_prob + self.caption_dropout > 1:
            raise ValueError(
                f"detailed_caption_prob {self.detailed_caption_prob} and caption_dropout "
                f"{self.caption_dropout} are probabilities: their sum must be at most 1"
            )
        for name, every in (("evals", self.evals.every), ("held_out", self.held_out.every)):
            if every % self.loop.save_every:
                raise ValueError(
                    f"{name}.every is {every}: give a multiple of loop.save_every, "
                    f"{self.loop.save_every}"
                )
        _check_init(self)
        for folder, share in self.more_data:
            if not 0 < share < float("inf"):
                raise ValueError(f"more_data has {folder!r} with {share}: give it more than 0")
        for name, size, axes, parts in self._divided():
            if size % parts:
                raise ValueError(f"{name} {size} must be divisible by {axes}, {parts}: change one")

    def _divided(self):
        """Name, size, what cuts it (mostly mesh axes) and number of parts."""
        m, mesh = self.model, self.mesh
        width = "mesh.fsdp x mesh.context", mesh.fsdp * mesh.context
        heads = "mesh.tensor", mesh.tensor
        yield "model.width", m.width, *width
        yield "model.heads", m.heads, *heads
        yield "model.mlp_dim", m.mlp_dim, *heads
        if m.text_embed_dim:
            yield "model.text_embed_dim", m.text_embed_dim, *width
        else:
            yield "model.text.width", m.text.width, *width
            yield "model.text.heads", m.text.heads, *heads
        yield "packing.tokens", self.packing.tokens, "mesh.context", mesh.context
        parts = self.optimizer.micro_batches
        yield "packing.rows", self.packing.rows, "optimizer.micro_batches", parts

    @property
    def folders(self) -> tuple[tuple[str, float], ...]:
        """All folders of latents and their shares."""
        return (self.data, 1.0), *self.more_data

    @property
    def denoiser(self) -> Denoiser:
        """The model and what it predicts."""
        return Denoiser(self.model, self.prediction)


def _check_init(experiment: "Experiment") -> None:
    if experiment.init_new and not experiment.init_from:
        raise ValueError(f"init_new is {experiment.init_new}: set init_from to a trained run")


Experiment = VAEExperiment | DiffusionExperiment
EXPERIMENTS: dict[str, type[Experiment]] = {
    experiment.kind: experiment for experiment in (VAEExperiment, DiffusionExperiment)
}


E = TypeVar("E", VAEExperiment, DiffusionExperiment)


def require_kind(experiment: Experiment, kind: type[E], where: str) -> E:
    """The experiment, if it is of this kind.

    Args:
      where: what the experiment was read from, for the message.

    Raises:
      ValueError: it is of another kind.
    """
    if not isinstance(experiment, kind):
        raise ValueError(f"{where} is of {experiment.subject}: name one of {kind.subject}")
    return experiment


def parse(config: Mapping[str, Any]) -> Experiment:
    """The experiment that a config of an experiment file, or of a run's config.json, means.

    Raises:
      ValueError: a key is unknown or missing, a value has the wrong type, or values clash.
    """
    values = dict(config)
    kind = values.pop("experiment", None)
    if kind not in EXPERIMENTS:
        raise ValueError(f"config.experiment is {kind!r}: set it to one of {sorted(EXPERIMENTS)}")
    return build(EXPERIMENTS[kind], values)
