"""Laws of the builder: Crafter's tiles, actions and pictures, and how fast its player walks.

Positions are (x, y) in tiles, x to the right and y down; the player stands on tile (x, y) where
both are whole. The view is centred on the player. Pictures are Crafter's own (Danijar Hafner, MIT),
of 16 pixels; the package has to be installed (the extra `worlds`).

A frame with a short side of n pixels shows tiles of 16 max(1, floor(n / 64)) pixels: twice the
pixels show the same tiles, larger canvases between show more of them, and at least 3 x 3 tiles fit
on 48 x 48 pixels.
"""

import dataclasses
import functools
import importlib.util
import pathlib

import numpy as np
from PIL import Image

TILE = 16  # pixels of Crafter's textures
TILES = (  # what a tile can be; its id is the index
    "water",
    "grass",
    "stone",
    "path",
    "sand",
    "tree",
    "coal",
    "iron",
    "diamond",
    "table",
    "sapling",
    "cow",  # stands on grass
    "desert cow",  # a cow on sand
)
THINGS = ("stone", "table", "sapling")  # what a player can place
WALKABLE = ("grass", "sand", "path")
GROUNDS = ("grass", "sand")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
FRAMES_PER_STEP = {"walks": 4, "runs": 2, "creeps": 8}  # frames of a step of one tile
LEG_STEPS = (2, 4)  # tiles walked in one direction between two actions, both included
FRAMES_PER_ACTION = 2  # what is placed or collected changes in the first of them
WAIT_FRAMES = (3, 5)  # a pause, both included
OUTSIDE = {  # beyond training: (speed, steps of a leg)
    "fast": ("runs", (3, 4)),
    "slow": ("creeps", (2, 3)),
    "long": ("walks", (6, 9)),
    "many": ("walks", (1, 1)),  # an action after each step, four times as many placed things
}
MAX_AMOUNT = 9  # of an item


@dataclasses.dataclass(frozen=True)
class Action:
    """What the player does to the tile in front of it, by Crafter's rules.

    Attributes:
      crafter: name of Crafter's action.
      words: what a caption says.
      item, change: the item of the inventory that it changes, and by how many.
      before: tiles to which it can be done.
      after: tile that is there afterwards.
    """

    crafter: str
    words: str
    item: str
    change: int
    before: tuple[str, ...]
    after: str


ACTIONS = {
    "place stone": Action(
        "place_stone", "places a stone", "stone", -1, ("grass", "sand", "path", "water"), "stone"
    ),
    "place table": Action("place_table", "places a table", "wood", -2, WALKABLE, "table"),
    "plant sapling": Action(
        "place_plant", "plants a sapling", "sapling", -1, ("grass",), "sapling"
    ),
    "collect stone": Action("do", "collects a stone", "stone", 1, ("stone",), "path"),
    "collect wood": Action("do", "cuts down a tree", "wood", 1, ("tree",), "grass"),
    "drink": Action("do", "drinks water", "drink", 1, ("water",), "water"),
}
ACTIVITIES = {  # what a clip is about: the actions that occur in it
    "walk": (),
    "stone": ("place stone",),
    "table": ("place table",),
    "sapling": ("plant sapling",),
    "mine": ("collect stone",),
    "wood": ("collect wood",),
    "drink": ("drink",),
    "wander": ("place stone", "collect stone", "place table", "collect wood"),
}


def list_items(activity: str) -> tuple[str, ...]:
    """Lists the items that the frame shows, the first at the bottom left, the second right."""
    return tuple(dict.fromkeys(ACTIONS[name].item for name in ACTIVITIES[activity]))


def measure_tile(height: int, width: int) -> int:
    """Returns the side of a tile in pixels on a canvas of a size in pixels."""
    return TILE * max(1, min(height, width) // 64)


def lay_tiles(length: int, corner: int, tile: int, position: np.ndarray):
    """Says where tiles lie along one side of the frame.

    Args:
      length: pixels of the side.
      corner: where the player's tile begins, in pixels.
      tile: pixels of a tile.
      position: positions [t] of the player along this side, in pixels (tiles times `tile`).

    Returns:
      The pixel [t], -tile to -1, where the first tile begins, its coordinate [t] in tiles, and the
      number of tiles that cover the side.
    """
    first = (corner - position) % tile - tile
    return first, (first - corner + position) // tile, length // tile + 2


@functools.lru_cache(1)
def load_tiles() -> np.ndarray:
    """Loads the pictures uint8[tile id, 16, 16, 3] of `TILES`."""
    textures = {"sapling": "plant-young"}
    pictures = []
    for name in TILES:
        if name.endswith("cow"):
            ground = _load("sand" if name.startswith("desert") else "grass")[..., :3]
            pictures.append(blend(ground, _load("cow")))
        else:
            pictures.append(_load(textures.get(name, name))[..., :3])
    return np.stack(pictures)


@functools.lru_cache(1)
def load_players() -> np.ndarray:
    """Loads the pictures uint8[direction, 16, 16, 4], RGB and opacity, of the player."""
    return np.stack([_load(f"player-{name}") for name in DIRECTIONS])


@functools.lru_cache(100)
def draw_amount(item: str, amount: int) -> np.ndarray:
    """Draws uint8[16, 16, 3]: an item's icon and how many there are, 0 to 9, on black."""
    picture = np.zeros((TILE, TILE, 3), np.uint8)
    if amount:
        picture[:10, :10] = blend(picture[:10, :10], _load(item, 10))
        picture[6:, 6:] = blend(picture[6:, 6:], _load(str(amount), 10, Image.Resampling.BOX))
    return picture


def blend(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Lays a picture [..., 4] with opacity over one [..., 3], both of 0 to 255."""
    opacity = above[..., 3:].astype(np.float32) / 255
    return (below + opacity * (above[..., :3].astype(np.float32) - below)).astype(np.uint8)


def _load(name: str, side: int = TILE, how: Image.Resampling = Image.Resampling.NEAREST):
    spec = importlib.util.find_spec("crafter")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the builder needs Crafter's pictures; install the package with its extra 'worlds'"
        )
    image = Image.open(pathlib.Path(spec.origin).parent / "assets" / f"{name}.png")
    return np.asarray(image.convert("RGBA").resize((side, side), how))
