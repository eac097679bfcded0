"""Clips that are longer than a row, in pieces; and those of which no row holds a frame.

A piece is a window in time of a clip's latent. Its tokens keep the positions that they have in the
clip, so that all of a clip is learned as what it is; only attention ends where the piece does.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Pieces(NamedTuple):
    """Windows in time of clips, in the order of the clips; all together, they are the clips.

    Attributes:
      clips: int [pieces], the clip of each.
      starts, stops: int [pieces], its range of latent frames, [start, stop).
      tokens: int [pieces], its video tokens.
      too_large: int [n], the clips with frames that are larger than a row, of which there are none.
    """

    clips: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    tokens: np.ndarray
    too_large: np.ndarray

    @property
    def cut(self) -> int:
        """The number of clips that are in several pieces."""
        return int((np.bincount(self.clips, minlength=1) > 1).sum())


def cut_clips(
    shapes: Int[np.ndarray, "clips 3"], patch: tuple[int, int, int], capacity: int
) -> Pieces:
    """Cuts clips that are longer than a row into pieces as long as a row holds, and what is left.

    Pieces of equal length would be too short for a row and too long for what others leave in it.

    Args:
      shapes: (t, h, w) of each latent, multiples of the patch.
      patch: (t, h, w) of a patch.
      capacity: video tokens of a row.
    """
    frames, height, width = (shapes.astype(np.int64) // patch).T
    fit = capacity // (height * width)  # frames of patches that a row holds
    counts = np.where(fit > 0, -(-frames // np.maximum(fit, 1)), 0)
    clips = np.repeat(np.arange(len(shapes)), counts)
    number = np.arange(len(clips)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = number * fit[clips]
    stops = np.minimum(starts + fit[clips], frames[clips])
    tokens = (stops - starts) * height[clips] * width[clips]
    ranges = starts * patch[0], stops * patch[0]
    return Pieces(clips, *ranges, tokens, np.flatnonzero(counts == 0))
