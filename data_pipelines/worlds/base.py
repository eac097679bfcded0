"""What all worlds share: the `Clip` they make, how its size is drawn, its colours and its words.

Every world is a module with

- `NAME`, `NEEDS_GL` (renders with OpenGL) and `LICENCE` (of what is seen in its clips);
- `clip(seed, *, held_out=None, frames=None, height=None, width=None) -> Clip`: the same clip for
  the same arguments; sizes left out are drawn; `held_out` True or False asks for attributes that
  are held out or trained, None for any;
- `held_out(attributes) -> bool`: whether a combination of attributes is kept out of training.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

FPS = 8.0
SIZES = ((64, 64), (64, 64), (64, 96), (96, 64), (54, 96), (96, 54))  # (height, width)
DURATIONS = {1: 0.40, 9: 0.25, 17: 0.25, 33: 0.10}  # frames: share of the clips

COLORS = {
    "red": (225, 30, 30),
    "orange": (250, 130, 10),
    "yellow": (245, 220, 20),
    "green": (30, 165, 45),
    "cyan": (20, 205, 215),
    "blue": (35, 70, 225),
    "purple": (145, 50, 220),
    "pink": (245, 75, 165),
}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video that knows what it shows.

    Attributes:
      video: uint8[t, h, w, 3], RGB; one frame is an image.
      fps: frames per second.
      captions: 'short' and 'detailed', lowercase, at most 40 words.
      truth: the simulator's state; JSON values and numpy arrays.
      attributes: what the held-out combinations are made of.
    """

    video: np.ndarray
    fps: float
    captions: dict[str, str]
    truth: dict[str, Any]
    attributes: dict[str, str]


def world_rng(name: str, seed: int) -> np.random.Generator:
    """Returns the random stream of one clip; worlds do not share streams."""
    return np.random.default_rng((zlib.crc32(name.encode()), seed))


def draw_canvas(
    rng: np.random.Generator,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> tuple[int, int, int]:
    """Draws (frames, height, width); what is given stays, but the stream advances alike.

    Raises:
      ValueError: if only one of height and width is given.
    """
    drawn_frames = int(rng.choice(list(DURATIONS), p=list(DURATIONS.values())))
    size = SIZES[rng.integers(len(SIZES))]
    if (height is None) != (width is None):
        raise ValueError(f"got height {height} and width {width}; give both or neither")
    if height is not None and width is not None:
        size = (height, width)
    return frames or drawn_frames, *size


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Picks one option, each with the same chance."""
    return options[int(rng.integers(len(options)))]


def view(height: int, width: int) -> str:
    """The framing as captions name it: a square, wide or tall view."""
    if height == width:
        return "square view"
    return "wide view" if width > height else "tall view"


def a(noun: str) -> str:
    """Puts the indefinite article before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
