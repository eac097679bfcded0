"""What the player of the builder does: its map, the rules of its actions, scripts and wandering.

A run is planned and executed tile by tile. A script may lay ground, water, stone or trees where it
needs them before the run begins, on tiles that the player has not touched; a player that wanders
takes the map as it is.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (Crafter has no types, and fills its constants from a file.)

import dataclasses
import functools
import itertools

import numpy as np
from scipy import ndimage

from data_pipelines.worlds import base
from sora_jax.laws.builder import (
    ACTIONS,
    ACTIVITIES,
    DIRECTIONS,
    FRAMES_PER_ACTION,
    LEG_STEPS,
    MAX_AMOUNT,
    OPPOSITE,
    TILES,
    WAIT_FRAMES,
    WALKABLE,
    list_items,
)

TERRAIN_SIDE = 32  # tiles of a generated map
TERRAIN_COUNT = 6  # maps; generating one takes a third of a second, so they are shared and turned
MAP_SIDE = 128  # tiles of a run's map: the generated one, mirrored at its edges
MARGIN = 14  # tiles that the player keeps from the edge of the run's map
CLIP_FRAMES = 65  # longest clip
WANDER_FRAMES = 260
GROUND_SHARE = 0.6  # of the tiles about the start, as near as it can be found
ID = {name: i for i, name in enumerate(TILES)}


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that the player does: a step, an action, a turn or a wait.

    It begins in frame `start`; frames start + 1 to `end` show it. `name` is 'step left', 'turn
    left', 'wait' or one of `laws.builder.ACTIONS`.
    """

    name: str
    start: int
    end: int


class Run:
    """A player on a map, and all that it did, frame by frame.

    Attributes:
      initial: ids uint8[y, x] of the map when the run begins.
      events: in order, without gaps.
      changes: (frame, x, y, id): the tile has this id from this frame on.
      positions: (x, y) in tiles of each frame; facings: index of the direction.
      amounts: item: how many the player has in each frame.
    """

    def __init__(self, tiles, start, ground, speed, amounts):
        self.initial, self._now = tiles, tiles.copy()
        self.events: list[Event] = []
        self.changes: list[tuple[int, int, int, int]] = []
        self._ground, self._speed = ground, speed
        self._at, self._facing = start, "down"
        self._have = dict(amounts)
        self._touched = {start}  # tiles that were walked on or changed, or are meant to be
        self._fixed: set[tuple[int, int]] = set()  # tiles on which the player will not walk
        self.positions, self.facings = [start], [list(DIRECTIONS).index("down")]
        self.amounts = {item: [have] for item, have in self._have.items()}
        self._lay(start, ground)

    @property
    def frame(self) -> int:
        """The last frame so far."""
        return len(self.positions) - 1

    @property
    def front(self) -> tuple[int, int]:
        """The tile in front of the player."""
        return self._beside(self._facing)

    def look(self, direction: str) -> str:
        """Names the tile on one side of the player."""
        x, y = self._beside(direction)
        return TILES[self._now[y, x]]

    def step(self, direction: str, lay: bool = True) -> bool:
        """Walks one tile if it can; `lay` makes ground of an untouched tile."""
        x, y = tile = self._beside(direction)
        if tile in self._fixed or not MARGIN <= min(x, y) <= max(x, y) < MAP_SIDE - MARGIN:
            return False
        if TILES[self._now[y, x]] != self._ground:
            if not lay or tile in self._touched:
                return False
            self._lay(tile, self._ground)
        self._facing = direction
        dx, dy = DIRECTIONS[direction]
        (x, y), n = self._at, self._speed
        moved = [(x + dx * k / n, y + dy * k / n) for k in range(1, n + 1)]
        self._at = tile
        self._touched.add(tile)
        self._record(f"step {direction}", moved)
        return True

    def turn(self, direction: str) -> None:
        """Turns on the spot."""
        if self._facing != direction:
            self._facing = direction
            self._record(f"turn {direction}", [self._at] * FRAMES_PER_ACTION)

    def wait(self, frames: int) -> None:
        """Does nothing."""
        self._record("wait", [self._at] * frames)

    def act(self, name: str, lay: bool = True) -> bool:
        """Acts on the tile in front by the rules; `lay` makes of an untouched tile what it needs.

        At least one of each item is left, so that its amount can be read.
        """
        action, tile = ACTIONS[name], self.front
        have = self._have[action.item] + action.change
        if not 1 <= have <= MAX_AMOUNT:
            return False
        x, y = tile
        places = action.change < 0
        wanted = (self._ground,) if places else action.before
        if TILES[self._now[y, x]] not in wanted:
            if not lay or tile in self._touched:
                return False
            self._lay(tile, wanted[0])
        if TILES[self._now[y, x]] not in action.before:
            return False
        self._touched.add(tile)
        self._fixed.add(tile)
        self._have[action.item] = have
        if self._now[y, x] != ID[action.after]:
            self._now[y, x] = ID[action.after]
            self.changes.append((self.frame + 1, x, y, ID[action.after]))
        self._record(name, [self._at] * FRAMES_PER_ACTION)
        return True

    def _beside(self, direction):
        dx, dy = DIRECTIONS[direction]
        return self._at[0] + dx, self._at[1] + dy

    def _lay(self, tile, name):
        x, y = tile
        self.initial[y, x] = self._now[y, x] = ID[name]

    def _record(self, name, positions):
        self.events.append(Event(name, self.frame, self.frame + len(positions)))
        self.positions += positions
        self.facings += [list(DIRECTIONS).index(self._facing)] * len(positions)
        for item, have in self._have.items():
            self.amounts[item] += [have] * len(positions)


def run_script(rng, direction, activity, ground, speed, legs) -> tuple[Run, int]:
    """Runs a script: legs of some steps, and an action of the activity after most of them.

    Args:
      rng: random generator of the clip.
      direction: of the first leg in the clip.
      activity: one of `ACTIVITIES`, not 'wander'.
      ground: that the player walks on.
      speed: frames of a step.
      legs: fewest and most steps of a leg.

    Returns:
      The run, and the first frame of the clip: within the first leg, two to five frames before the
      first action.
    """
    run = _start(rng, activity, ground, speed)
    name = next(iter(ACTIVITIES[activity]), None)
    sides = ("up", "down") if direction in ("left", "right") else ("left", "right")
    for _ in range(int(rng.integers(1, 5))):
        run.step(base.pick(rng, sides))
    begin = run.frame
    for _ in range(max(2, _draw_steps(rng, legs))):
        run.step(direction)
    first = run.frame - int(rng.integers(2, 6)) if name else begin + int(rng.integers(1, 5))
    acts = name is not None and run.act(name)
    heading = direction
    while run.frame < first + CLIP_FRAMES + 1:
        before, chance = run.frame, rng.random()
        if chance < 0.15 and legs == LEG_STEPS:
            run.wait(int(rng.integers(WAIT_FRAMES[0], WAIT_FRAMES[1] + 1)))
        if chance < 0.5 and legs != (1, 1):  # goes away and comes back
            steps = max(3, _draw_steps(rng, legs))
            moved = sum(run.step(OPPOSITE[heading]) for _ in range(steps))
            for _ in range(moved):
                run.step(heading)
        else:
            sides = [way for way in DIRECTIONS if way not in (heading, OPPOSITE[heading])]
            heading = base.pick(rng, sides)
            moved = sum(run.step(heading) for _ in range(_draw_steps(rng, legs)))
            if moved and acts and rng.random() < 0.8:
                run.act(name)
        if run.frame == before and not run.step(OPPOSITE[heading]):
            run.wait(WAIT_FRAMES[0])
    return run, first


def run_wandering(rng, direction, ground, speed) -> tuple[Run, int]:
    """Runs a player that walks at random and, now and then, acts on what is in front of it.

    Returns:
      The run, and the first frame of the clip: the player walks in `direction` and then acts, where
      that occurs, or else just walks in it.
    """
    names = ACTIVITIES["wander"]
    while True:
        run = _start(rng, "wander", ground, speed)
        heading = base.pick(rng, tuple(DIRECTIONS))
        while run.frame < WANDER_FRAMES:
            if rng.random() < 0.25:
                heading = base.pick(rng, tuple(DIRECTIONS))
            if not run.step(heading, lay=False):
                run.turn(heading)
            if rng.random() < 0.4 or run.look(heading) not in WALKABLE:
                name = names[int(rng.integers(len(names)))]
                run.act(name, lay=False)
            if run.look(heading) not in WALKABLE:
                heading = base.pick(rng, tuple(DIRECTIONS))
        acted = [
            after.start - int(rng.integers(2, min(speed, 4) + 1))
            for before, after in itertools.pairwise(run.events)
            if before.name == f"step {direction}" and after.name in names
        ]
        acted = [frame for frame in acted if frame + CLIP_FRAMES < run.frame]
        if acted:
            return run, base.pick(rng, acted)


def _draw_steps(rng, legs) -> int:
    return int(rng.integers(legs[0], legs[1] + 1))


def _start(rng, activity, ground, speed) -> Run:
    """Puts a player with some items where there is some, but not only, of the ground."""
    source, corner = int(rng.integers(TERRAIN_COUNT)), rng.integers(2 * TERRAIN_SIDE, size=2)
    terrain = _turn(_make_terrain(source), int(rng.integers(8)))
    if ground == "sand":
        terrain = _MADE_DESERT[terrain]
    y, x = ((np.arange(MAP_SIDE) + offset) % (2 * TERRAIN_SIDE) for offset in corner)
    y, x = (np.minimum(side, 2 * TERRAIN_SIDE - 1 - side) for side in (y, x))
    tiles = terrain[y][:, x]
    low, high = MAP_SIDE // 2 - 8, MAP_SIDE // 2 + 8
    share = ndimage.uniform_filter((tiles == ID[ground])[low:high, low:high].astype(float), 5)
    liking = rng.uniform(0, 0.3, share.shape) - np.abs(share - GROUND_SHARE)
    liking[tiles[low:high, low:high] != ID[ground]] -= 9
    best = int(np.argmax(liking))
    start = (low + best % (high - low), low + best // (high - low))
    amounts = {}
    for item in list_items(activity):
        if activity == "wander":
            amounts[item] = int(rng.integers(4, 8))
        elif ACTIONS[ACTIVITIES[activity][0]].change > 0:
            amounts[item] = int(rng.integers(1, 4))
        else:
            amounts[item] = int(rng.integers(7, MAX_AMOUNT + 1))
    return Run(tiles, start, ground, speed, amounts)


_MADE_DESERT = np.arange(len(TILES), dtype=np.uint8)
_MADE_DESERT[[ID["grass"], ID["cow"]]] = ID["sand"], ID["desert cow"]


def _turn(terrain, way):
    terrain = np.rot90(terrain, way % 4)
    return terrain.T if way >= 4 else terrain


@functools.lru_cache(TERRAIN_COUNT)
def _make_terrain(index: int) -> np.ndarray:
    """Generates the ids [y, x] of one map by Crafter; its cows stand still, lava is water."""
    from crafter import constants, engine, objects, worldgen

    world = engine.World((TERRAIN_SIDE, TERRAIN_SIDE), constants.materials, (12, 12))
    world.reset(seed=1000 + index)
    worldgen.generate_world(world, objects.Player(world, (2, 2)))  # grass grows around it
    names = {**world._mat_names, world._mat_ids["lava"]: "water"}
    terrain = np.vectorize(lambda i: ID[names[i]], otypes=[np.uint8])(world._mat_map)
    for thing in world.objects:
        if isinstance(thing, objects.Cow):
            terrain[tuple(thing.pos)] = ID["cow"]
    return terrain.T
