"""The one place where an experiment's ConfigDict becomes frozen dataclasses.

An experiment file has `get_config()`; its keys are the fields below. After `parse` nobody sees
a ConfigDict again, and a default lives in the dataclass or in the experiment, never in both.
"""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.diffusion.process import PREDICTIONS
from sora_jax.models.dit import REMAT, DiTConfig
from sora_jax.models.vae import VAEConfig
from sora_jax.sharding import MeshConfig
from sora_jax.training.optimizer import OPTIMIZERS, OptimizerConfig
from sora_jax.training.vae_loss import FEATURES, VAELossConfig


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """What every run has.

    Attributes:
      save_every: steps between checkpoints; the last step is always saved.
      log_every: steps between lines of metrics.jsonl.
      threads, prefetch: that read batches ahead on each host, and how many batches.
    """

    seed: int = 0
    save_every: int = 200
    keep: int = 2
    log_every: int = 20
    threads: int = 1
    prefetch: int = 4


@dataclasses.dataclass(frozen=True)
class CropConfig:
    """One static shape of the autoencoder's training crops."""

    batch: int = 8
    frames: int = 9
    height: int = 48
    width: int = 48


@dataclasses.dataclass(frozen=True)
class VAEExperiment:
    """Training of the autoencoder on records of clips.

    Attributes:
      data: folder that `sora-jax worlds` wrote.
      crops: step i trains on shape i modulo their number; at most four, each is a compilation.
      start: workdir whose weights, averaged, training starts from; random ones if it is empty.
      validation_clips: validation clips of each source that are reconstructed at each checkpoint.
    """

    data: str
    model: VAEConfig = VAEConfig()
    crops: tuple[CropConfig, ...] = (CropConfig(),)
    loss: VAELossConfig = VAELossConfig()
    start: str = ""
    validation_clips: int = 2
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    loop: LoopConfig = LoopConfig()


@dataclasses.dataclass(frozen=True)
class PackingConfig:
    """A batch: `rows` rows of three capacities each.

    Attributes:
      tokens, text_tokens, segments: capacities of a row.
      window: clips that are planned together, see `packing.plan_rows`.
      rows_per_device: rows of a step that lie side by side on one device, where rows of high cost are put
        with rows of low cost. With one row a device (1), a step has rows of one cost, so clips of
        like lengths. Where it does not divide a device's rows, devices have uneven work.
    """

    rows: int = 8
    tokens: int = 256
    text_tokens: int = 512
    segments: int = 24
    window: int = 2048
    rows_per_device: int = 1

    @property
    def capacity(self) -> tuple[int, int, int]:
        """Video tokens, text tokens and segments of a row."""
        return self.tokens, self.text_tokens, self.segments


@dataclasses.dataclass(frozen=True)
class DiffusionExperiment:
    """Training of the transformer on records of latents.

    Attributes:
      data: folder that `sora-jax encode` wrote; it names its autoencoder and holds the tokenizer.
      more_data: further folders, each with its share of clips relative to that of `data`, 1. What
        is rare is repeated as often as that takes, in whole passes.
      prediction: what the model returns (see `diffusion.process`).
      velocity_loss: the loss is the error of the velocity; False: of the output itself. For `edm`
        that is EDM's weight, 1 / c_out^2; the velocity's is 1 / n times as large, 1 to 2.
      detailed_caption_prob, caption_dropout: shares of clips seen with the detailed caption and with none.
      segment_weight_exponent: a segment of n tokens weighs n ** segment_weight_exponent in the loss.
      channel_weight_exponent: latents are scaled so that a channel that moves pixels by a mean square of m
        has a variance of m ** channel_weight_exponent, relative to the mean of all channels. Then noise
        hides fine detail first and colours last, and the loss weighs them so. 0: all alike.
    """

    data: str
    model: DiTConfig = DiTConfig()
    prediction: str = "velocity"
    velocity_loss: bool = True
    noise_levels: NoiseLevels = NoiseLevels()
    packing: PackingConfig = PackingConfig()
    detailed_caption_prob: float = 0.5
    caption_dropout: float = 0.1
    segment_weight_exponent: float = 1.0
    channel_weight_exponent: float = 0.0
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    loop: LoopConfig = LoopConfig()
    more_data: tuple[tuple[str, float], ...] = ()

    @property
    def folders(self) -> tuple[tuple[str, float], ...]:
        """All folders of latents and their shares."""
        return (self.data, 1.0), *self.more_data


MOST_CROPS = 4
DTYPES = ("float32", "bfloat16")
EXPERIMENTS = {"vae": VAEExperiment, "diffusion": DiffusionExperiment}


def parse(config: Mapping[str, Any]) -> VAEExperiment | DiffusionExperiment:
    """An experiment's settings, checked.

    Raises:
      ValueError: a key is unknown or missing, a value has the wrong type, or values clash.
    """
    values = dict(config)
    kind = values.pop("experiment", None)
    if kind not in EXPERIMENTS:
        raise ValueError(f"config.experiment is {kind!r}: set it to one of {sorted(EXPERIMENTS)}")
    experiment = _build(EXPERIMENTS[kind], values, "config")
    _check(experiment)
    return experiment


def _build(kind: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type `kind`: a dataclass, a tuple or a plain value."""
    if hasattr(kind, "__dataclass_fields__"):
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} is {value!r}: give it keys of {kind.__name__}")
        hints = typing.get_type_hints(kind)
        for key in value:
            if key not in hints:
                near = difflib.get_close_matches(key, hints, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(hints)}"
                raise ValueError(f"unknown config key {path}.{key}: {hint}")
        missing = [
            f.name
            for f in dataclasses.fields(kind)
            if f.default is dataclasses.MISSING and f.name not in value
        ]
        if missing:
            raise ValueError(f"{path}.{missing[0]} is missing: set it in the experiment")
        return kind(**{k: _build(hints[k], v, f"{path}.{k}") for k, v in value.items()})
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        if isinstance(value, str) or not hasattr(value, "__len__"):
            raise ValueError(f"{path} is {value!r}: give it a tuple")
        if parts[-1] is Ellipsis:
            parts = (parts[0],) * len(value)
        if len(parts) != len(value):
            raise ValueError(f"{path} has {len(value)} entries: give it {len(parts)}")
        return tuple(
            _build(p, v, f"{path}[{i}]") for i, (p, v) in enumerate(zip(parts, value, strict=True))
        )
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{path} is {value!r}: give it a value of type {kind.__name__}")
    return value


def _check(e: VAEExperiment | DiffusionExperiment) -> None:
    """Checks across fields."""
    if e.model.dtype not in DTYPES:
        raise ValueError(
            f"config.model.dtype is {e.model.dtype!r}: choose one of {', '.join(DTYPES)}"
        )
    for name, bound in (("seed", 0), ("threads", 1), ("prefetch", 1)):
        if getattr(e.loop, name) < bound:
            value = getattr(e.loop, name)
            raise ValueError(f"config.loop.{name} is {value}: give it at least {bound}")
    if isinstance(e, VAEExperiment):
        m = e.model
        if e.optimizer.name != "adamw":
            raise ValueError(
                f"config.optimizer.name is {e.optimizer.name!r}: give an autoencoder 'adamw', the "
                "others are for transformers"
            )
        if e.loss.features not in FEATURES:
            raise ValueError(
                f"config.loss.features is {e.loss.features!r}: choose one of {', '.join(FEATURES)}"
            )
        least = {
            "model.patch": (m.patch, 1),
            "model.blocks": (m.blocks, 1),
            "model.latent_channels": (m.latent_channels, 1),
            "validation_clips": (e.validation_clips, 0),
            **{f"model.channels[{i}]": (width, 1) for i, width in enumerate(m.channels)},
            **{
                f"crops {name} {i}": (value, 1)
                for i, c in enumerate(e.crops)
                for name, value in dataclasses.asdict(c).items()
            },
            **{f"loss.{n}": (getattr(e.loss, n), 0) for n in ("l1", "l2", "kl", "perceptual")},
            "loss.adversarial": (e.loss.adversarial, 0),
        }
        for name, (value, bound) in least.items():
            if not value >= bound:  # NaN, too
                raise ValueError(f"config.{name} is {value}: give it at least {bound}")
        if not 1 <= len(e.crops) <= MOST_CROPS:
            raise ValueError(
                f"config.crops has {len(e.crops)} shapes: give one to {MOST_CROPS}, as each is a "
                "compilation"
            )
        if m.neighbour_kernel and not m.principal_axes:
            raise ValueError(
                "config.model.neighbour_kernel goes with config.model.principal_axes: set both"
            )
        if len(m.strides) != len(m.channels) - 1:
            raise ValueError(
                f"config.model.strides has {len(m.strides)} entries for {len(m.channels)} "
                "config.model.channels: give one stride between each two stages"
            )
        if any(stride not in (1, 2) for pair in m.strides for stride in pair):
            raise ValueError(f"config.model.strides is {m.strides}: every stride is 1 or 2")
        for (_, space), width in zip(m.strides, m.channels[1:], strict=True):
            if space == 2 and width % 2:
                raise ValueError(
                    f"config.model.channels is {m.channels}: give stages behind a spatial stride "
                    "of 2 even widths, as decoding halves them"
                )
        for c in e.crops:
            if (
                (c.frames - 1) % m.temporal_stride
                or c.height % m.spatial_stride
                or c.width % m.spatial_stride
            ):
                raise ValueError(
                    f"config.crops has {c.frames}x{c.height}x{c.width}: frames must be 1 + "
                    f"{m.temporal_stride}k and sides multiples of {m.spatial_stride}"
                )
        return
    m, mesh = e.model, e.mesh
    least = {
        **{
            f"model.{n}": (getattr(m, n), 1)
            for n in ("depth", "heads", "mlp_dim", "latent_channels")
        },
        "model.width": (m.width, 2),
        "model.patch": (min(m.patch), 1),
        "model.time_embed_dim": (m.time_embed_dim, 2),
        "model.text.heads": (m.text.heads, 1),
        "model.text.width": (m.text.width, 2),
        **{f"model.{n}": (getattr(m, n), 0) for n in ("text_embed_dim", "padded_text_length")},
        "model.rope_stretch": (min(m.rope_stretch), 1),
        **{f"mesh.{n}": (getattr(mesh, n), 1) for n in ("fsdp", "context", "tensor")},
        **{f"packing.{n}": (v, 1) for n, v in vars(e.packing).items()},
        **{n: (getattr(e, n), 0) for n in ("detailed_caption_prob", "caption_dropout")},
    }
    for name, (value, bound) in least.items():
        if not value >= bound:
            raise ValueError(f"config.{name} is {value}: give it at least {bound}")
    for folder, share in e.more_data:
        if not 0 < share < float("inf"):
            raise ValueError(f"config.more_data has {folder!r} with {share}: give it more than 0")
    for name, value in (("time_embed_dim", m.time_embed_dim), ("text.width", m.text.width)):
        if value % 2:
            raise ValueError(f"config.model.{name} is {value}: give it an even number")
    shards = mesh.fsdp * mesh.context
    divided = {"mlp_dim": (m.mlp_dim, "tensor", mesh.tensor)}
    divided["text_embed_dim" if m.text_embed_dim else "text.width"] = (
        m.text_width,
        "fsdp x context",
        shards,
    )
    if not m.text_embed_dim:
        divided["text.heads"] = (m.text.heads, "tensor", mesh.tensor)
    for name, (value, axes, size) in divided.items():
        if value % size:
            raise ValueError(
                f"config.model.{name} {value} must divide by mesh {axes}, {size}: change one"
            )
    if m.patch != (1, m.patch[1], m.patch[1]):
        raise ValueError(f"config.model.patch is {m.patch}: give it squares of one latent frame")
    if m.width % m.heads or (m.width // m.heads) % 2:
        raise ValueError(
            f"config.model.width {m.width} must be an even multiple of heads {m.heads}"
        )
    if m.text.width % m.text.heads:
        raise ValueError(
            f"config.model.text.width {m.text.width} must be a multiple of heads {m.text.heads}"
        )
    levels = e.noise_levels
    if not (levels.shift > 0 and levels.scale >= 0 and levels.tokens >= 0):
        raise ValueError(
            f"config.noise_levels is {e.noise_levels}: give shift above 0, scale and tokens 0 or "
            "more"
        )
    if m.padded_text_length and not m.text_embed_dim:
        raise ValueError(
            f"config.model.padded_text_length is {m.padded_text_length} and text_embed_dim 0: captions are filled "
            "up only where they come as states"
        )
    if e.detailed_caption_prob + e.caption_dropout > 1:
        raise ValueError(
            f"config.detailed_caption_prob {e.detailed_caption_prob} and caption_dropout {e.caption_dropout} are "
            "shares: their sum must be at most 1"
        )
    for name, value, known in (
        ("prediction", e.prediction, PREDICTIONS),
        ("optimizer.name", e.optimizer.name, OPTIMIZERS),
        ("model.remat", m.remat, tuple(REMAT)),
    ):
        if value not in known:
            raise ValueError(f"config.{name} is {value!r}: choose one of {', '.join(known)}")
    if m.width % (mesh.fsdp * mesh.context) or m.heads % mesh.tensor:
        raise ValueError(
            f"config.model.width {m.width} must divide by mesh fsdp x context and heads "
            f"{m.heads} by tensor: {mesh}"
        )
    rows, together = e.packing.rows, e.packing.rows_per_device
    if together & (together - 1) or rows % together:
        raise ValueError(
            f"config.packing.rows_per_device is {together}: give it a power of two that divides the "
            f"{rows} rows of a step"
        )
    if e.packing.tokens % mesh.context:
        raise ValueError(
            f"config.packing.tokens {e.packing.tokens} must divide by mesh context {mesh.context}"
        )
