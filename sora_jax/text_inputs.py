"""What a model reads of captions: token ids, or states of a text encoder that is not trained.

A model with an encoder of its own takes ids of the tokenizer that lies beside its latents. One with
`config.model.text_embed_dim` takes states of the encoder that `sora-jax encode --text` ran and noted
in `encode.json` beside the latents: for training as they were stored, for prompts as it answers.
"""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from etils import epath

from sora_jax.interop.t5 import load_text_encoder
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.t5_text_encoder import T5TextEncoder
from sora_jax.models.t5_tokenizer import T5Tokenizer
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.provenance import beside


@runtime_checkable
class Captions(Protocol):
    """Captions to what `PackedBatch.text` holds of them."""

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids [s] or states [s, d] of each, at least one; "" means no caption."""
        ...


class Tokens:
    """Captions as ids of the tokenizer beside the latents.

    Raises:
      ValueError: there is none, or the model's vocabulary is smaller.
    """

    def __init__(self, data: epath.PathLike, model: DiTConfig):
        self._tokenizer = Tokenizer(epath.Path(data) / "tokenizer.model")
        if self._tokenizer.size > model.text.vocabulary:
            raise ValueError(
                f"config.model.text.vocabulary is {model.text.vocabulary}, the tokenizer of {data} "
                f"has {self._tokenizer.size} pieces: raise it"
            )

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids, int32 [s], of each."""
        return [np.asarray(self._tokenizer.encode(text), np.int32) for text in texts]


class States:
    """Captions as states that `source` gives.

    Where the model fills captions up (`padded_text_length`), each ends with one state of zeros, which
    `dit.padding_bias` counts as often as there are places to fill.
    """

    def __init__(self, source: Callable[[Sequence[str]], list[np.ndarray]], model: DiTConfig):
        self._source, self._filled = source, model.padded_text_length > 0

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """States, float16 [s, d], of each."""
        found = self._source(texts)
        return [np.pad(s, ((0, 1), (0, 0))) for s in found] if self._filled else found


class TextNote(NamedTuple):
    """What `encode.json` says of the text encoder.

    Attributes:
      folder: where it is.
      weights, tokens: see `T5TextEncoder`.
      width: numbers in one state.
    """

    folder: epath.Path
    weights: str
    width: int
    tokens: int


def read_note(data: epath.PathLike, model: DiTConfig) -> TextNote:
    """The note on the states of a folder of latents.

    Raises:
      ValueError: there are no states, or they do not fit the model.
    """
    path = epath.Path(data) / "encode.json"
    found = json.loads(path.read_text()).get("text") if path.exists() else None
    if found is None:
        raise ValueError(
            f"config.model.text_embed_dim is {model.text_embed_dim} and {data} holds no states of "
            "captions: run `sora-jax encode` with --text=FOLDER"
        )
    note = TextNote(**found | {"folder": beside(data, found["folder"])})
    if note.width != model.text_embed_dim:
        raise ValueError(
            f"config.model.text_embed_dim is {model.text_embed_dim}, the states of {data} have a width "
            f"of {note.width}: set it to theirs"
        )
    if 0 < model.padded_text_length < note.tokens:
        raise ValueError(
            f"config.model.padded_text_length is {model.padded_text_length}, captions of {data} have up to "
            f"{note.tokens} states: raise it, or run `sora-jax encode` with "
            f"--text_tokens={model.padded_text_length} to another --output"
        )
    return note


def load_text(folder: epath.PathLike, tokens: int) -> T5TextEncoder:
    """A text encoder and its tokenizer, ready to encode captions of up to so many tokens.

    Raises:
      ValueError: one of them is missing or unfit.
    """
    tokenizer = T5Tokenizer(folder)
    return T5TextEncoder(*load_text_encoder(folder), tokenizer, tokens)


def load_captions(data: epath.PathLike, model: DiTConfig) -> Captions:
    """What turns prompts into a model's text, as it was trained on the latents in `data`.

    Raises:
      ValueError: the tokenizer or the text encoder is missing, or another one than noted.
    """
    if not model.text_embed_dim:
        return Tokens(data, model)
    note = read_note(data, model)
    if not note.folder.exists():
        raise ValueError(f"the text encoder of {data} is not at {note.folder}: put it there")
    encoder = load_text(note.folder, note.tokens)
    if encoder.weights != note.weights:
        raise ValueError(
            f"{note.folder} holds another text encoder than the one that made the states of "
            f"{data}: put that one there"
        )
    return States(encoder.encode, model)
