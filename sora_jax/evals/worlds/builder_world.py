"""Measures of the builder's world: what actions change, what else changes, how it looks.

A score that does not apply to a clip, as truth has it, is nan; where nothing is shown it is 0.
"""

import math

import numpy as np

from sora_jax.evals.worlds.builder_events import find_drinks, fits
from sora_jax.evals.worlds.builder_player import MAX_MOVE, MIN_MOVING
from sora_jax.evals.worlds.builder_reading import (
    Reading,
    is_still,
    rate_lawful,
    rate_walks,
    trim_events,
)
from sora_jax.laws.builder import ACTIONS, ACTIVITIES, WALKABLE

AMOUNT_DISTANCE = (
    48.0  # of 0 to 255; 35 at most after a blur of 0.7 pixels, about 60 after one of 3
)
CONTRAST = 0.25  # of the pictures' details; a blur of 0.7 pixels leaves 0.27 or more
STEADY, UNSTEADY = 7.0, 20.0  # of 0 to 255: mean differences that score 1 and 0
MIN_RETURNS = 3  # tiles
NO_OBJECTS = ("water", *WALKABLE)


def measure_activity(reading: Reading) -> float:
    said = [name for name in reading.said.names if name in ACTIONS]
    own = ACTIVITIES[reading.expected.attributes["activity"]]
    if not said and (own or reading.said.moving < MIN_MOVING):
        return math.nan
    if reading.tiles is None:
        return 0.0
    # What looks like an action, and is "" where the player does not do it.
    shown = [
        change.action
        for change in reading.changes
        if not change.away and any(fits(change, name) for name in ACTIONS if name != "drink")
    ]
    shown += ["drink"] * (len(find_drinks(reading.tiles)) if "drink" in own else 0)
    if not said:
        return float(not shown and len(rate_walks(reading)[0]) > 0)
    if not reading.said.whole:
        shown = shown[: len(said)]
    both = sum(min(shown.count(name), said.count(name)) for name in set(said))
    return both / max(len(shown), len(said))


def measure_action_executed(reading: Reading) -> float:
    count = _count_said(reading)
    if not count:
        return math.nan
    read = sum(name in ACTIONS for name, _ in trim_events(reading))
    return min(read, count) / max(read, count)


def measure_inventory(reading: Reading) -> float:
    said, tiles = list(reading.said.changes), reading.tiles
    if not said:
        return math.nan
    if tiles is None:
        return 0.0
    legible = float((tiles.amount_distances[reading.new] < AMOUNT_DISTANCE).mean())
    acted = {change.frame for change in reading.changes if change.action} | set(find_drinks(tiles))
    read = [
        # An amount that changes without an action is none of those said.
        (
            int(item) if t + 1 in acted else -1,
            int(tiles.amounts[t + 1, item] - tiles.amounts[t, item]),
        )
        for t, item in np.argwhere(np.diff(tiles.amounts, axis=0))
    ]
    if not reading.said.whole:
        read = read[: len(said)]
    same = sum(a == b for a, b in zip(read, said, strict=False))
    return same / max(len(read), len(said)) * legible


def measure_continuous(reading: Reading) -> float:
    if is_still(reading):
        return math.nan
    if reading.tiles is None:
        return 0.0
    far = np.abs(reading.tiles.moves).sum(1) > MAX_MOVE
    return rate_lawful(int((far | reading.tiles.jumps).sum()))


def measure_world_consistent(reading: Reading) -> float:
    if is_still(reading):
        return math.nan
    broken = {change.frame for change in reading.changes if not change.action}
    return rate_lawful(len(broken))


def measure_returns(reading: Reading) -> float:
    if reading.said.returns < MIN_RETURNS:
        return math.nan
    # From text alone how much of the view comes back depends on where the window cuts.
    wanted = reading.said.returns if reading.expected.given else MIN_RETURNS
    enough = min(1.0, 2 * len(reading.returned) / wanted)
    return float(np.mean(reading.returned)) * enough if reading.returned else 0.0


def measure_placed_stays(reading: Reading) -> float:
    count = sum(name in ACTIONS and name != "drink" for name in reading.said.names)
    if not count:
        return math.nan
    made = [change for change in reading.changes if change.action]
    undone = [change for change in reading.changes if not change.action]
    kept = [
        not any(other.cell == change.cell and other.frame > change.frame for other in undone)
        for change in made[:count]
    ]
    return sum(kept) / count


def measure_no_spontaneous(reading: Reading) -> float:
    if is_still(reading):
        return math.nan
    popped = {
        change.frame
        for change in reading.changes
        if not change.action and not change.away and change.after not in NO_OBJECTS
    }
    return rate_lawful(len(popped))


def measure_tiles_legal(reading: Reading) -> float:
    return float(reading.legal[reading.new].mean())


def measure_sharp(reading: Reading) -> float:
    if reading.tiles is None:
        return 0.0
    return float(np.clip(reading.tiles.contrasts[reading.new] / CONTRAST, 0, 1).mean())


def measure_no_flicker(reading: Reading) -> float:
    if is_still(reading):
        return math.nan
    if reading.tiles is None or not len(reading.tiles.moves):
        return 0.0
    steady = (UNSTEADY - reading.tiles.differences) / (UNSTEADY - STEADY)
    return float(np.clip(steady, 0, 1).mean())


def _count_said(reading: Reading) -> int:
    return sum(name in ACTIONS for name in reading.said.names)
