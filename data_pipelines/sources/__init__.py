"""Clips from real archives of videos and pictures; what all sources share.

Every source is a module with

- `NAME`, the world that its clips count as, and `FETCH`, the command that fetches its archive;
- `clips(archive, height) -> Iterator[SourceClip]`: the clips of all splits, in one pass; films do
  not fill memory, and their shorter side becomes `height` pixels.

Whole shots or pictures are held out: of every ten, one is validation and one is test.
"""

import dataclasses
import pathlib

import numpy as np

LONGEST, SHORTEST = 33, 5  # frames of a clip


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a clip comes from, and the licence of what it shows."""

    source: str
    licence: str


@dataclasses.dataclass(frozen=True)
class SourceClip:
    """One clip of an archive.

    Attributes:
      video: uint8[t, h, w, 3], RGB; t is 1 + 4k, one frame is an image.
      fps: frames per second.
      captions: 'short' and 'detailed', lowercase, at most 40 words.
      split: 'train', 'validation' or 'test'.
      attributes: what is known of the clip.
      origin: its source and licence.
      part: the shot or picture it was cut from, counted from 1, and how many the archive has.
      dropped: frames after it, up to the end of its part, that are too few for a clip.
    """

    video: np.ndarray
    fps: float
    captions: dict[str, str]
    split: str
    attributes: dict[str, str]
    origin: Origin
    part: tuple[int, int]
    dropped: int


def split_of(index: int) -> str:
    """The split of a shot or picture by its number."""
    return {4: "validation", 9: "test"}.get(index % 10, "train")


def pieces(frames: int) -> list[int]:
    """Lengths of the consecutive clips that a part is cut in, each 1 + 4k frames.

    They have 33 frames, the last one 5 or more; of a part of less than 5 frames the first is kept.
    """
    lengths, left = [], frames
    while left >= SHORTEST:
        lengths.append(min(LONGEST, 1 + (left - 1) // 4 * 4))
        left -= lengths[-1]
    return lengths or [1] * (frames > 0)


def table(name: str) -> list[list[str]]:
    """The rows of a file of captions beside the sources, whose columns are parted by tabs."""
    lines = pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]
