"""Several folders of latents as one stream, in wanted shares.

They come from one autoencoder, and their captions were cut by one tokenizer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import packing
from data_pipelines.latents import Index, LatentRecord, Latents, read_tokenizer
from sora_jax.provenance import read_encode_note

REMEDIES = {"weights": "--vae", "text": "--text, --text_tokens and --store_text"}
"""What the notes of all folders say alike, and the flags of `sora-jax encode` that it is of."""


class Mixture(Sequence[LatentRecord]):
    """The clips of all parts, one part after the other.

    Attributes:
      catalog: index of all clips: shapes, lengths and keys of captions.
      source: int [clips], the part that each comes from.
      repeats: int [clips], number of times that an epoch has each.
    """

    def __init__(self, parts: Sequence[Latents], weights: Sequence[float] | None = None):
        """Joins them; `weights` are shares of clips, relative to each other, or once each.

        Raises:
          ValueError: as `packing.repeats`.
        """
        self._parts = parts
        sizes = [len(part) for part in parts]
        repeats = packing.repeats(sizes, weights or sizes)
        self._starts = np.append(0, np.cumsum(sizes))
        self.catalog = Index(*map(np.concatenate, zip(*(p.catalog for p in parts), strict=True)))
        self.source = np.repeat(np.arange(len(parts)), sizes)
        self.repeats = np.repeat(repeats, sizes)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        part = int(self.source[index])
        return self._parts[part][int(index - self._starts[part])]

    @property
    def numbers(self) -> np.ndarray:
        """int [clips], the number of each clip in the split of its folder."""
        return np.concatenate([part.numbers for part in self._parts])

    def folder_of(self, clip: int) -> epath.Path:
        """Where a clip lies."""
        return self._parts[int(self.source[clip])].folder


def open_mixture(
    folders: Sequence[tuple[str, float]], split: str, tokens: bool, most: int | None = None
) -> Mixture:
    """A split of folders of latents, with their weights.

    Args:
      tokens: their captions are used as tokens, so they have to have one tokenizer.
      most: see `Latents`; of each folder.

    Raises:
      ValueError: as `Latents`; a folder comes twice, or they differ in autoencoder, tokenizer or
        text encoder.
    """
    if len({str(folder) for folder, _ in folders}) < len(folders):
        raise ValueError(f"a folder of latents is named twice: {[folder for folder, _ in folders]}")
    first, notes = folders[0][0], [read_encode_note(folder) for folder, _ in folders]
    parts = [Latents(folder, split, most) for folder, _ in folders]
    for (folder, _), note in zip(folders, notes, strict=True):
        for what, remedy in (
            ("weights", "--vae"),
            ("text", "--text, --text_tokens and --store_text"),
        ):
            if _key(note, what) != _key(notes[0], what):
                raise ValueError(
                    f"{folder} and {first} have other {what}: encode one again with the same "
                    f"{remedy}"
                )
        if tokens and read_tokenizer(folder) != read_tokenizer(first):
            raise ValueError(
                f"{folder} has another tokenizer than {first}: encode it again with "
                f"--tokenizer={first}"
            )
    return Mixture(parts, [weight for _, weight in folders])


def _key(note: dict[str, Any] | None, what: str) -> Any:
    value = (note or {}).get(what)
    if what == "text" and value:  # old notes do not say that embeddings are stored
        return {"stored": True} | {k: v for k, v in value.items() if k != "folder"}
    return value
