"""A player walks and builds on a grid of tiles, seen from above: Crafter's world by a script.

Crafter (Danijar Hafner, MIT) gives the terrain, the rules, the cows and the textures. Its own
`Env.step` is left out: it would make night fall, spawn zombies and draw an inventory strip.
Each action takes two frames. Tiles have 16 pixels (8 on canvases below 48 pixels) and start at
the top left corner; what does not fit at the bottom and right is cut.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (Crafter has no types, and fills its constants from a file.)

import functools

import numpy as np

from data_pipelines.worlds import base

NAME = "builder"
NEEDS_GL = False
LICENCE = "MIT (Crafter, Danijar Hafner)"

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
ACTIVITIES = {  # attribute: (Crafter's action, the words for it)
    "walk": (None, ""),
    "stone": ("place_stone", "places stone"),
    "table": ("place_table", "places a table"),
    "sapling": ("place_plant", "plants a sapling"),
}
MAP_SIDE = 32  # tiles
MARGIN = 4  # tiles between a script and the edge of the map; the view never reaches over it
TERRAIN_COUNT = 8  # different maps; generating one takes a third of a second, so they are shared
FRAMES_PER_ACTION = 2
MAX_PLACED = 4  # things placed in a clip: the wood in the inventory makes four tables
GROUNDS = ("grass", "sand")


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 4 of the 16 pairs of first direction and activity out of training."""
    return _is_held_out_pair(attributes["direction"], attributes["activity"])


def _is_held_out_pair(direction: str, activity: str) -> bool:
    return list(DIRECTIONS).index(direction) == list(ACTIVITIES).index(activity)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, per frame t:

    action[t] that led to the frame ('noop' while one lasts), player[t, 2] (x, y) in tiles,
    semantic[t, rows, columns] ids of `names`, inventory[t] as dicts of what is not zero.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request)
    pairs = base.allowed_pairs(DIRECTIONS, ACTIVITIES, _is_held_out_pair, request.held_out)
    direction, activity = base.pick(rng, pairs)
    ground = "grass" if activity == "sapling" else base.pick(rng, GROUNDS)  # where it grows
    still = t == 1
    script = _write_script(rng, direction, activity, 2 if still else t // FRAMES_PER_ACTION)
    world, player, path = _start_world(rng, ground, script)
    player.facing = DIRECTIONS[direction]
    if still and ACTIVITIES[activity][0]:  # an image shows what has been placed
        _act(world, player, ACTIVITIES[activity][0], path)

    tile = 16 if min(h, w) >= 48 else 8
    grid = np.array([-(-w // tile), -(-h // tile)])
    look = _make_camera(world, grid)
    names = [name or "none" for name in world._mat_names.values()] + ["player", "cow", "plant"]
    video, actions, positions, semantic, inventory = [], [], [], [], []
    for i in range(t):
        step, rest = divmod(i - 1, FRAMES_PER_ACTION)
        action = script[step] if i and not rest else "noop"
        _act(world, player, action, path)
        picture = look(player, np.array([tile, tile]))
        video.append(np.asarray(picture, np.uint8).transpose(1, 0, 2)[:h, :w])
        actions.append(action)
        positions.append(player.pos.copy())
        semantic.append(_label_tiles(world, player, grid, names))
        inventory.append({k: int(v) for k, v in player.inventory.items() if v})

    words = _narrate(script)
    attributes = {"direction": direction, "activity": activity, "ground": ground}
    truth = {
        "action": actions,
        "player": np.array(positions, np.int16),
        "semantic": np.stack(semantic),
        "names": names,
        "inventory": inventory,
        "tile": tile,
    }
    captions = _write_captions(
        rng, words, attributes, semantic[0], names, base.name_view(h, w), still
    )
    return base.Clip(np.stack(video), base.FPS, captions, truth, attributes)


@functools.lru_cache(TERRAIN_COUNT)
def _make_terrain(index: int) -> np.ndarray:
    """Generates the material ids [MAP_SIDE, MAP_SIDE] of one map."""
    from crafter import constants, engine, objects, worldgen

    world = engine.World((MAP_SIDE, MAP_SIDE), constants.materials, (12, 12))
    world.reset(seed=1000 + index)
    corner = objects.Player(world, (2, 2))  # grass grows around it; the rest is varied
    worldgen.generate_world(world, corner)
    terrain = world._mat_map.copy()
    terrain[terrain == world._mat_ids["lava"]] = world._mat_ids["water"]
    return terrain


@functools.lru_cache(1)
def _load_textures():
    from crafter import constants, engine

    return engine.Textures(constants.root / "assets")


def _make_camera(world, grid):
    from crafter import engine

    return engine.LocalView(world, _load_textures(), grid)


def _start_world(rng, ground, script):
    """Returns a world in daylight, a player on the ground, and the tiles that the script needs.

    The start is where most of these tiles can be walked on; the others are laid with the ground.
    """
    from crafter import constants, engine, objects

    world = engine.World((MAP_SIDE, MAP_SIDE), constants.materials, (12, 12))
    world.reset(seed=int(rng.integers(2**31)))
    world.daylight = 1.0
    world._mat_map[:] = _make_terrain(int(rng.integers(TERRAIN_COUNT)))
    position = facing = np.zeros(2, int)
    needed = {(0, 0)}
    for action in script:
        if action.startswith("move_"):
            facing = np.array(DIRECTIONS[action.removeprefix("move_")])
            position = position + facing
        tile = position if action.startswith("move_") else position + facing
        needed.add(tuple(tile.tolist()))

    allowed = (ground,) if "place_plant" in script else GROUNDS  # saplings grow on grass only
    good = np.isin(world._mat_map, [world._mat_ids[name] for name in allowed])
    offsets = np.array(sorted(needed))
    low, high = MARGIN - offsets.min(0), MAP_SIDE - MARGIN - offsets.max(0)
    starts = [(x, y) for x in range(low[0], high[0]) for y in range(low[1], high[1])]
    scores = [
        good[tuple((offsets + start).T)].sum() + 99 * (world[start][0] == ground)
        for start in starts
    ]
    start = starts[int(np.argmax(np.array(scores) + rng.uniform(0, 1.5, len(starts))))]
    path = {tuple((offset + start).tolist()) for offset in offsets}
    for tile in path:
        if not good[tile] or tile == start:
            world[tile] = ground

    player = objects.Player(world, start)
    player.inventory.update(stone=9, wood=9, sapling=9)
    world.add(player)
    for _ in range(3):
        tile = tuple((np.array(start) + rng.integers(-3, 4, 2)).tolist())
        if tile not in path and player.is_free(tile):
            world.add(objects.Cow(world, tile))
    return world, player, path


def _write_script(rng, direction, activity, count) -> list[str]:
    """Draws `count` actions: legs of one to four steps, the first ones followed by the activity.

    Legs alternate between two directions, so that no leg runs into what was placed.
    """
    action = ACTIVITIES[activity][0]
    other = base.pick(rng, ("up", "down") if direction in ("left", "right") else ("left", "right"))
    script: list[str] = []
    while len(script) < count:
        for leg in (direction, other):
            steps = 1 if count <= 2 and action else int(rng.integers(1, 3 if action else 5))
            script += [f"move_{leg}"] * steps
            if action and script.count(action) < MAX_PLACED:
                script.append(action)
    return script[:count]


def _act(world, player, action, path) -> None:
    """Applies one action by the rules; cows act when the player does, and keep off the path."""
    from crafter import objects

    if action == "noop":
        return
    player.action = action
    player.update()
    for cow in [thing for thing in world.objects if isinstance(thing, objects.Cow)]:
        before = cow.pos
        cow.update()
        if tuple(cow.pos) in path:
            world.move(cow, before)


def _label_tiles(world, player, grid, names) -> np.ndarray:
    """Returns ids[rows, columns] of what each tile of the view shows; 0 beyond the map."""
    corner = player.pos - grid // 2
    ids = np.zeros(tuple(grid), np.uint8)
    for x, y in np.ndindex(*grid):
        material, thing = world[corner + (x, y)]
        name = type(thing).__name__.lower() if thing is not None else material or "none"
        ids[x, y] = names.index(name)
    return ids.T


def _narrate(script) -> list[str]:
    """Tells the script in words, in order, without repetition: 'walks right', 'places stone'."""
    spoken = {action: words for action, words in ACTIVITIES.values() if action}
    said: list[str] = []
    for action in script:
        words = spoken.get(action) or f"walks {action.removeprefix('move_')}"
        if not said or said[-1] != words:
            said.append(words)
    return said


def _write_captions(rng, words, attributes, scene, names, view, still) -> dict[str, str]:
    shown = {names[i] for i in np.unique(scene)}
    scenery = (("water", "water"), ("tree", "trees"), ("coal", "rocks"), ("cow", "a cow"))
    near = [word for name, word in scenery if name in shown]
    ground = attributes["ground"]
    around = f" near {' and '.join(near[:2])}" if near else ""
    seen = f"seen from above, {view}"
    if still:
        thing = {"walk": "", "stone": " a stone", "table": " a table", "sapling": " a sapling"}
        thing = thing[attributes["activity"]]
        pose = f"faces {attributes['direction']}" + (f" in front of{thing}" if thing else "")
        how = base.pick(rng, ("a photo-like still", "a still image", "an image"))
        short = f"{how}: a player {pose} on {ground}"
        detailed = (
            f"a photo-like still, {seen}: a player on {ground}{around} {pose}, "
            "in daylight, a tile world."
        )
    else:
        who = base.pick(rng, ("a player", "the player", "a small player"))
        short = f"{who} {' and '.join(words[:2])} on {ground}"
        detailed = (
            f"a video, {seen}, the camera follows: a player on {ground}{around} "
            f"{', then '.join(words[:4])}, in daylight, a tile world."
        )
    return {"short": short, "detailed": detailed}
