"""A player walks and builds on a grid of tiles, seen from above: Crafter's world, moving smoothly.

Crafter (Danijar Hafner, MIT) gives the terrain, the rules, the textures and the way in which items
are shown. The view is centred on the player and scrolls by whole pixels: a step of one tile takes
a constant number of frames, an action two, in the first of which a tile changes. Cows stand still,
it is always day, and the player has Crafter's wooden pickaxe. A script or a random walk
(`builder_script`) is longer than any clip; the clip is a window of it.

Items that the clip's actions change are shown at the bottom, with how many there are.
"""

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.builder_script import Event, run_script, run_wandering
from data_pipelines.worlds.builder_view import (
    Scene,
    break_law,
    break_picture,
    draw_scene,
    label_view,
)
from sora_jax.laws import builder as laws
from sora_jax.laws.builder import ACTIONS, ACTIVITIES, DIRECTIONS, GROUNDS, TILES
from sora_jax.laws.palette import FPS

NAME = "builder"
LICENCE = "MIT (Crafter, Danijar Hafner)"
BROKEN = (
    "placed_vanishes",  # what was placed or collected is undone two frames later
    "action_ignored",  # nothing is placed or collected
    "tile_changes",  # tiles beside the player change without an action
    "appears",  # tables appear beside the player
    "forgets",  # tiles that leave the view come back as something else
    "teleport",  # the player is elsewhere at once
    "moonwalk",  # it faces against its walk
    "drags",  # it walks at half the speed
    "jumps",  # it moves by whole tiles
    "counter_stuck",  # the items shown do not change
    "melts",  # the picture is blurred
    "flickers",  # the brightness changes from frame to frame
)
WORDS = 40  # of a caption at most
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
AROUND = {"water": "water", "tree": "trees", "coal": "rocks", "stone": "rocks", "cow": "a cow"}


def is_held_out(attributes: dict[str, str]) -> bool:
    """Keeps 8 of the 32 pairs of first direction and activity out of training."""
    return _is_held_out_pair(attributes["direction"], attributes["activity"])


def _is_held_out_pair(direction: str, activity: str) -> bool:
    return list(ACTIVITIES).index(activity) % 4 == list(DIRECTIONS).index(direction)


def make_clip(request: base.ClipRequest) -> base.Clip:
    """Makes one clip; see `base`. Truth, per frame t where an array begins with it:

    position[t, 2] (x, y) in tiles; facing[t], index of `laws.builder.DIRECTIONS`; tiles[t, rows,
    columns], ids of `laws.builder.TILES` that the view shows; corner[t, 2] (x, y), the pixel where
    the first of them begins, -tile to -1; amounts[t, items] of `items`; events, (name, first frame,
    last frame) of what the window shows, which may begin before it and end after it; told, how many
    of them the detailed caption tells; tile in pixels; view (height, width) in pixels.
    """
    rng = base.make_rng(NAME, request.seed)
    t, h, w = base.draw_canvas(rng, request, BROKEN)
    pairs = base.allowed_pairs(DIRECTIONS, ACTIVITIES, _is_held_out_pair, request.held_out)
    direction, activity = base.pick(rng, pairs)
    ground = "grass" if activity == "sapling" else base.pick(rng, GROUNDS)  # where it grows
    speed, legs = "walks", laws.LEG_STEPS
    if request.outside:
        kinds = ("fast", "slow") if activity == "wander" else tuple(laws.OUTSIDE)
        speed, legs = laws.OUTSIDE[base.pick(rng, kinds)]
    frames_per_step = laws.FRAMES_PER_STEP[speed]
    if activity == "wander":
        run, first = run_wandering(rng, direction, ground, frames_per_step)
    else:
        run, first = run_script(rng, direction, activity, ground, frames_per_step, legs)

    tile = laws.measure_tile(h, w)
    scene = _cut_window(run, first, t)
    ids, corner = label_view(scene, h, w, tile)
    events = [
        Event(event.name, event.start - first, event.end - first)
        for event in run.events
        if event.end > first and event.start < first + t - 1
    ]
    attributes = {
        "direction": direction,
        "activity": activity,
        "ground": ground,
        "speed": speed,
    }
    captions, told = _write_captions(rng, attributes, events, scene, base.name_view(h, w))
    truth = {
        "position": scene.positions.astype(np.float32),
        "facing": scene.facings.astype(np.uint8),
        "tiles": ids,
        "corner": corner.astype(np.int16),
        "amounts": scene.amounts.astype(np.uint8),
        "items": list(scene.items),
        "events": [[event.name, event.start, event.end] for event in events],
        "told": told,
        "tile": tile,
        "view": [h, w],
    }
    if request.broken:
        reach = np.array([w, h]) / tile / 2
        scene = break_law(_cut_window(run, first, t), request.broken, rng, reach)
    video = draw_scene(scene, h, w, tile)
    if request.broken:
        video = break_picture(video, request.broken, rng, tile)
    return base.Clip(video, FPS, captions, truth, attributes)


def _cut_window(run, first: int, frames: int) -> Scene:
    """Cuts `frames` frames out of a run."""
    tiles, window = run.initial.copy(), slice(first, first + frames)
    for frame, x, y, new in run.changes:
        if frame <= first:
            tiles[y, x] = new
    changes = [
        (frame - first, *rest) for frame, *rest in run.changes if first < frame < first + frames
    ]
    amounts = np.array([a[window] for a in run.amounts.values()], int).reshape(-1, frames).T
    return Scene(
        tiles,
        changes,
        np.array(run.positions[window], float),
        np.array(run.facings[window]),
        amounts,
        tuple(run.amounts),
    )


def _tell(events: list[Event], speed: str) -> list[tuple[str, int]]:
    """Tells the events in words, in order: phrases, and how many events each covers."""
    phrases, i = [], 0
    while i < len(events):
        name, count = events[i].name, 1
        if name.startswith("step "):
            while i + count < len(events) and events[i + count].name == name:
                count += 1
            number = NUMBERS[count] if count < len(NUMBERS) else str(count)
            steps = f"{number} {'step' if count == 1 else 'steps'}"
            phrases.append((f"{speed} {steps} {name.removeprefix('step ')}", count))
        elif name.startswith("turn "):
            phrases.append((f"turns {name.removeprefix('turn ')}", 1))
        else:
            phrases.append(("waits" if name == "wait" else ACTIONS[name].words, 1))
        i += count
    return phrases


def _write_captions(rng, attributes, events, scene, view) -> tuple[dict[str, str], int]:
    """Writes both captions; also returns how many events the detailed one tells."""
    ground = attributes["ground"]
    x, y = np.round(scene.positions[0]).astype(int)
    shown = {TILES[i] for i in scene.tiles[y - 1 : y + 2, x - 1 : x + 2].flat}
    around = list(dict.fromkeys(word for name, word in AROUND.items() if name in shown))
    near = f" near {around[int(rng.integers(len(around)))]}" if around else ""
    who = base.pick(rng, ("a player", "a small player", "a person", "a figure in blue"))
    if len(scene.positions) == 1:
        facing = list(DIRECTIONS)[scene.facings[0]]
        how = base.pick(rng, ("a still image", "an image", "a picture"))
        pose = base.pick(rng, (f"faces {facing}", f"looks {facing}"))
        world = base.pick(rng, ("a tile world", "a world of tiles", "a game world of tiles"))
        short = f"{how}: {who} on {ground} {pose}"
        return {
            "short": short,
            "detailed": f"{how}, seen from above, {view}: {who} on {ground}{near} {pose}, {world}.",
        }, 0
    phrases = _tell(events, attributes["speed"])
    start = base.pick(
        rng,
        (
            f"a video, seen from above, {view}: {who} on {ground}{near}",
            f"{view} from above, the camera follows {who} on {ground}{near}: it",
            f"in a world of tiles, seen from above, {who} on {ground}{near}",
        ),
    )
    if attributes["activity"] == "wander":
        start = start.replace(who, f"{who} wandering")
    words, told, said = len(start.split()), 0, []
    for phrase, count in phrases:
        words += len(phrase.split()) + bool(said)
        if words > WORDS:
            break
        said.append(phrase)
        told += count
    detailed = f"{start} {', then '.join(said)}."
    short = base.pick(
        rng,
        (
            f"{who} on {ground} {' and '.join(p for p, _ in phrases[:2])}",
            f"on {ground}, {who} {', then '.join(p for p, _ in phrases[:2])}",
            f"seen from above, {who} {', then '.join(p for p, _ in phrases[:3])}",
        ),
    )
    return {"short": short, "detailed": detailed}, told
