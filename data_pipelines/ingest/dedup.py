"""Near-duplicates: perceptual hashes, their bands, and which clip of a pair is kept.

A clip's hash has 64 bits of each of 4 frames: the signs of the low frequencies of their cosine
transforms about their median. Copies that were encoded again, resized or letterboxed differ in a
few bits. Clips are compared where one band, a part of the hash, is equal (locality-sensitive
hashing). Of two that are close, the one that ranks first is kept: more pixels in its file, then
the smaller key. So of a chain, in which each is close to the next, the first alone is kept, though
the last may be unlike it. Clips of one shot are never duplicates of each other.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

FRAMES, BITS = 4, 256
_SIDE = 32  # pixels of the picture that is transformed
_FLAT = 4.0  # levels, standard deviation below which a picture has nothing to compare
_BLOCK = 1024  # clips that are compared with all others at a time


class HashedClip(NamedTuple):
    """A clip as deduplication compares it; the order of tuples is the rank.

    Attributes:
      pixels: negative number of pixels of a frame of the file, so that large frames rank first.
      key: key of the clip.
      shot: key of the file and number of the shot.
      hash: perceptual hash, 64 hexadecimal digits.
    """

    pixels: int
    key: str
    shot: str
    hash: str


class Hash:
    """Computes the perceptual hash of a clip from its frames as they come."""

    def __init__(self):
        self._small: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        """Takes the next frame, uint8[h, w, 3]."""
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        self._small.append(cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))

    def read(self) -> str:
        """Returns the hash, 64 hexadecimal digits; "" where a frame is flat: nothing tells it."""
        bits = []
        for i in range(FRAMES):
            small = self._small[(2 * i + 1) * len(self._small) // (2 * FRAMES)]
            if small.std() < _FLAT:
                return ""
            low = cv2.dct(small.astype(np.float32))[:8, :8]
            bits.append(low.ravel() > np.median(low))
        return np.packbits(np.concatenate(bits)).tobytes().hex()


def split_bands(digits: str, count: int) -> Iterator[str]:
    """Splits a hash of hexadecimal digits into `count` bands, each with its number in front.

    A band has digits of all frames, at another offset in each frame: the four frames of an image
    are equal, and equal digits would say no more than one.
    """
    each, turn = len(digits) // FRAMES, len(digits) // FRAMES**2
    frames = (digits[i * each : (i + 1) * each] for i in range(FRAMES))
    turned = "".join(frame[i * turn :] + frame[: i * turn] for i, frame in enumerate(frames))
    for i in range(count):
        yield f"{i}-{turned[i::count]}"


def find_duplicates(clips: Iterable[HashedClip], max_distance: float) -> Iterator[tuple[str, str]]:
    """Yields the duplicates among clips that share a band: (key, key of a clip that ranks first).

    Args:
      max_distance: maximum fraction of differing hash bits of duplicates.
    """
    ranked = [HashedClip(*clip) for clip in sorted(clips)]  # Beam may make them plain tuples
    shots = np.unique([clip.shot for clip in ranked], return_inverse=True)[1]
    packed = np.stack([np.frombuffer(bytes.fromhex(clip.hash), np.uint64) for clip in ranked])
    for first in range(0, len(ranked), _BLOCK):
        block = slice(first, first + _BLOCK)
        for start in range(0, first + 1, _BLOCK):
            before = slice(start, start + _BLOCK)
            differ = np.bitwise_count(packed[block, None] ^ packed[None, before]).sum(-1)
            close = (differ <= max_distance * BITS) & (shots[block, None] != shots[None, before])
            if start == first:
                close = np.tril(close, -1)
            for i in np.flatnonzero(close.any(1)):
                yield ranked[first + i].key, ranked[start + int(np.argmax(close[i]))].key
