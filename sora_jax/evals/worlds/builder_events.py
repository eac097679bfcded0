"""What happens in a video of the builder: tiles that change, steps and actions in order.

A tile of the world is followed through the moving view. Where it shows another picture than when
it was last seen, it has changed; a change is explained if an action of the clip makes it, the
player stands on a tile, and the changed tile is the one that it faces. Drinking changes no tile: it
is read from the number of drinks, which grows by one while the player faces water.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.evals.worlds.builder_tiles import Tiles
from sora_jax.laws.builder import ACTIONS, ACTIVITIES, DIRECTIONS, TILE, TILES

MIN_SEEN = 128.0  # pixels, of 256, that show that a tile has changed
CUT = 0.25  # of a step
AWAY_FRAMES = 2  # a tile that is out of the frame for more frames has been away
WAYS = np.array(list(DIRECTIONS.values()))


@dataclasses.dataclass(frozen=True)
class Change:
    """A tile of the world that shows another picture than when it was last seen.

    Attributes:
      frame: first frame that shows it.
      cell: (x, y) in the world.
      before, after: names of the tiles.
      away: whether it changed out of view.
      action: the action that explains it, or "".
    """

    frame: int
    cell: tuple[int, int]
    before: str
    after: str
    away: bool
    action: str = ""


@dataclasses.dataclass(frozen=True)
class Said:
    """What the caption says, as truth has it.

    Attributes:
      names: steps in one direction as one, and actions, in order.
      whole: whether these are all that the window shows.
      way, leg: of the first walk, the index of `DIRECTIONS` and for how many frames it lasts; -1
        and 0 if none is said.
      least, most: tiles walked in each of `DIRECTIONS`; steps that are cut by the window's ends
        count in part, or whole.
      moving: frames in which the player walks.
      pixels: that the view moves between two frames of a walk, of 16 a tile.
      changes: by how many the amount of each item changes, in order: (item's index, number).
      returns: number of tiles that leave the view and come back.
    """

    names: tuple[str, ...]
    whole: bool
    way: int
    leg: float
    least: np.ndarray
    most: np.ndarray
    moving: float
    pixels: float
    changes: tuple[tuple[int, int], ...]
    returns: int


def list_said(truth: Mapping[str, Any], activity: str, pixels: float, given: int) -> Said:
    """Lists what the caption of a clip says; see `builder_reading.cut_given`.

    From text alone the window may cut the first step and the last one anywhere: `CUT` of them must
    be seen.
    """
    last, told = len(truth["position"]) - 1, truth["events"][: truth["told"]]
    names: list[str] = []
    legs: list[tuple[int, float]] = []
    least, most = np.zeros((2, len(DIRECTIONS)))
    ends = () if given else (0, len(truth["events"]) - 1)
    for i, (name, start, end) in enumerate(told):
        if name.startswith("step "):
            way = list(DIRECTIONS).index(name.removeprefix("step "))
            part = (min(end, last) - max(start, 0)) / (end - start)
            part = min(part, CUT) if i in ends else part
            least[way] += part
            most[way] += 1
            frames = part * TILE / pixels
            if names[-1:] == [name]:
                legs[-1] = way, legs[-1][1] + frames
                continue
            legs.append((way, frames))
        if name.startswith("step ") or name in ACTIONS:
            names.append(name)
    items = list(truth["items"])
    changes = [
        (items.index(ACTIONS[name].item), ACTIONS[name].change) for name in names if name in ACTIONS
    ]
    return Said(
        tuple(names),
        truth["told"] == len(truth["events"]),
        *(legs[0] if legs else (-1, 0.0)),
        least,
        most,
        float(least.sum() * TILE / pixels),
        pixels,
        tuple(changes),
        _count_returns(truth) if truth["told"] else 0,
    )


def _count_returns(truth) -> int:
    """Counts the tiles that leave the lawful clip's view and come back to it."""
    tile, (h, w) = truth["tile"], truth["view"]
    _, rows, columns = truth["tiles"].shape
    x = truth["corner"][:, :1] + np.arange(columns) * tile
    y = truth["corner"][:, 1:] + np.arange(rows) * tile
    across = np.minimum(x + tile, w) - np.maximum(x, 0)
    down = np.minimum(y + tile, h) - np.maximum(y, 0)
    seen = across[:, None, :] * down[:, :, None] >= MIN_SEEN * (tile / TILE) ** 2
    pixels = np.round(truth["position"] * tile).astype(int)
    cells = (
        (x - (w - tile) // 2 + pixels[:, :1]) // tile,
        (y - (h - tile) // 2 + pixels[:, 1:]) // tile,
    )
    ids = np.where(seen, truth["tiles"].astype(int), -1)
    inside = (across > 0)[:, None, :] & (down > 0)[:, :, None]
    return len(find_changes(ids, inside, cells, np.zeros(len(ids), bool))[1])


def find_changes(
    ids: np.ndarray, inside: np.ndarray, cells: tuple[np.ndarray, np.ndarray], jumps: np.ndarray
) -> tuple[list[Change], list[bool]]:
    """Follows the tiles of the world; after a jump it is another place.

    Args:
      ids: int[t, rows, columns], -1 where a tile is not seen well.
      inside, cells, jumps: as in `builder_tiles.Tiles`.

    Returns:
      The changes, and for each tile that comes back into view whether it is what it was.
    """
    x, y = cells[0] - cells[0].min(), cells[1] - cells[1].min()
    last = np.full((y.max() + 1, x.max() + 1), -1)
    when, left = np.zeros_like(last), np.zeros(last.shape, bool)
    changes, returned = [], []
    for t in range(len(ids)):
        if t and jumps[t - 1]:
            last[:] = -1
        at = np.ix_(y[t], x[t])
        known = (ids[t] >= 0) & (last[at] >= 0)
        changed = known & (ids[t] != last[at])
        left[at] |= inside[t] & (t - when[at] > AWAY_FRAMES)
        away = known & left[at]
        returned += (~changed)[away].tolist()
        for j, i in np.argwhere(changed):
            before, after = TILES[last[at][j, i]], TILES[ids[t, j, i]]
            cell = int(cells[0][t, i]), int(cells[1][t, j])
            changes.append(Change(t, cell, before, after, bool(away[j, i])))
        last[at] = np.where(ids[t] >= 0, ids[t], last[at])
        when[at] = np.where(inside[t], t, when[at])
        left[at] &= ids[t] < 0
    return changes, returned


def explain(changes: Sequence[Change], tiles: Tiles, activity: str) -> list[Change]:
    """Names the action of the activity that explains a change, where there is one."""
    explained = []
    for change in changes:
        position = tiles.positions[change.frame]
        front = position // TILE + WAYS[tiles.facings[change.frame]]
        if not (position % TILE).any() and tuple(front) == change.cell and not change.away:
            names = [name for name in ACTIVITIES[activity] if fits(change, name)]
            change = dataclasses.replace(change, action=names[0] if names else "")
        explained.append(change)
    return explained


def fits(change: Change, action: str) -> bool:
    """Says whether a change is what an action does."""
    return change.before in ACTIONS[action].before and change.after == ACTIONS[action].after


def list_events(
    tiles: Tiles, changes: Sequence[Change], activity: str
) -> Iterator[tuple[str, float]]:
    """Lists steps in one direction, (name, tiles), and actions, (name, 1), in order."""
    heading, walked = "", 0.0
    drinks = find_drinks(tiles) if "drink" in ACTIVITIES[activity] else []
    for t in range(1, len(tiles.positions)):
        move = tiles.moves[t - 1]
        actions = [change.action for change in changes if change.frame == t and change.action]
        actions += ["drink"] * drinks.count(t)
        if move.any():
            way = int((WAYS @ move).argmax())
            name = f"step {list(DIRECTIONS)[way]}"
            if heading and name != heading:
                yield heading, walked
                walked = 0.0
            heading, walked = name, walked + float(np.abs(move).sum()) / TILE
        if actions:
            if heading:
                yield heading, walked
            heading, walked = "", 0.0
            yield from ((name, 1.0) for name in actions)
    if heading:
        yield heading, walked


def find_drinks(tiles: Tiles) -> list[int]:
    """Finds the frames in which the player has drunk."""
    found = []
    for t in range(1, len(tiles.positions)):
        front = tiles.positions[t] // TILE + WAYS[tiles.facings[t]]
        column = np.flatnonzero(tiles.cells[0][t] == front[0])
        row = np.flatnonzero(tiles.cells[1][t] == front[1])
        grown = tiles.amounts.size and tiles.amounts[t, 0] - tiles.amounts[t - 1, 0] == 1
        if grown and len(row) and len(column):
            if tiles.ids[t, row[0], column[0]] == TILES.index("water"):
                found.append(t)
    return found
