"""Text inputs: what a transformer reads of captions, token ids or embeddings.

A model with a text encoder of its own takes token ids, by the tokenizer that lies beside its
latents. A model with `config.model.text_embed_dim` takes embeddings of a text encoder that is not
trained: the one that `sora-jax encode --text` ran and noted in `encode.json` beside the latents.
Training reads them as they were stored, or computes them; sampling computes those of prompts.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from etils import epath

from sora_jax.interop import t5
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.t5_text_encoder import T5TextEncoder
from sora_jax.models.t5_tokenizer import T5Tokenizer
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.provenance import read_encode_note, resolve


@runtime_checkable
class TextInputs(Protocol):
    """Anything that turns captions into what `PackedBatch.text` holds of them."""

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Token ids int32 [s] or embeddings float16 [s, d] of each; "" is no caption."""
        ...


class PaddedEmbeddings:
    """Embeddings of each caption, followed by one of zeros.

    A model with `padded_text_length` takes the last embedding of a caption for all those that would
    pad the caption to that length; see `dit.padding_bias`.
    """

    def __init__(self, source: TextInputs):
        self._source = source

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """Embeddings float16 [s, d] of each caption."""
        return [np.pad(states, ((0, 1), (0, 0))) for states in self._source.encode(captions)]


def load_tokenizer(data: epath.PathLike, model: DiTConfig) -> Tokenizer:
    """The tokenizer beside latents.

    Raises:
      ValueError: there is none, or the model's vocabulary is smaller than the tokenizer's.
    """
    tokenizer = Tokenizer(epath.Path(data) / "tokenizer.model")
    if tokenizer.size > model.text.vocabulary:
        raise ValueError(
            f"config.model.text.vocabulary is {model.text.vocabulary}, the tokenizer of {data} "
            f"has {tokenizer.size} pieces: raise it"
        )
    return tokenizer


class TextEncoderNote(NamedTuple):
    """What `encode.json` of a folder of latents says of its text encoder.

    Attributes:
      folder: where the encoder is.
      weights: hash of its weights and its tokenizer.
      width: numbers in one embedding.
      tokens: maximum number of tokens of a caption.
      stored: whether embeddings lie beside the latents; else training computes them.
    """

    folder: epath.Path
    weights: str
    width: int
    tokens: int
    stored: bool = True


def read_text_encoder_note(data: epath.PathLike, model: DiTConfig) -> TextEncoderNote:
    """The note on the text encoder whose embeddings lie beside the latents in `data`.

    Raises:
      ValueError: there are no embeddings, or they do not fit the model.
    """
    fields = (read_encode_note(data) or {}).get("text")
    if fields is None:
        raise ValueError(
            f"config.model.text_embed_dim is {model.text_embed_dim} and {data} holds no embeddings "
            "of captions: run `sora-jax encode` with --text=FOLDER"
        )
    note = TextEncoderNote(**fields | {"folder": resolve(data, fields["folder"])})
    if note.width != model.text_embed_dim:
        raise ValueError(
            f"config.model.text_embed_dim is {model.text_embed_dim}, the embeddings of {data} have "
            f"a width of {note.width}: set it to theirs"
        )
    if 0 < model.padded_text_length < note.tokens:
        raise ValueError(
            f"config.model.padded_text_length is {model.padded_text_length}, captions of {data} "
            f"have up to {note.tokens} embeddings: raise it, or run `sora-jax encode` with "
            f"--text_tokens={model.padded_text_length} to another --output"
        )
    return note


def load_text_encoder(folder: epath.PathLike, max_tokens: int) -> T5TextEncoder:
    """A text encoder with its tokenizer, for captions of up to `max_tokens` tokens.

    Raises:
      ValueError: one of them is missing, or they do not fit each other.
    """
    tokenizer = T5Tokenizer(folder)
    return T5TextEncoder(*t5.load_text_encoder(folder), tokenizer, max_tokens)


def load_text_inputs(data: epath.PathLike, model: DiTConfig) -> TextInputs:
    """The text inputs of prompts, for a model that was trained on the latents in `data`.

    Raises:
      ValueError: the tokenizer or the text encoder is missing, or another one than noted.
    """
    if not model.text_embed_dim:
        return load_tokenizer(data, model)
    encoder = load_noted_encoder(data, read_text_encoder_note(data, model))
    return PaddedEmbeddings(encoder) if model.padded_text_length else encoder


def load_noted_encoder(data: epath.PathLike, note: TextEncoderNote) -> T5TextEncoder:
    """The text encoder of the latents in `data`.

    Raises:
      ValueError: it is missing, or another one than noted.
    """
    if not note.folder.exists():
        raise ValueError(f"the text encoder of {data} is not at {note.folder}: put it there")
    encoder = load_text_encoder(note.folder, note.tokens)
    if encoder.weights != note.weights:
        raise ValueError(
            f"{note.folder} holds another text encoder than the one that made the embeddings of "
            f"{data}: put that one there"
        )
    return encoder
