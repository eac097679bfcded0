"""The typed metadata of a clip, as records of clips and of latents store it."""

import base64
import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

REMEDY = "build it with `sora-jax worlds`, `sources` or `ingest`"
_STORED_KEYS = {"source": "world", "origin": "source"}  # where a field and its JSON key differ


@dataclasses.dataclass(frozen=True)
class ClipMeta:
    """Metadata of one clip. Fields stand in the order of the stored JSON; None is not stored.

    Attributes:
      captions: 'short' and 'detailed'; may be empty.
      fps: frames per second.
      size: frames, height and width in pixels.
      source: name of the world or collection that the clip counts as; the JSON key is "world".
      split: 'train', 'validation' or 'test'.
      seed: number of the clip, unique within its source.
      attributes: names and values that describe the clip, such as its colour or its file.
      origin: text that says where the clip comes from; the JSON key is "source".
      licence: licence of what the clip shows.
      sha256: hash of the record's payload.
      truth: state of the simulator as `encode_truth` returns it, {} for filmed clips.
      measures: of ingested clips, the measures of `ingest.filters` and the crop.
      file_sha256: of ingested clips, hash of the file that they were cut from.
      latent_shape: of latents, (frames, height, width, channels).
    """

    captions: dict[str, str]
    fps: float
    size: tuple[int, int, int]
    source: str
    split: str
    seed: int
    attributes: dict[str, str]
    origin: str
    licence: str
    sha256: str
    truth: dict[str, Any] | None = None
    measures: dict[str, Any] | None = None
    file_sha256: str | None = None
    latent_shape: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What the clip is called in reports: its source and its number there."""
        return f"{self.source} {self.seed}"

    @property
    def texts(self) -> tuple[str, str, str]:
        """The short caption, the detailed caption ("" where there is none) and the empty string."""
        return self.captions.get("short", ""), self.captions.get("detailed", ""), ""

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "ClipMeta":
        """Makes the metadata from a record's JSON object; keys of no field are ignored.

        Raises:
          ValueError: the object lacks a required key.
        """
        required, keys = _stored_keys()
        if missing := [key for key in required if key not in stored]:
            raise ValueError(f"the metadata of a clip lacks {', '.join(missing)}; {REMEDY}")
        values = {name: stored[key] for name, key in keys.items() if key in stored}
        for name in ("size", "latent_shape"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)

    def write(self) -> dict[str, Any]:
        """Returns the JSON object that a record stores, its keys in their order."""
        values = ((key, getattr(self, name)) for name, key in _stored_keys()[1].items())
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values
            if value is not None
        }


@functools.cache
def _stored_keys() -> tuple[list[str], dict[str, str]]:
    """Returns the JSON keys that every record has, and the JSON key of every field."""
    keys = {f.name: _STORED_KEYS.get(f.name, f.name) for f in dataclasses.fields(ClipMeta)}
    fields = dataclasses.fields(ClipMeta)
    return [keys[f.name] for f in fields if f.default is dataclasses.MISSING], keys


class Described:
    """Base of records with a `ClipMeta`: shortcuts to what is asked for most often."""

    meta: ClipMeta

    @property
    def fps(self) -> float:
        """Frames of video per second."""
        return self.meta.fps

    @property
    def captions(self) -> dict[str, str]:
        """The 'short' and the 'detailed' caption, where there are any."""
        return self.meta.captions

    @property
    def texts(self) -> tuple[str, str, str]:
        """The short caption, the detailed caption ("" where there is none) and the empty string."""
        return self.meta.texts


def encode_truth(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Makes JSON values of a simulator's state; arrays become text with their dtype and shape."""
    return {key: _encode_value(value) for key, value in truth.items()}


def decode_truth(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a simulator's state from `ClipMeta.truth`, its arrays as they were encoded."""
    return {key: _decode_value(value) for key, value in (stored or {}).items()}


def _encode_value(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 9))
    return {
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "zlib_base64": packed.decode("ascii"),
    }


def _decode_value(value: Any) -> Any:
    if not (isinstance(value, dict) and "zlib_base64" in value):
        return value
    data = zlib.decompress(base64.b64decode(value["zlib_base64"]))
    return np.frombuffer(data, value["dtype"]).reshape(value["shape"])


def text_key(text: str) -> int:
    """Returns the 64-bit hash of a caption."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
