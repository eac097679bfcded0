"""Captions to token ids with the sentencepiece model of a T5 or UMT5 (arXiv:1808.06226).

The ids are those of transformers' T5Tokenizer: normalised and cut by sentencepiece, the end token
appended, padded with the padding token. Special tokens written out in a caption (`</s>`,
`<extra_id_0>`) are taken as such. Where a model falls back to bytes, so do we, as sentencepiece
does (T5Tokenizer of transformers 5 has unknown tokens there).
"""

import re
from collections.abc import Sequence

import numpy as np
import sentencepiece
from etils import epath
from jaxtyping import Bool, Int

NAMES = ("spiece.model", "tokenizer.model")


class T5Tokenizer:
    """A sentencepiece model, from its file, its folder, or a pipeline's (in `tokenizer`).

    Args:
      extra_ids: how many `<extra_id_i>` there are; they follow the pieces, the last one first.

    Raises:
      ValueError: there is no model, or it has no padding or end token.
    """

    def __init__(self, path: epath.PathLike, extra_ids: int = 100):
        path = epath.Path(path)
        if path.is_dir():
            candidates = [path / sub / name for sub in ("", "tokenizer") for name in NAMES]
            path = next((file for file in candidates if file.exists()), candidates[0])
        if not path.exists():
            raise ValueError(f"no tokenizer at {path}: name a {' or '.join(NAMES)}")
        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        except RuntimeError as error:
            raise ValueError(f"{path} is no sentencepiece model: fetch it again") from error
        self.model, self.pad, self.end = model, model.pad_id(), model.eos_id()
        if self.pad < 0 or self.end < 0:
            raise ValueError(
                f"{path} has no padding or no end token: name the {NAMES[0]} of a T5 or UMT5"
            )
        size = model.get_piece_size()
        self.special = {model.id_to_piece(i): i for i in (self.pad, self.end, model.unk_id())}
        self.special |= {f"<extra_id_{i}>": size + extra_ids - 1 - i for i in range(extra_ids)}
        self.split = re.compile(f"({'|'.join(map(re.escape, self.special))})")

    def encode(self, caption: str, length: int | None = None) -> list[int]:
        """Token ids, the end token last; cut to `length`, of which it is one."""
        ids: list[int] = []
        for part in self.split.split(caption):
            special = self.special.get(part)
            ids += self.model.encode(part) if special is None else [special]
        return [*(ids if length is None else ids[: length - 1]), self.end]

    def batch(
        self, captions: Sequence[str], length: int
    ) -> tuple[Int[np.ndarray, "b s"], Bool[np.ndarray, "b s"]]:
        """Ids padded to `length`, and which of them are no padding."""
        tokens = np.full((len(captions), length), self.pad, np.int32)
        mask = np.zeros(tokens.shape, bool)
        for row, caption in enumerate(captions):
            ids = self.encode(caption, length)
            tokens[row, : len(ids)], mask[row, : len(ids)] = ids, True
        return tokens, mask
