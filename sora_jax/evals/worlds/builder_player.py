"""Measures of the builder's player: where it walks, how fast, in which order it acts.

A score that does not apply to a clip, as truth has it, is nan; where nothing is shown it is 0.
"""

import math

import numpy as np

from sora_jax.evals.worlds.base import grade
from sora_jax.evals.worlds.builder_events import WAYS
from sora_jax.evals.worlds.builder_reading import (
    Reading,
    is_still,
    rate_walks,
    trim_events,
)
from sora_jax.laws.builder import DIRECTIONS, FRAMES_PER_STEP, TILE, TILES

PLAYER_DISTANCE = 50.0  # of 0 to 255; 38 at most after a blur of 0.7 pixels, 67 after one of 3
LOOSE = 0.5  # tiles: an error of the position that predicts nothing
MIN_MOVING = 2  # frames of a walk that is judged
MAX_MOVE = TILE / min(FRAMES_PER_STEP.values())  # pixels between two frames, of 16 a tile


def measure_ground(reading: Reading) -> float:
    tiles = reading.tiles
    if tiles is None:
        return 0.0
    x, y = (np.round(tiles.positions / TILE).astype(int)[:, i, None] for i in (0, 1))
    column, row = (tiles.cells[0] == x).argmax(1), (tiles.cells[1] == y).argmax(1)
    below = tiles.ids[np.arange(len(x)), row, column]
    right = below == TILES.index(reading.expected.attributes["ground"])
    return float(right[reading.new].mean())


def measure_player_present(reading: Reading) -> float:
    if reading.tiles is None:
        return 0.0
    return float((reading.tiles.players[reading.new] < PLAYER_DISTANCE).mean())


def measure_direction(reading: Reading) -> float:
    tiles, said = reading.tiles, reading.said
    if not is_still(reading) and said.leg < MIN_MOVING:
        return math.nan
    if tiles is None:
        return 0.0
    if is_still(reading):
        faces = tiles.facings[0] == reading.expected.truth["facing"][0]
        return float(faces and tiles.players[0] < PLAYER_DISTANCE)
    moves = tiles.moves[tiles.moves.any(1)][: math.floor(said.leg)]
    along = (np.sign(moves) == WAYS[said.way]).all(1).sum() / math.floor(said.leg)
    return grade(1 - float(along), 0.1, 0.5)


def measure_order(reading: Reading) -> float:
    read, said = [name for name, _ in trim_events(reading)], reading.said.names
    if not said:
        return math.nan
    row = list(range(len(said) + 1))  # edit distances (Levenshtein)
    for i, name in enumerate(read):
        row, above = [i + 1], row
        for j, other in enumerate(said):
            row.append(min(row[j] + 1, above[j + 1] + 1, above[j] + (name != other)))
    return max(0.0, 1 - 2 * row[-1] / max(len(read), len(said)))


def measure_steps(reading: Reading) -> float:
    said = reading.said
    if not said.least.any():
        return math.nan
    walked = np.zeros(len(DIRECTIONS))
    for name, amount in trim_events(reading):
        if name.startswith("step "):
            walked[list(DIRECTIONS).index(name.removeprefix("step "))] += amount
    over = np.maximum(walked - said.most, 0) if said.whole else np.zeros(len(walked))
    missed = np.maximum(said.least - walked, 0) + over
    return max(0.0, 1 - 2 * float(missed.sum() / said.least.sum()))


def measure_speed_law(reading: Reading) -> float:
    if reading.said.moving < MIN_MOVING:
        return math.nan
    if reading.tiles is None:
        return 0.0
    moving, enough = rate_walks(reading)
    right = np.abs(moving - reading.said.pixels) <= max(0.5, 0.2 * reading.said.pixels)
    return float(right.mean()) * enough if len(moving) else 0.0


def measure_smooth(reading: Reading) -> float:
    if reading.said.moving < MIN_MOVING:
        return math.nan
    tiles = reading.tiles
    if tiles is None:
        return 0.0
    distances = np.abs(tiles.moves).sum(1)
    stalled = (distances == 0) & (tiles.positions[:-1] % TILE != 0).any(1)
    leaps = distances > MAX_MOVE
    wrong = (stalled | leaps | tiles.jumps).sum()
    good = ((distances > 0) & ~leaps).sum()
    return min(1.0, float(good) / reading.said.moving) * float(max(0, 1 - 3 * wrong / max(good, 1)))


def measure_facing(reading: Reading) -> float:
    if reading.said.moving < MIN_MOVING:
        return math.nan
    tiles = reading.tiles
    if tiles is None:
        return 0.0
    walking = tiles.moves.any(1)
    along = (WAYS[tiles.facings[1:]] * np.sign(tiles.moves)).sum(1) == 1
    present = tiles.players[1:] < PLAYER_DISTANCE
    _, enough = rate_walks(reading)
    return float((along & present)[walking].mean()) * enough if walking.any() else 0.0


def measure_prediction(reading: Reading) -> float:
    tiles, truth, given = reading.tiles, reading.expected.truth, reading.expected.given
    if tiles is None:
        return 0.0
    positions = truth["position"] * TILE
    start = np.round(positions[given - 1] - tiles.positions[given - 1]).astype(int)
    h, w = truth["view"]
    scale = truth["tile"] // TILE
    values = []
    for t in range(given, len(positions)):
        error = np.abs(tiles.positions[t] + start - positions[t]).sum() / TILE
        corner = truth["corner"][t] - ((w - scale * TILE) // 2, (h - scale * TILE) // 2)
        column, row = np.round((corner / scale + positions[t]) / TILE).astype(int)
        i = tiles.cells[1][t] + start[1] // TILE - row
        j = tiles.cells[0][t] + start[0] // TILE - column
        rows, columns = truth["tiles"][t].shape
        inside = ((i >= 0) & (i < rows))[:, None] & ((j >= 0) & (j < columns))[None]
        wanted = truth["tiles"][t][np.ix_(i.clip(0, rows - 1), j.clip(0, columns - 1))]
        seen = tiles.ids[t] >= 0
        same = float((inside & seen & (wanted == tiles.ids[t])).sum() / max(seen.sum(), 1))
        values.append(max(0.0, 1 - error / LOOSE) * same * reading.legal[t])
    return float(np.mean(values))
