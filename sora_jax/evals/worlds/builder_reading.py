"""What a video of the builder shows, beside what it should show.

A tile is legal if its distance to the nearest picture, root of the mean square without the rim, is
at most sqrt(0.8 s^2 + 3^2), with s the deviation of the picture's pixels from their mean and 3 of
255 for noise: a flat tile of the right colour is not legal.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sora_jax.evals.worlds.base import Expected
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
from sora_jax.laws.builder import FRAMES_PER_STEP, TILE, list_items

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
      expected: the prompt's clip.
    """

    tiles: Tiles | None
    legal: np.ndarray
    changes: Sequence[Change]
    returned: Sequence[bool]
    events: Sequence[tuple[str, float]]
    said: Said
    expected: Expected


def read(video: np.ndarray, expected: Expected) -> Reading:
    """Reads a video uint8[t, h, w, 3] as scores need it."""
    activity = expected.attributes["activity"]
    pixels = TILE / FRAMES_PER_STEP[expected.attributes["speed"]]
    said = list_said(expected.truth, activity, pixels)
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


def rate_presence(reading: Reading) -> float:
    """Returns 1 where the video shows tiles, 0 where it shows none."""
    return min(1.0, float(reading.legal.mean()) / 0.8)


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
