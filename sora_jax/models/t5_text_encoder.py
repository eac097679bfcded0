"""Captions to embeddings by a frozen T5 or UMT5, one for each token of a caption.

The encoder sees one caption a row, padded to a power of two, in batches of a power of two: few
shapes, so few compilations, and the padding is cut off again.

Embeddings are float16. They leave the encoder through an RMS norm, so none exceeds its gain times
the root of the width (64 in the largest models); what overflows float16 in a T5 is the residual
stream. bfloat16 would round to 8 bits, float16 rounds to 11.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float16, Int

from sora_jax.models import t5
from sora_jax.models.t5 import T5Config
from sora_jax.models.t5_tokenizer import T5Tokenizer
from sora_jax.provenance import weights_hash
from sora_jax.sharding import BATCH, axis_size, platform
from sora_jax.types import Params

MIN_CAPTION_TOKENS = 16
"""Length that shorter captions are padded to."""
MAX_TOKENS_PER_DEVICE = 4096
"""Maximum number of tokens that a device encodes at a time, padding included."""


class T5TextEncoder:
    """An encoder with its weights and tokenizer.

    Attributes:
      config: sizes of the encoder.
      max_tokens: maximum number of tokens of a caption, the end token included; longer captions
        are cut.
      weights: a hash of the weights and the tokenizer.
    """

    def __init__(self, config: T5Config, params: Params, tokenizer: T5Tokenizer, max_tokens: int):
        """Puts the weights on the current mesh, matrices in bfloat16 except on CPUs.

        Raises:
          ValueError: the tokenizer has more pieces than the encoder has a state for.
        """
        pieces = tokenizer.model.get_piece_size()
        if pieces > config.vocabulary:
            raise ValueError(
                f"the tokenizer has {pieces} pieces and the text encoder {config.vocabulary}: they "
                "are of two models, name a folder that holds both of one"
            )
        dtype = "float32" if platform() == "cpu" else "bfloat16"
        self.config, self.max_tokens = dataclasses.replace(config, dtype=dtype), max_tokens
        model = np.frombuffer(tokenizer.model.serialized_model_proto(), np.uint8)
        self.weights = weights_hash({"encoder": params, "tokenizer": model})
        self._tokenizer = tokenizer
        like = jax.eval_shape(lambda: t5.init_params(jax.random.key(0), config))

        def put(path, weight, like):
            matrix = path[-1].key == "kernel" or path[0].key == "table"
            weight = weight.astype(dtype) if matrix else weight
            return jax.device_put(weight, like.sharding.spec)

        self._params = jax.tree.map_with_path(put, params, like)

    def count(self, caption: str) -> int:
        """Number of embeddings of a caption."""
        return min(len(self._tokenizer.encode(caption)), self.max_tokens)

    def encode(self, captions: Sequence[str]) -> list[Float16[np.ndarray, "_ d"]]:
        """Embeddings float16 [s, d] of each caption. Raises as `stream`."""
        return [states for _, states in sorted(self.stream(captions), key=lambda pair: pair[0])]

    def stream(self, captions: Sequence[str]) -> Iterator[tuple[int, Float16[np.ndarray, "_ d"]]]:
        """Yields the number and the embeddings of each caption, short captions first.

        Raises:
          ValueError: an embedding is not finite.
        """
        by_length: dict[int, list[int]] = {}
        for i, caption in enumerate(captions):
            length = max(
                _next_power_of_two(len(self._tokenizer.encode(caption))), MIN_CAPTION_TOKENS
            )
            by_length.setdefault(min(length, self.max_tokens), []).append(i)
        shards = axis_size(BATCH)
        for length, numbers in sorted(by_length.items()):
            batch = max(MAX_TOKENS_PER_DEVICE // length, 1) * shards
            for start in range(0, len(numbers), batch):
                part = numbers[start : start + batch]
                rows = -(-_next_power_of_two(len(part)) // shards) * shards
                filled = [captions[i] for i in part] + [""] * (rows - len(part))
                tokens, mask = self._tokenizer.batch(filled, length)
                embeddings = np.asarray(_embed(self.config, self._params, tokens, mask))
                for i, states, own in zip(part, embeddings, mask, strict=False):
                    if not np.isfinite(states[own]).all():
                        raise ValueError(
                            f"embeddings of {captions[i]!r} are not finite in float16: the text "
                            "encoder's weights are damaged, fetch them again"
                        )
                    yield i, states[own]


def _next_power_of_two(number: int) -> int:
    """The smallest power of two that is not below the number."""
    return 1 << (number - 1).bit_length()


@functools.partial(jax.jit, static_argnums=0)
def _embed(
    config: T5Config, params: Params, tokens: Int[Array, "b s"], mask: Bool[Array, "b s"]
) -> Float16[Array, "b s d"]:
    return t5.encode(config, params, tokens, mask).astype(jnp.float16)
