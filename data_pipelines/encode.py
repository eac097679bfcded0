"""Clips to latents: records for training the transformer, and the tokenizer of their captions.

The work is cut into shards of clips, see `shard_jobs`; `latents` says what the folder holds.
`caption_embeddings` adds embeddings of the captions.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jaxtyping import Float, Float16

from data_pipelines import records, shards
from data_pipelines.clip_meta import REMEDY, ClipMeta
from data_pipelines.clips import Split, open_split
from data_pipelines.device_jobs import run_together
from data_pipelines.encode_clips import encode_clips, latent_shapes
from data_pipelines.encode_plan import PIXELS, choose_canvases
from data_pipelines.latents import (
    NAME,
    TOKENIZER,
    Index,
    LatentRecord,
    Latents,
    read_deviation,
    read_tokenizer,
)
from data_pipelines.shard_jobs import Share, cut_into_shards
from sora_jax import apart
from sora_jax.codec.batch_encoder import BatchEncoder, Canvas
from sora_jax.codec.video_codec import VideoCodec
from sora_jax.files import write_whole
from sora_jax.models.tokenizer import Tokenizer, train_tokenizer
from sora_jax.processes import is_first
from sora_jax.provenance import ENCODE_NOTE, relative, weights_hash

_STARTED = "encode.started.json"
MAX_TOKENIZER_CLIPS = 100_000
"""Maximum number of clips whose captions the tokenizer is trained on."""
CANVASES = 4
"""Maximum number of canvases of a call."""
ARGUMENTS = ("weights", "data", "clips", "vocabulary", "tokenizer", "multiple", "shard_clips")
"""Keys of the note that must not change between calls."""


class TokenizerSource(NamedTuple):
    """Where the tokenizer comes from.

    Attributes:
      vocabulary: maximum number of pieces of a tokenizer that is trained on the captions.
      folder: latents whose tokenizer is copied instead.
    """

    vocabulary: int
    folder: epath.PathLike | None = None


def channel_sensitivity(
    latents: Sequence[LatentRecord], codec: VideoCodec, deviation: np.ndarray, clips: int = 8
) -> np.ndarray:
    """Mean squared change of pixels if a channel is replaced by noise of its deviation, float [c].

    Measured on the first two latent frames of `clips` clips that are spread over the split.
    """
    changes = []
    for i in np.linspace(0, len(latents) - 1, min(clips, len(latents))).astype(int):
        latent = latents[i].latent[:2, :8, :8].astype(np.float32)
        noise = np.random.default_rng(int(i)).normal(0, deviation, latent.shape)
        channels = np.eye(codec.config.latent_channels, dtype=np.float32)[:, None, None, None]
        moved = latent + channels * (noise - latent)
        moved = np.concatenate([latent[None], moved]).astype(np.float32)
        pixels = np.asarray(codec.decode(moved))
        changes.append(np.mean((pixels[1:] - pixels[:1]) ** 2, (1, 2, 3, 4)))
    return np.mean(changes, 0)


def encode(
    data: epath.PathLike,
    vae: epath.PathLike,
    output: epath.PathLike,
    codec: VideoCodec,
    tokenizer: TokenizerSource,
    multiple: int,
    progress: Callable[[int, int], None],
    share: Share = Share(),
    shard_clips: int = 1024,
    canvases: int = CANVASES,
    pixels: int = PIXELS,
) -> int:
    """Encodes this worker's share of the clips of `data`; shards that are done are kept.

    Several processes share that, each with its own devices, and process 0 finishes the folder.

    Args:
      data: folder of clips.
      vae: the autoencoder's workdir, recorded in the output.
      output: folder of latents to write.
      codec: the codec of `vae`.
      tokenizer: where the tokenizer comes from.
      multiple: height and width of latents are padded to multiples of this, the side of the
        transformer's patch.
      progress: called with (clips done, clips of this share).
      share: number of this worker, and of all.
      shard_clips: number of clips in a shard, the same for all workers.
      canvases: maximum number of shapes that clips are padded to on the devices, two compilations
        each; the latents depend on it to rounding.
      pixels: maximum number of pixels, over all frames, that one device encodes at once.

    Returns:
      The number of shards that other workers still have to make; 0: the folder is finished.

    Raises:
      ValueError: the output holds latents of other weights, clips or settings; a clip is damaged or
        too small; or a latent is not finite in float16.
    """
    output = epath.Path(output)
    note = {
        "vae": relative(vae, output),
        "data": relative(data, output),
        "clips": records.fingerprint(epath.Path(data), REMEDY),
        "weights": weights_hash((codec.params, codec.statistics)),
        "vocabulary": None if tokenizer.folder else tokenizer.vocabulary,
        "tokenizer": relative(tokenizer.folder, output) if tokenizer.folder else None,
        "multiple": multiple,
        "shard_clips": shard_clips,
    }
    if apart.on_first(functools.partial(_start, output, data, note, tokenizer)):
        return 0
    splits = {name: open_split(data, name) for name in records.splits(epath.Path(data), REMEDY)}
    shapes = {name: latent_shapes(split, codec, multiple) for name, split in splits.items()}
    chosen = choose_canvases(
        np.concatenate(list(shapes.values())),
        (codec.config.temporal_stride, codec.config.spatial_stride),
        jax.sharding.get_mesh().size,
        canvases,
        shard_clips,
        pixels,
    )
    if is_first():
        print(describe(chosen, codec.config.spatial_stride))
    trained = Tokenizer(output / TOKENIZER)
    encoder = BatchEncoder(codec)
    parts = {name: cut_into_shards(len(split), shard_clips) for name, split in splits.items()}
    jobs = [
        _Job(
            *(output, splits[name], vae, encoder, trained, multiple, chosen),
            *((name, shard, len(cuts)), clips, shapes[name][clips.start : clips.stop]),
        )
        for name, cuts in parts.items()
        for shard, clips in enumerate(cuts)
    ]

    def finish() -> None:
        shards.finish(output, NAME, {name: list(map(len, r)) for name, r in parts.items()})
        deviation = read_deviation(output, "train")
        sensitivity = channel_sensitivity(Latents(output, "train"), codec, deviation)
        measured = {"deviation": deviation, "sensitivity": sensitivity}
        measured = {f"channel_{name}": value.tolist() for name, value in measured.items()}
        write_whole(output / ENCODE_NOTE, json.dumps(note | measured))
        (output / _STARTED).unlink(missing_ok=True)

    return run_together(jobs, share, progress, finish)


def _start(
    output: epath.Path, data: epath.PathLike, note: Mapping[str, Any], tokenizer: TokenizerSource
) -> bool:
    """Writes what comes before the shards, unless the folder is finished; returns whether it is."""
    for path in (output / ENCODE_NOTE, output / _STARTED):
        if path.exists():
            _compare(output, json.loads(path.read_text()), note)
    if (output / ENCODE_NOTE).exists():
        return True
    if "train" not in records.splits(epath.Path(data), REMEDY):
        raise ValueError(f"{data} has no clips to train on: {REMEDY} with more clips")
    write_whole(output / _STARTED, json.dumps(note))
    if not (output / TOKENIZER).exists():
        _make_tokenizer(output / TOKENIZER, open_split(data, "train"), tokenizer)
    return False


@dataclasses.dataclass(frozen=True)
class _Job:
    """The latents of some clips of a split; `shard` is (split, number, number of shards)."""

    output: epath.Path
    split: Split
    vae: epath.PathLike
    encoder: BatchEncoder
    tokenizer: Tokenizer
    multiple: int
    canvases: Sequence[Canvas]
    shard: tuple[str, int, int]
    clips: range
    shapes: np.ndarray

    @property
    def size(self) -> int:
        return len(self.clips)

    def is_done(self) -> bool:
        """The index is written last."""
        return shards.index_path(self.output, *self.shard).exists()

    def run(self, progress: Callable[[int], None]) -> None:
        metas: list[ClipMeta] = []
        moments = np.zeros((3, self.encoder.codec.config.latent_channels))

        def rows() -> Iterator[dict[str, str | bytes]]:
            encoded = encode_clips(
                *(self.split, self.clips, self.shapes, self.canvases, self.encoder, self.multiple)
            )
            for i, (clip, latent) in zip(self.clips, encoded, strict=True):
                try:
                    half = to_half(latent)
                except ValueError as error:
                    name = f"clip {i} of {self.shard[0]}, from {clip.source}"
                    raise ValueError(f"{self.vae} cannot encode {name}: {error}") from error
                payload, flat = half.tobytes(), half.reshape(-1, half.shape[-1]).astype(np.float64)
                moments[:] += np.ones(flat.shape[1]) * len(flat), flat.sum(0), (flat**2).sum(0)
                stored = {"sha256": records.sha256(payload), "latent_shape": half.shape}
                meta = dataclasses.replace(clip, truth=None, **stored)
                metas.append(meta)
                yield {"video": payload, "meta": json.dumps(meta.write())}
                progress(len(metas))

        shards.write(shards.path_of(self.output, NAME, *self.shard), rows())
        path = shards.index_path(self.output, *self.shard)
        Index.of(metas, self.tokenizer).save(path, metas, moments=moments)


def _compare(output: epath.Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for name in ARGUMENTS:
        if old.get(name) != new[name]:
            raise ValueError(
                f"{output} holds latents of other {name} than asked for: "
                "choose another --output, or delete it"
            )


def _make_tokenizer(path: epath.Path, clips: Split, source: TokenizerSource) -> None:
    """Copies or trains the tokenizer; every worker gets the same."""
    if source.folder is not None:
        model = read_tokenizer(source.folder)
    else:
        chosen = np.linspace(0, len(clips) - 1, min(MAX_TOKENIZER_CLIPS, len(clips))).astype(int)
        captions = [text for i in chosen for text in clips.meta(i).texts]
        model = train_tokenizer(captions if any(captions) else ["video"], source.vocabulary)
    write_whole(path, model)


def to_half(latent: Float[np.ndarray, "u y x c"]) -> Float16[np.ndarray, "u y x c"]:
    """Rounds a latent to float16. Raises ValueError if it is not finite, then or before."""
    with np.errstate(over="ignore"):
        half = latent.astype(np.float16)
    if not np.isfinite(half).all():
        cause = "too large for float16" if np.isfinite(latent).all() else "not finite"
        raise ValueError(f"its latent is {cause}, the weights are damaged: make them anew")
    return half


def describe(canvases: Sequence[Canvas], side: int) -> str:
    """Says what the clips are encoded in; `side` is that of a latent, in pixels."""
    shapes = [f"{c.clips} of {c.height * side}x{c.width * side}" for c in canvases]
    return f"clips a batch: {', '.join(shapes)} pixels; two compilations each"
