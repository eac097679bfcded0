"""Reads Crafter's tiles, the player and the items shown from pixels.

`builder_grid` finds where the tiles of a frame lie. Between two frames the view moves by the
difference of their offsets, give or take a tile: of the moves of at most half a tile the one that
brings the second frame nearest to the first, a longer one only where none of these shows the same
place.

Larger tiles are averaged down to 16 pixels first. All lengths here are in pixels of such frames.
"""

import dataclasses
import itertools

import numpy as np

from sora_jax.evals.worlds.builder_grid import OFFSETS, Grid
from sora_jax.laws.builder import (
    DIRECTIONS,
    MAX_AMOUNT,
    TILE,
    draw_amount,
    load_players,
    measure_tile,
)

CLIP = 48.0  # of 0 to 255: larger differences between frames count as this much
OFF = 24.0  # of 0 to 255: a pixel differs from the frame before
MAX_OFF = 0.4  # share of pixels that may differ; more is another place
FAR = 0.05  # of 0 to 255, a pixel: of equally good moves the shortest is taken


@dataclasses.dataclass(frozen=True)
class Tiles:
    """What the frames of a video show.

    Attributes:
      positions: int[t, 2], of the player in the world, (x, y); after a jump from the same place.
      moves: int[t - 1, 2], of the player from each frame to the next.
      jumps: bool[t - 1], whether the next frame shows another place.
      differences: float[t - 1], mean absolute difference between a frame and the moved next one.
      ids: int[t, rows, columns], of the tiles in view; -1 where too little of a tile is seen.
      seen: pixels [t, rows, columns] of the tile that are seen, of 256.
      cells: two int arrays, the x [t, columns] and y [t, rows] of these tiles in the world.
      distances: root of the mean squared distance [t, rows, columns] to the tile's picture, without
        the tile's rim; nan where too little is seen.
      details: root of the mean squared deviation [t, rows, columns] of the tile's picture from its
        mean colour, over the same pixels.
      inside: bool[t, rows, columns], whether a part of the tile is within the frame.
      contrasts: float[t], slope of the frame's details over those of the tiles' pictures.
      facings: int[t], index of the direction that the player faces.
      players: float[t], root of the mean squared distance to the player's picture.
      amounts: int[t, items], and amount_distances: float[t, items], of the items shown.
    """

    positions: np.ndarray
    moves: np.ndarray
    jumps: np.ndarray
    differences: np.ndarray
    ids: np.ndarray
    seen: np.ndarray
    cells: tuple[np.ndarray, np.ndarray]
    distances: np.ndarray
    details: np.ndarray
    inside: np.ndarray
    contrasts: np.ndarray
    facings: np.ndarray
    players: np.ndarray
    amounts: np.ndarray
    amount_distances: np.ndarray


def read_tiles(video: np.ndarray, items: tuple[str, ...]) -> Tiles | None:
    """Reads uint8[t, h, w, 3] that should show some items; None if no tile fits into a frame."""
    _, h, w, _ = video.shape
    tile = measure_tile(h, w)
    if min(h, w) < 3 * TILE:
        return None
    scale, top, left = tile // TILE, (h - tile) // 2, (w - tile) // 2
    bottom = [(h - tile, left_of_item) for left_of_item in (0, w - tile)[: len(items)]]
    slots = [_reduce(video[:, y : y + tile, x : x + tile], scale) for y, x in bottom]
    counts = np.zeros((h, w), np.float32) + 1
    for y, x in bottom:
        counts[y : y + tile, x : x + tile] = 0
    player = (load_players()[..., 3] > 0).any(0).repeat(scale, 0).repeat(scale, 1)
    counts[top : top + tile, left : left + tile][player] = 0
    rows, columns = slice(top % scale, None), slice(left % scale, None)
    frames = _reduce(video[:, rows, columns], scale)
    counts = _reduce(counts[None, rows, columns, None], scale)[0, ..., 0] == 1
    y, x = top // scale, left // scale
    facings, players = _read_player(frames[:, y : y + TILE, x : x + TILE])
    amounts, amount_distances = _read_amounts(slots, items, len(video))

    grid = Grid(frames, counts, x, y)
    best = grid.find_offsets()
    offsets = np.array(OFFSETS)[best]
    moves, jumps, differences = _read_moves(frames, counts, offsets, facings)
    positions = offsets[0] + np.concatenate([np.zeros((1, 2), int), moves.cumsum(0)])
    return Tiles(
        positions=positions,
        moves=moves,
        jumps=jumps,
        differences=differences,
        facings=facings,
        players=players,
        amounts=amounts,
        amount_distances=amount_distances,
        **grid.match(best, positions),
    )


def _read_moves(frames, counts, offsets, facings):
    """Returns moves, jumps and differences as in `Tiles`."""
    steps = len(frames) - 1
    moves, jumps, differences = np.zeros((steps, 2), int), np.zeros(steps, bool), np.zeros(steps)
    ways = np.array(list(DIRECTIONS.values()))
    for t in range(steps):
        facing = ways[facings[t + 1]]
        dx, dy = (
            {d - TILE, d} if d else {-TILE, 0, TILE}
            for d in ((offsets[t + 1] - offsets[t]) % TILE).tolist()
        )
        candidates = list(itertools.product(dx, dy))
        near = [move for move in candidates if np.abs(move).sum() <= TILE // 2]
        for group in (near, [move for move in candidates if move not in near]):
            ranked = [_rank(frames[t], frames[t + 1], counts, move, facing) for move in group]
            off, _, difference, move = min(ranked, default=(True, 0.0, CLIP, (0, 0)))
            if not off:
                moves[t] = move
                break
        jumps[t], differences[t] = off, difference
    return moves, jumps, differences


def _rank(before, after, counts, move, facing):
    """Returns (whether the place is another, cost, difference, move), to be compared in order."""
    difference, off = _compare(before, after, counts, move)
    far = np.abs(move).sum() - np.sign(np.dot(move, facing))
    return off > MAX_OFF, difference + FAR * far, difference, move


def _compare(before, after, counts, move):
    """Returns the mean difference of two frames when the view moves, and the share that is off."""
    h, w = counts.shape
    dx, dy = move
    new = np.s_[max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)]
    old = np.s_[max(dy, 0) : h - max(-dy, 0), max(dx, 0) : w - max(-dx, 0)]
    both = counts[new] & counts[old]
    difference = np.abs(after[new] - before[old]).mean(-1)[both]
    if not difference.size:
        return CLIP, 1.0
    return float(np.minimum(difference, CLIP).mean()), float((difference > OFF).mean())


def _read_player(squares):
    """Returns the direction that the player faces and the distance to its picture."""
    pictures = load_players().astype(np.float32)
    own = pictures[..., 3] > 200
    squared = ((squares[:, None] - pictures[None, ..., :3]) ** 2).mean(-1)
    distances = np.sqrt((squared * own).sum((2, 3)) / own.sum((1, 2)))
    return distances.argmin(1), distances.min(1)


def _read_amounts(slots, items, frames):
    """Returns how many of each item are shown and the distance to that picture."""
    amounts, distances = np.zeros((2, frames, len(items)))
    for i, (slot, item) in enumerate(zip(slots, items, strict=True)):
        pictures = np.stack([draw_amount(item, n) for n in range(MAX_AMOUNT + 1)])
        squared = ((slot[:, None] - pictures.astype(np.float32)) ** 2).mean((2, 3, 4))
        amounts[:, i], distances[:, i] = squared.argmin(1), np.sqrt(squared.min(1))
    return amounts.astype(int), distances


def _reduce(frames, scale):
    """Averages squares of `scale` pixels of [t, h, w, c]."""
    frames = frames.astype(np.float32)
    if scale == 1:
        return frames
    t, h, w, c = frames.shape
    frames = frames[:, : h // scale * scale, : w // scale * scale]
    return frames.reshape(t, h // scale, scale, w // scale, scale, c).mean((2, 4))
