"""Draws the builder's run on a canvas, lawful or with one law broken."""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.laws.builder import (
    DIRECTIONS,
    TILES,
    blend,
    draw_amount,
    lay_tiles,
    load_players,
    load_tiles,
)

BREAK_FRAME = 6  # laws hold in the frames before
VANISH_FRAMES = 2  # placed things stay for so long when they vanish
MELT_TILES = 0.2  # deviation of the blur that melts the picture


@dataclasses.dataclass
class Scene:
    """What a clip shows.

    Attributes:
      tiles: ids uint8[y, x] of the map in the first frame.
      changes: (frame, x, y, id) after the first frame, in order.
      positions: float64[t, 2] (x, y) in tiles; facings: int[t], index of the direction.
      amounts: int[t, items]; items: their names.
    """

    tiles: np.ndarray
    changes: list[tuple[int, int, int, int]]
    positions: np.ndarray
    facings: np.ndarray
    amounts: np.ndarray
    items: tuple[str, ...]


def draw_scene(scene: Scene, height: int, width: int, tile: int) -> np.ndarray:
    """Draws video uint8[t, height, width, 3] with tiles of `tile` pixels."""
    scale = tile // load_tiles().shape[1]
    top, left = (height - tile) // 2, (width - tile) // 2
    pixels = np.round(scene.positions * tile).astype(int)
    corners = pixels - (left, top)  # of the view, from the map's corner, in pixels
    low = corners.min(0) // tile
    high = (corners.max(0) + (width, height)) // tile + 1
    pictures = enlarge(load_tiles(), scale)
    region = pictures[scene.tiles[low[1] : high[1], low[0] : high[0]]]
    rows, columns = region.shape[:2]
    region = region.transpose(0, 2, 1, 3, 4).reshape(rows * tile, columns * tile, 3)
    video = np.empty((len(pixels), height, width, 3), np.uint8)
    waiting = list(scene.changes)
    for t, (x, y) in enumerate(corners - low * tile):
        while waiting and waiting[0][0] <= t:
            _, column, row, new = waiting.pop(0)
            column, row = (column - low[0]) * tile, (row - low[1]) * tile
            if 0 <= column < region.shape[1] and 0 <= row < region.shape[0]:
                region[row : row + tile, column : column + tile] = pictures[new]
        video[t] = region[y : y + height, x : x + width]
    at = np.s_[:, top : top + tile, left : left + tile]
    video[at] = blend(video[at], enlarge(load_players(), scale)[scene.facings])
    for i, item in enumerate(scene.items):
        slots = np.stack([draw_amount(item, int(amount)) for amount in scene.amounts[:, i]])
        where = np.s_[:tile] if i == 0 else np.s_[width - tile :]
        video[:, height - tile :, where] = enlarge(slots, scale)
    return video


def enlarge(pictures: np.ndarray, scale: int) -> np.ndarray:
    """Repeats the pixels of pictures [n, h, w, c]."""
    return pictures.repeat(scale, 1).repeat(scale, 2) if scale > 1 else pictures


def label_view(scene: Scene, height: int, width: int, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids uint8[t, rows, columns] of the tiles in view and their corner int[t, 2], (x, y).

    The corner is the pixel where the first tile begins, -tile to -1.
    """
    frames, tiles = len(scene.positions), scene.tiles.copy()
    pixels = np.round(scene.positions * tile).astype(int)
    x, column, columns = lay_tiles(width, (width - tile) // 2, tile, pixels[:, 0])
    y, row, rows = lay_tiles(height, (height - tile) // 2, tile, pixels[:, 1])
    ids = np.empty((frames, rows, columns), np.uint8)
    waiting = list(scene.changes)
    for t in range(frames):
        while waiting and waiting[0][0] <= t:
            _, i, j, new = waiting.pop(0)
            tiles[j, i] = new
        ids[t] = tiles[row[t] : row[t] + rows, column[t] : column[t] + columns]
    return ids, np.stack([x, y], 1)


def break_law(scene: Scene, law: str, rng: np.random.Generator, reach: np.ndarray) -> Scene:
    """Returns the scene with a law broken; see `builder.BROKEN`. `reach` is half the view, tiles.

    Laws of the picture, 'melts' and 'flickers', are broken by `break_picture`.
    """
    frames, changes = len(scene.positions), list(scene.changes)
    if law == "placed_vanishes":
        tiles = scene.tiles.copy()
        for t, x, y, new in scene.changes:
            changes.append((t + VANISH_FRAMES, x, y, int(tiles[y, x])))
            tiles[y, x] = new
    elif law == "action_ignored":
        amounts = np.repeat(scene.amounts[:1], frames, 0)
        return dataclasses.replace(scene, changes=[], amounts=amounts)
    elif law in ("tile_changes", "appears"):
        changes += _change_beside(scene, law, rng)
    elif law == "forgets":
        changes += _change_unseen(scene, rng, reach)
    elif law == "teleport":
        return dataclasses.replace(scene, positions=_teleport(scene, rng))
    elif law == "moonwalk":
        return dataclasses.replace(scene, facings=scene.facings ^ 1)
    elif law == "counter_stuck":
        return dataclasses.replace(scene, amounts=np.repeat(scene.amounts[:1], frames, 0))
    elif law == "drags":  # at half the speed
        late = np.arange(frames) / 2
        ahead = np.ceil(late).astype(int)
        positions = (scene.positions[late.astype(int)] + scene.positions[ahead]) / 2
        changes = [(2 * t, x, y, new) for t, x, y, new in changes]
        facings, amounts = scene.facings[ahead], scene.amounts[late.astype(int)]
        return dataclasses.replace(
            scene, positions=positions, changes=changes, facings=facings, amounts=amounts
        )
    elif law == "jumps":  # a whole tile at once
        return dataclasses.replace(scene, positions=np.floor(scene.positions))
    changes.sort(key=lambda change: change[0])
    return dataclasses.replace(scene, changes=changes)


def break_picture(video: np.ndarray, law: str, rng: np.random.Generator, tile: int) -> np.ndarray:
    """Returns the video with a law of the picture broken."""
    if law == "melts":
        return ndimage.gaussian_filter(video, (0, MELT_TILES * tile, MELT_TILES * tile, 0))
    if law == "flickers":
        gain = rng.uniform(0.7, 1.3, (len(video), 1, 1, 1))
        return np.clip(video * gain, 0, 255).astype(np.uint8)
    return video


def _change_beside(scene, law, rng):
    """Changes tiles beside the player, once or every five frames, on no tile that it steps on."""
    walked = {(int(x), int(y)) for p in scene.positions for x, y in (np.floor(p), np.ceil(p))}
    changed = {(x, y) for _, x, y, _ in scene.changes}
    found = []
    for t in range(BREAK_FRAME, len(scene.positions), 5):
        x, y = np.round(scene.positions[t]).astype(int)
        ahead = DIRECTIONS[list(DIRECTIONS)[scene.facings[t]]]
        beside = [(x + dx, y + dy) for dx, dy in DIRECTIONS.values() if (dx, dy) != ahead]
        free = [tile for tile in beside if tile not in walked | changed]
        if free:
            i, j = free[int(rng.integers(len(free)))]
            new = TILES.index("table") if law == "appears" else _other(scene.tiles[j, i], rng)
            found.append((t, i, j, new))
            changed.add((i, j))
    return found


def _change_unseen(scene, rng, reach):
    """Changes every tile that leaves the view, while it is out of sight."""
    y, x = np.indices(scene.tiles.shape)
    seen = np.zeros(scene.tiles.shape, bool)
    found = []
    for t, (px, py) in enumerate(scene.positions):
        shown = (np.abs(x - px) < reach[0] + 0.5) & (np.abs(y - py) < reach[1] + 0.5)
        for j, i in np.argwhere(seen & ~shown):
            found.append((t, int(i), int(j), _other(scene.tiles[j, i], rng)))
        seen = shown
    return found


def _teleport(scene, rng):
    """Moves the player, from one frame on, to where the map differs most from where it was."""
    side = len(scene.tiles)
    here = np.round(scene.positions[min(BREAK_FRAME, len(scene.positions) - 1)]).astype(int)
    around = scene.tiles[here[1] - 2 : here[1] + 3, here[0] - 2 : here[0] + 3]
    best, most = np.zeros(2), -1
    low, high = scene.positions.min(0), scene.positions.max(0)
    for _ in range(40):
        shift = rng.integers(-12, 13, 2)
        if (low + shift < 13).any() or (high + shift > side - 14).any():
            continue
        x, y = here + shift
        differs = (scene.tiles[y - 2 : y + 3, x - 2 : x + 3] != around).sum()
        if np.abs(shift).max() > 2 and differs > most:
            best, most = shift, differs
    late = np.arange(len(scene.positions)) >= BREAK_FRAME
    return scene.positions + late[:, None] * best


def _other(tile, rng):
    """Returns an id of terrain that is none of the tile's."""
    kinds = [i for i, name in enumerate(TILES[:9]) if i != tile and name != "path"]
    return kinds[int(rng.integers(len(kinds)))]
