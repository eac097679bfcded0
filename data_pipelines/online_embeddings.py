"""Embeddings of captions by a text encoder that is not trained, computed while a model trains.

They take no room on disk, and time of one device. See docs/transformer.md for what each costs.
"""

import collections
import functools
import threading
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath

from data_pipelines.caption_embeddings import EmbeddingLengths
from data_pipelines.clip_meta import text_key
from sora_jax import sharding
from sora_jax.models.t5_text_encoder import T5TextEncoder
from sora_jax.text_inputs import TextEncoderNote, load_noted_encoder

CACHE_BYTES = 2 << 30
"""Embeddings that stay in the memory of a process, those that were asked for last."""


class _Encoder:
    """An encoder on the first device of this process, and the embeddings that it made last.

    It needs no other device, so that its programs may run while all devices train together.
    """

    def __init__(self, data: epath.PathLike, note: TextEncoderNote):
        self._mesh = sharding.make_mesh(devices=jax.local_devices()[:1])
        with jax.set_mesh(self._mesh):
            self._encoder: T5TextEncoder = load_noted_encoder(data, note)
        self._cache: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._lock, self._bytes = threading.Lock(), 0

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Embeddings, float16 [s, d], of each caption; from any thread."""
        keys = list(map(text_key, captions))
        with self._lock:
            missing = {k: c for k, c in zip(keys, captions, strict=True) if k not in self._cache}
            if missing:
                with jax.set_mesh(self._mesh):
                    made = self._encoder.encode(list(missing.values()))
                for key, states in zip(missing, made, strict=True):
                    self._cache[key] = states.copy()  # not a view of a batch
                    self._bytes += states.nbytes
            found = [self._cache[key] for key in keys]
            for key in keys:
                self._cache.move_to_end(key)
            while self._bytes > CACHE_BYTES:
                self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return found


_load = functools.cache(_Encoder)  # all splits share one


class OnlineEmbeddings(EmbeddingLengths):
    """Embeddings of captions of latents, whose numbers are known."""

    def __init__(self, latents: Sequence[epath.PathLike], note: TextEncoderNote):
        """Loads the encoder.

        Raises:
          ValueError: it is missing or another one than noted, or the captions have no index.
        """
        super().__init__(latents)
        self._encoder = _load(latents[0], note)

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Embeddings, float16 [s, d], of each caption.

        Raises:
          ValueError: an embedding is not finite.
        """
        return self._encoder.encode(captions)
