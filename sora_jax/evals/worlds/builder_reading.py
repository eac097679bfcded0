"""What a video of the builder shows, beside what it should show.

A tile is legal if its distance to the nearest picture, root of the mean square without the rim, is
at most sqrt(0.8 s^2 + 3^2), with s the deviation of the picture's pixels from their mean and 3 of
255 for noise: a flat tile of the right colour is not legal.

Where first frames are given, only the last one of them is read, as what the new frames follow, and
of the caption only what is still to come is expected.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sora_jax.evals.worlds.base import Expected, grade
from sora_jax.evals.worlds.builder_events import (
    MIN_SEEN,
    Change,
    Said,
    explain,
    find_changes,
    list_events,
    list_said,
)
from sora_jax.evals.worlds.builder_tiles import Tiles, read_tiles
from sora_jax.laws.builder import ACTIONS, FRAMES_PER_STEP, TILE, list_items

PER_FRAME = ("position", "facing", "tiles", "corner", "amounts")  # of the truth
MIN_LEGAL = 0.5  # share of a frame's tiles
EXPLAINED, NOISE = 0.2, 3.0  # share of the picture's variance, and levels of 255


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a video shows, beside what it should show.

    Attributes:
      tiles: the frames' tiles; None if the video is too small for any.
      legal: float[t], share of the tiles seen that are legal.
      changes, returned: of `builder_events.find_changes`, changes explained where they can be.
      events: of `builder_events.list_events`.
      said: what the caption says.
      expected: the prompt's clip, of which one frame is given, or none.
    """

    tiles: Tiles | None
    legal: np.ndarray
    changes: Sequence[Change]
    returned: Sequence[bool]
    events: Sequence[tuple[str, float]]
    said: Said
    expected: Expected

    @property
    def new(self) -> slice:
        """The frames that were not given."""
        return slice(self.expected.given, None)

    @property
    def shown(self) -> float:
        """How much of the video shows tiles, 0 to 1; nan if no frame is new.

        It is 1 if at most a tenth of the new frames has fewer than `MIN_LEGAL` of its tiles legal,
        0 from 0.4 on.
        """
        if len(self.expected.truth["position"]) <= self.expected.given:
            return math.nan
        legal = self.legal[self.new]
        return grade(float((legal < MIN_LEGAL).mean()), 0.1, 0.4) if len(legal) else 0.0


def cut_given(expected: Expected) -> Expected:
    """Leaves out what happens until the last given frame, which becomes the first one.

    An action that begins before that frame has been shown by it.
    """
    truth, first = expected.truth, expected.given - 1
    first = min(first, len(truth["position"]) - 1)
    if first < 1:
        return expected
    left = [
        (i < truth["told"], [name, start - first, end - first])
        for i, (name, start, end) in enumerate(truth["events"])
        if (start >= first if name in ACTIONS else end > first)
    ]
    cut = {name: truth[name][first:] for name in PER_FRAME}
    events = {"events": [event for _, event in left], "told": sum(told for told, _ in left)}
    return dataclasses.replace(expected, truth={**truth, **cut, **events}, given=1)


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video uint8[t, h, w, 3], see `base`; a short one stands still at its end."""
    frames = np.arange(len(expected.truth["position"]))
    expected = cut_given(expected)
    video = video[np.minimum(frames[-len(expected.truth["position"]) :], len(video) - 1)]
    activity = expected.attributes["activity"]
    pixels = TILE / FRAMES_PER_STEP[expected.attributes["speed"]]
    said = list_said(expected.truth, activity, pixels, expected.given)
    tiles = read_tiles(video, list_items(activity))
    if tiles is None:
        return Reading(None, np.zeros(len(video)), (), (), (), said, expected)
    seen = ~np.isnan(tiles.distances)
    limits = np.sqrt((1 - EXPLAINED) * tiles.details**2 + NOISE**2)
    legal = seen & (tiles.distances <= limits)
    share = legal.sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1)
    ids = np.where(tiles.seen >= MIN_SEEN, tiles.ids, -1)
    changes, returned = find_changes(ids, tiles.inside, tiles.cells, tiles.jumps)
    changes = explain(changes, tiles, activity)
    events = tuple(list_events(tiles, changes, activity))
    return Reading(tiles, share, changes, returned, events, said, expected)


def is_still(reading: Reading) -> bool:
    """Says whether the prompt's clip has one frame."""
    return len(reading.expected.truth["position"]) == 1


def rate_lawful(broken: int) -> float:
    """Returns 1, 1/4, 1/9, ... after 0, 1, 2, ... frames that break a law."""
    return 1 / (1 + broken) ** 2


def trim_events(reading: Reading) -> Sequence[tuple[str, float]]:
    """Returns the events, as many as the caption tells where it does not tell all."""
    return reading.events if reading.said.whole else reading.events[: len(reading.said.names)]


def rate_walks(reading: Reading) -> tuple[np.ndarray, float]:
    """Returns the distances [n] of all moves, and whether there are as many as said, 0 to 1."""
    assert reading.tiles is not None
    distances = np.abs(reading.tiles.moves).sum(1)
    moving = distances[distances > 0]
    return moving, min(1.0, len(moving) / max(reading.said.moving, 1))
