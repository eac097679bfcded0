"""What all worlds share: the `ClipRequest` they take, the `Clip` they make, and words.

Every world is a module with

- `NAME` and `LICENCE` (of what is seen in its clips);
- `BROKEN`: names of laws that a request can break, for controls of scores;
- `make_clip(request: ClipRequest) -> Clip`: the same clip for the same request;
- `is_held_out(attributes) -> bool`: whether a combination of attributes is kept out of training.

A world simulates a run that is longer than any clip, and a clip is a window of it: the run and the
window's first frame depend on the seed alone, so that a clip of 9 frames is the beginning of the
clip of 33 frames with the same seed. Laws (`sora_jax.laws`) never depend on a clip's duration or
size.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

SIZES = ((64, 64), (64, 64), (64, 96), (96, 64), (54, 96), (96, 54))  # (height, width)
DURATIONS = {1: 0.30, 9: 0.20, 17: 0.25, 33: 0.15, 65: 0.10}  # frames: share of the clips

MAX_FRAMES = 65
"""Maximum frames of a clip: worlds simulate runs that are long enough for these."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class ClipRequest:
    """Asks a world for one clip.

    Attributes:
      seed: number of the clip; another seed gives another clip.
      held_out: True or False asks for attributes that are held out of training or are not; None
        for any.
      frames: frames of the clip, at most `MAX_FRAMES`; None draws them from `DURATIONS`.
      height, width: size of the clip in pixels, both or neither; None draws them from `SIZES`.
      outside: draws speeds, sizes and counts outside of training's range, where a world has some.
      broken: name of a law of the world's `BROKEN` that the video breaks, or "". Captions, truth
        and attributes stay those of the lawful clip, which equals it up to where the law breaks.
    """

    seed: int
    held_out: bool | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    outside: bool = False
    broken: str = ""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A simulated video with its captions and the state of the simulator.

    Attributes:
      video: uint8[t, h, w, 3], RGB; one frame is an image.
      fps: frames per second.
      captions: 'short' and 'detailed', lowercase, at most 40 words, of what the window shows. The
        detailed one states every attribute that a score reads.
      truth: state of the simulator, per frame where it changes; JSON values and numpy arrays.
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


def draw_canvas(
    rng: np.random.Generator,
    request: ClipRequest,
    broken: Collection[str],
    max_frames: int = MAX_FRAMES,
) -> tuple[int, int, int]:
    """Draws (frames, height, width); what is requested stays, but `rng` advances alike.

    Args:
      broken: names of laws that the request may break.
      max_frames: frames that the request may have; more are not drawn either.

    Raises:
      ValueError: only one of height and width is given, one is not positive, the number of frames
        is not within 1 and `max_frames`, or the world has no such law to break.
    """
    height, width = request.height, request.width
    if request.broken and request.broken not in broken:
        raise ValueError(f"broken is {request.broken!r}: choose from {', '.join(broken)}")
    if request.frames is not None and not 1 <= request.frames <= max_frames:
        raise ValueError(f"frames is {request.frames}: ask for 1 to {max_frames}")
    if any(side is not None and side < 1 for side in (height, width)):
        raise ValueError(f"height is {height} and width {width}: ask for 1 pixel or more")
    drawn_frames = int(rng.choice(list(DURATIONS), p=list(DURATIONS.values())))
    size = SIZES[rng.integers(len(SIZES))]
    if (height is None) != (width is None):
        raise ValueError(f"got height {height} and width {width}; give both or neither")
    if height is not None and width is not None:
        size = (height, width)
    return request.frames or min(drawn_frames, max_frames), *size


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
