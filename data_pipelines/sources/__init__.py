"""Clips from real archives of videos and pictures; types and rules of all sources.

Every source is a module with

- `NAME`, the `ClipMeta.source` of its clips, and `FETCH`, the command that fetches its archive;
- `read_clips(archive, height) -> Iterator[SourceClip]`: the clips of all splits, in one pass; films
  do not fill memory, and their shorter side becomes `height` pixels.

Whole shots or pictures are held out: of every ten, one is validation and one is test.
"""

import dataclasses
import pathlib

import numpy as np

MAX_FRAMES, MIN_FRAMES = 33, 5  # of a clip of video


@dataclasses.dataclass(frozen=True)
class Origin:
    """Origin of a clip: text that says where it comes from, and the licence of what it shows."""

    text: str
    licence: str


@dataclasses.dataclass(frozen=True)
class SourceClip:
    """One clip of an archive.

    Attributes:
      video: uint8[t, h, w, 3], RGB; t is 1 + 4k, one frame is an image.
      fps: frames per second.
      captions: 'short' and 'detailed', lowercase, at most 40 words.
      split: 'train', 'validation' or 'test'.
      attributes: names and values that describe the clip.
      origin: where the clip comes from, and its licence.
      part: number of the shot or picture it was cut from, from 1, and how many the archive has.
      dropped: frames between the clip and the end of its part, which are too few for a clip.
    """

    video: np.ndarray
    fps: float
    captions: dict[str, str]
    split: str
    attributes: dict[str, str]
    origin: Origin
    part: tuple[int, int]
    dropped: int


def choose_split(index: int) -> str:
    """Returns the split of the shot or picture with this number: of ten, one each is held out."""
    return {4: "validation", 9: "test"}.get(index % 10, "train")


def split_lengths(frames: int) -> list[int]:
    """Returns the lengths of the consecutive clips that a part is cut into, each 1 + 4k frames.

    Clips have 33 frames, the last one 5 or more; of a part of less than 5 frames, the first frame
    is kept as an image.
    """
    lengths, left = [], frames
    while left >= MIN_FRAMES:
        lengths.append(min(MAX_FRAMES, 1 + (left - 1) // 4 * 4))
        left -= lengths[-1]
    return lengths or [1] * (frames > 0)


def read_table(name: str) -> list[list[str]]:
    """Reads a tab-separated file beside this module; returns its rows as lists of columns."""
    lines = pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]
