"""Clips to latents: records for training the transformer, and the tokenizer of their captions.

The output folder holds a TFDS folder whose payload is a latent (float16, normalised, [t, h, w, c])
and whose `meta` is the clip's with the latent's shape; `tokenizer.model`; and `encode.json`, which
names the autoencoder and the clips (paths relative to the folder), the hash of the weights, and how
much each latent channel moves pixels. `text_states` adds states of the captions.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import records
from data_pipelines.worlds import dataset
from sora_jax.files import write_whole
from sora_jax.models.tokenizer import train_tokenizer
from sora_jax.provenance import beside, relative, weights_hash

REMEDY = "make it with `sora-jax encode`"


@dataclasses.dataclass(frozen=True)
class LatentRecord:
    """One clip's latent, float16 [t, h, w, c], with its captions and frame rate."""

    latent: np.ndarray
    fps: float
    captions: dict[str, str]
    meta: dict[str, Any]

    @property
    def texts(self) -> tuple[str, str, str]:
        """What training may say of the clip: briefly, in detail, nothing."""
        return self.captions["short"], self.captions["detailed"], ""


def open_latents(folder: epath.PathLike, split: str) -> list[LatentRecord]:
    """All latents of a split, in memory. Raises ValueError as `records.RawSplit`."""
    found = []
    for data, meta in records.RawSplit(folder, split, REMEDY):
        latent = np.frombuffer(data, np.float16).reshape(meta["latent_shape"])
        found.append(LatentRecord(latent, meta["fps"], meta["captions"], meta))
    return found


def sources_of(folder: epath.PathLike) -> tuple[epath.Path, epath.Path]:
    """The workdir of the autoencoder that made the latents, and the folder of their clips.

    Raises:
      ValueError: the folder holds no finished latents.
    """
    path = epath.Path(folder) / "encode.json"
    if not path.exists():
        raise ValueError(f"no latents in {folder}; {REMEDY}")
    made = json.loads(path.read_text())
    vae, data = (beside(path.parent, made[k]) for k in ("vae", "data"))
    return vae, data


def weights_of(folder: epath.PathLike) -> str | None:
    """The hash of the autoencoder that made the latents in a folder; None where there are none."""
    path = epath.Path(folder) / "encode.json"
    return json.loads(path.read_text())["weights"] if path.exists() else None


def channel_energy(records_: Sequence[LatentRecord], coder, clips: int = 8) -> np.ndarray:
    """Mean square of the change of pixels when a channel is exchanged for noise of its scale, [c].

    Measured on the first latent frames (two, where there are) of `clips` clips of the split.
    """
    found = []
    for i in np.linspace(0, len(records_) - 1, min(clips, len(records_))).astype(int):
        latent = records_[i].latent[:2, :8, :8].astype(np.float32)
        noise = np.random.default_rng(int(i)).normal(size=latent.shape).astype(np.float32)
        channels = np.eye(coder.config.latent_channels, dtype=np.float32)[:, None, None, None]
        moved = latent + channels * (noise - latent)
        pixels = np.asarray(coder.decode(np.concatenate([latent[None], moved])))
        found.append(np.mean((pixels[1:] - pixels[:1]) ** 2, (1, 2, 3, 4)))
    return np.mean(found, 0)


def load_channel_energy(folder: epath.PathLike) -> np.ndarray:
    """What `encode` measured of the latents in a folder."""
    return np.asarray(
        json.loads((epath.Path(folder) / "encode.json").read_text())["channel_energy"]
    )


def encode(
    data: epath.PathLike,
    vae: epath.PathLike,
    output: epath.PathLike,
    coder,
    vocabulary: int,
    multiple: int,
    progress: Callable[[int, int], None],
) -> None:
    """Encodes every clip of `data` once; a finished folder of the same weights is kept.

    Args:
      vae: the autoencoder's workdir, recorded in the output.
      coder: its `generation.coder.Coder`.
      vocabulary: most pieces of the tokenizer.
      multiple: height and width of latents are padded to multiples of this, the side of the
        transformer's patch.
      progress: called with (clips done, clips in all).

    Raises:
      ValueError: the output holds latents of other weights, clips or settings.
    """
    output = epath.Path(output)
    marker = output / "encode.json"
    made = {
        "vae": relative(vae, output),
        "data": relative(data, output),
        "weights": weights_hash((coder.params, coder.statistics)),
        "vocabulary": vocabulary,
        "multiple": multiple,
    }
    if marker.exists():
        old = json.loads(marker.read_text())
        for name in ("weights", "data", "vocabulary", "multiple"):
            if old[name] != made[name]:
                raise ValueError(
                    f"{output} holds latents of other {name} than asked for: "
                    "choose another --output, or delete it"
                )
        return
    if (output / "latents").exists():  # of a call that did not finish
        (output / "latents").rmtree()
    splits = {name: dataset.open_split(data, name) for name in records.SPLITS}
    total, done = sum(map(len, splits.values())), 0
    output.mkdir(parents=True, exist_ok=True)
    captions = [text for meta in splits["train"].metas() for text in meta["captions"].values()]
    train_tokenizer(captions, output / "tokenizer.model", vocabulary)

    def rows(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal done
        for i, record in enumerate(splits[split]):
            payload, meta = encode_clip(record, coder, multiple)
            yield f"{split}-{i:09d}", {"video": payload, "meta": json.dumps(meta)}
            progress(done := done + 1, total)

    records.write(output, "latents", rows)
    energy = channel_energy(open_latents(output, "train"), coder).tolist()
    write_whole(marker, json.dumps(made | {"channel_energy": energy}))


def encode_clip(record: dataset.Record, coder, multiple: int) -> tuple[bytes, dict[str, Any]]:
    """A clip's payload and meta; its canvas is padded by `media.fit_canvas`."""
    latent = np.asarray(coder.encode_clip(record.video, multiple)[0], np.float16)
    payload = latent.tobytes()
    meta = {k: v for k, v in record.meta.items() if k != "truth"}
    return payload, meta | {"latent_shape": latent.shape, "sha256": records.sha256(payload)}
