"""Folders of latents: their records, and an index of shapes and captions for planning.

`sora-jax encode` writes such a folder: a TFDS folder whose payload is a latent (float16,
normalised, [t, h, w, c]) and whose `meta` is the clip's with the latent's shape; an index of each
shard in `index/`; `tokenizer.model`; and `encode.json`, which names the autoencoder and the clips
(paths relative to the folder), the hash of the weights, and the statistics of each channel.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data_pipelines import records
from data_pipelines.clip_meta import ClipMeta, Described, text_key
from sora_jax.files import read_arrays, write_arrays
from sora_jax.models.latents import ChannelStatistics
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.provenance import ENCODE_NOTE, read_encode_note, resolve
from sora_jax.text_inputs import TextInputs

REMEDY = "make it with `sora-jax encode`"
NAME, TOKENIZER = "latents", "tokenizer.model"


@dataclasses.dataclass(frozen=True)
class LatentRecord(Described):
    """One clip's latent, float16 [t, h, w, c], and the metadata of the clip."""

    latent: np.ndarray
    meta: ClipMeta


class Index(NamedTuple):
    """Shapes and captions of clips, in memory, without their latents.

    Attributes:
      shapes: int32 [clips, 4]: shape of each latent, (t, h, w, c).
      tokens: int32 [clips, 3]: numbers of tokens of `ClipMeta.texts`, by the folder's tokenizer.
      texts: uint64 [clips, 3]: `text_key` of `ClipMeta.texts`.
    """

    shapes: np.ndarray
    tokens: np.ndarray
    texts: np.ndarray

    @classmethod
    def of(cls, metas: Sequence[ClipMeta], tokenizer: TextInputs) -> "Index":
        """The index of clips in this order, with the lengths of captions in tokens."""
        shapes = [meta.latent_shape for meta in metas]
        texts = [meta.texts for meta in metas]
        tokens = [list(map(len, tokenizer.encode(three))) for three in texts]
        keys = [list(map(text_key, three)) for three in texts]
        return cls(
            np.array(shapes, np.int32), np.array(tokens, np.int32), np.array(keys, np.uint64)
        )

    def save(self, path: epath.Path, metas: Sequence[ClipMeta], **more: np.ndarray) -> None:
        """Writes the index, the captions of its clips and more, completely or not at all."""
        texts = sorted({text for meta in metas for text in meta.texts})
        captions = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        write_arrays(path, **self._asdict(), captions=captions, **more)

    @classmethod
    def load(cls, paths: Sequence[epath.Path]) -> "Index":
        """Loads the indices of several shards as one, in the order of the paths."""
        parts = []
        for path in paths:
            parts.append(read_arrays(path, *cls._fields))
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


def captions_of(folder: epath.PathLike) -> list[str]:
    """Returns all captions of a folder of latents and the empty string, ordered by `text_key`."""
    texts = set()
    for path in (epath.Path(folder) / "index").glob("*.npz"):
        (captions,) = read_arrays(path, "captions")
        texts.update(json.loads(captions.tobytes()))
    return sorted(texts, key=text_key)


class Latents(Sequence[LatentRecord]):
    """Random access to the latents of one split, or to some of them.

    Attributes:
      catalog: index of all of them.
      numbers: int [clips], ascending: the number of each in its split.
    """

    def __init__(self, folder: epath.PathLike, split: str, most: int | None = None):
        """Opens them; reads the index, and no latents.

        Args:
          most: maximum number of latents, which are chosen evenly; None: all.

        Raises:
          ValueError: as `records.RawSplit`; or the index is missing.
        """
        self.folder = epath.Path(folder)
        self._raw = records.RawSplit(folder, split, REMEDY)
        paths = sorted((self.folder / "index").glob(f"{split}-*.npz"))
        index = Index.load(paths) if paths else None
        if index is None or len(index.shapes) != len(self._raw):
            raise ValueError(f"{folder} lacks the index of {split}; delete it and {REMEDY} again")
        count = len(self._raw)
        chosen = count if most is None else min(most, count)
        self.numbers = np.arange(chosen) * count // max(chosen, 1)
        self.catalog = Index(*(array[self.numbers] for array in index))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        data, stored = self._raw[int(self.numbers[index])]
        meta = ClipMeta.read(stored)
        return LatentRecord(np.frombuffer(data, np.float16).reshape(meta.latent_shape), meta)


def sources_of(folder: epath.PathLike) -> tuple[epath.Path, epath.Path]:
    """Returns the workdir of the autoencoder that made the latents, and the folder of their clips.

    Raises:
      ValueError: the folder holds no finished latents, or does not say what they are of.
    """
    note = read_encode_note(folder)
    if note is None:
        raise ValueError(f"no latents in {folder}; {REMEDY}")
    if missing := [key for key in ("vae", "data") if key not in note]:
        raise ValueError(f"{ENCODE_NOTE} in {folder} lacks {' and '.join(missing)}; {REMEDY}")
    vae, data = (resolve(folder, note[k]) for k in ("vae", "data"))
    return vae, data


def read_tokenizer(folder: epath.PathLike) -> bytes:
    """Reads the tokenizer of a folder, as bytes of its file. Raises ValueError if there is none."""
    return Tokenizer(epath.Path(folder) / TOKENIZER).model.serialized_model_proto()


def codec_of(folder: epath.PathLike) -> epath.Path | None:
    """The workdir of the autoencoder that made the latents in a folder; None if it does not say."""
    note = read_encode_note(folder) or {}
    return resolve(folder, note["vae"]) if "vae" in note else None


def weights_of(folder: epath.PathLike) -> str | None:
    """The hash of the autoencoder that made the latents in a folder; None where there are none."""
    note = read_encode_note(folder)
    return note["weights"] if note else None


def load_channels(folder: epath.PathLike) -> ChannelStatistics:
    """Loads what `encode` measured of the channels of the latents in a folder.

    Raises:
      ValueError: there are no finished latents.
    """
    note = read_encode_note(folder)
    if note is None or "channel_sensitivity" not in note:
        raise ValueError(f"no latents with a measured sensitivity in {folder}; {REMEDY}")
    sensitivity = np.asarray(note["channel_sensitivity"])
    deviation = note.get("channel_deviation", np.ones_like(sensitivity))  # not in old folders
    return ChannelStatistics(np.asarray(deviation), sensitivity)


def read_deviation(folder: epath.PathLike, split: str) -> np.ndarray:
    """Computes the standard deviation of each channel over a split, float64 [c].

    Raises:
      ValueError: a shard was written by an earlier version, and has no moments of its channels.
    """
    moments = []
    for path in sorted((epath.Path(folder) / "index").glob(f"{split}-*.npz")):
        try:
            moments.append(read_arrays(path, "moments")[0])
        except KeyError as error:
            raise ValueError(
                f"{path} is of an earlier version of sora_jax: delete it, and encode again"
            ) from error
    count, total, squares = np.sum(moments, 0)
    return np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
