"""Captions to token ids with a sentencepiece BPE model (arXiv:1508.07909, 1808.06226)."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece
from etils import epath
from jaxtyping import Int


def train_tokenizer(captions: Iterable[str], vocabulary: int) -> bytes:
    """A model of at most `vocabulary` pieces, learned from the captions; a file's content."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_writer=model,
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        model_type="bpe",
        character_coverage=1.0,
        byte_fallback=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


class Tokenizer:
    """A trained sentencepiece model; every encoding ends with the end-of-text token.

    Raises:
      ValueError: there is no model at the path.
    """

    def __init__(self, path: epath.PathLike):
        path = epath.Path(path)
        if not path.exists():
            raise ValueError(f"no tokenizer at {path}: run `sora-jax encode` first")
        self.model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())

    @property
    def size(self) -> int:
        """Number of pieces."""
        return self.model.get_piece_size()

    def encode(self, captions: Sequence[str]) -> list[Int[np.ndarray, "_"]]:
        """Token ids, int32, of each caption in lower case; "" is the end-of-text token alone."""
        end = self.model.eos_id()
        return [
            np.array([*self.model.encode(caption.lower().strip()), end], np.int32)
            for caption in captions
        ]
