"""What all worlds share: the `ClipRequest` they take, the `Clip` they make, colours and words.

Every world is a module with

- `NAME`, `NEEDS_GL` (renders with OpenGL) and `LICENCE` (of what is seen in its clips);
- `make_clip(request: ClipRequest) -> Clip`: the same clip for the same request;
- `is_held_out(attributes) -> bool`: whether a combination of attributes is kept out of training.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterable, Sequence
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
class ClipRequest:
    """Asks a world for one clip.

    Attributes:
      seed: number of the clip; another seed gives another clip.
      held_out: True or False asks for attributes that are held out of training or are not; None
        for any.
      frames: frames of the clip; None draws them from `DURATIONS`.
      height, width: size of the clip in pixels, both or neither; None draws them from `SIZES`.
    """

    seed: int
    held_out: bool | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None


@dataclasses.dataclass(frozen=True)
class Clip:
    """A simulated video with its captions and the state of the simulator.

    Attributes:
      video: uint8[t, h, w, 3], RGB; one frame is an image.
      fps: frames per second.
      captions: 'short' and 'detailed', lowercase, at most 40 words.
      truth: state of the simulator; JSON values and numpy arrays.
      attributes: names and values, combinations of which are held out of training.
    """

    video: np.ndarray
    fps: float
    captions: dict[str, str]
    truth: dict[str, Any]
    attributes: dict[str, str]


def make_rng(name: str, seed: int) -> np.random.Generator:
    """Makes the random generator of one clip; worlds of different names share no random numbers."""
    return np.random.default_rng((zlib.crc32(name.encode()), seed))


def draw_canvas(rng: np.random.Generator, request: ClipRequest) -> tuple[int, int, int]:
    """Draws (frames, height, width); what is requested stays, but `rng` advances alike.

    Raises:
      ValueError: only one of height and width is given.
    """
    height, width = request.height, request.width
    drawn_frames = int(rng.choice(list(DURATIONS), p=list(DURATIONS.values())))
    size = SIZES[rng.integers(len(SIZES))]
    if (height is None) != (width is None):
        raise ValueError(f"got height {height} and width {width}; give both or neither")
    if height is not None and width is not None:
        size = (height, width)
    return request.frames or drawn_frames, *size


def allowed_pairs(
    first: Iterable[str],
    second: Iterable[str],
    is_held_out: Callable[[str, str], bool],
    held_out: bool | None,
) -> list[tuple[str, str]]:
    """Lists the pairs of one value of `first` and one of `second` that a request allows.

    Args:
      first, second: the values of two attributes.
      is_held_out: whether a pair is kept out of training.
      held_out: `ClipRequest.held_out`.
    """
    pairs = itertools.product(first, second)
    return [pair for pair in pairs if held_out is None or is_held_out(*pair) == held_out]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Picks one of the options with equal probability."""
    return options[int(rng.integers(len(options)))]


def name_view(height: int, width: int) -> str:
    """Names the framing as captions do: a square, wide or tall view."""
    if height == width:
        return "square view"
    return "wide view" if width > height else "tall view"


def add_article(noun: str) -> str:
    """Puts the indefinite article, a or an, before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
