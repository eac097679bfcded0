"""Scores of the builder: legal tiles, a lasting world, lawful walking, actions that are executed.

`builder_tiles` reads the tiles of each frame, `builder_events` what happens, `builder_reading` puts
it beside what should happen; `builder_player` and `builder_world` measure. Every value is
multiplied by the share of the new frames that show tiles (`Reading.shown`). Under each score stand
the controls that break it.
"""

import math
from collections.abc import Callable

from sora_jax.evals.worlds import builder_player as player
from sora_jax.evals.worlds import builder_world as world
from sora_jax.evals.worlds.base import Score
from sora_jax.evals.worlds.builder_reading import Reading, read

__all__ = ["NAME", "SCORES", "read"]

NAME = "builder"


def _if_shown(measure: Callable[[Reading], float]) -> Callable[[Reading], float]:
    def measure_shown(reading: Reading) -> float:
        shown = reading.shown
        return shown if math.isnan(shown) else shown * measure(reading)

    return measure_shown


SCORES = tuple(
    Score(
        *(name, kind, meaning, _if_shown(measure), frozenset(broken_by.split())),
        min_given=5 if kind == "prediction" else 0,
    )
    for name, kind, meaning, measure, broken_by in (
        (
            "ground",
            "what",
            "share of frames in which the player is on the said ground; 0: no tiles",
            player.measure_ground,
            "mismatched grey_disc upside_down banded melts",
        ),
        (
            "player_present",
            "looks",
            "share of frames that show the player at the centre",
            player.measure_player_present,
            "grey_disc upside_down melts",
        ),
        (
            "activity",
            "what",
            "1: the said things are placed or collected by actions, as often as said; 0: none",
            world.measure_activity,
            "frozen shuffled reversed mismatched grey_disc action_ignored melts flickers",
        ),
        (
            "direction",
            "where",
            "1: the first walk goes where it should, a still faces there; 0: half of it does not",
            player.measure_direction,
            "frozen shuffled mismatched grey_disc jumps",
        ),
        (
            "order",
            "where",
            "1: walks and actions in the said order; 0: half of them differ",
            player.measure_order,
            "frozen shuffled reversed mismatched grey_disc",
        ),
        (
            "steps",
            "where",
            "1: as many tiles walked in each direction as said; 0: half of them are wrong",
            player.measure_steps,
            "frozen shuffled reversed mismatched grey_disc drags jumps",
        ),
        (
            "speed_law",
            "laws",
            "share of moves that are as long as the law says; 0: it never walks",
            player.measure_speed_law,
            "frozen grey_disc stuttered drags jumps",
        ),
        (
            "smooth",
            "laws",
            "1: no frame repeats another within a step, none leaps; 0: every third does",
            player.measure_smooth,
            "frozen stopped shuffled grey_disc stuttered jumps flickers",
        ),
        (
            "continuous",
            "laws",
            "1: each frame shows the place of the one before; 1/4: one shows another",
            world.measure_continuous,
            "shuffled grey_disc teleport melts flickers",
        ),
        (
            "world_consistent",
            "permanence",
            "1: only actions change tiles; 1/4: a tile changes by itself",
            world.measure_world_consistent,
            "shuffled swapped boxed grey_disc tile_changes appears jumps melts flickers",
        ),
        (
            "returns",
            "permanence",
            "share of tiles that come back into view as they were",
            world.measure_returns,
            "frozen grey_disc forgets jumps",
        ),
        (
            "placed_stays",
            "permanence",
            "share of the said actions whose tiles stay as they are made",
            world.measure_placed_stays,
            "frozen shuffled reversed mismatched grey_disc placed_vanishes action_ignored moonwalk "
            "melts flickers",
        ),
        (
            "tiles_legal",
            "digital",
            "share of tiles that are one of Crafter's",
            world.measure_tiles_legal,
            "grey_disc upside_down stretched melts flickers",
        ),
        (
            "action_executed",
            "digital",
            "1: what the player faces changes as often as said; 0: never",
            world.measure_action_executed,
            "frozen reversed mismatched grey_disc action_ignored moonwalk melts flickers",
        ),
        (
            "inventory",
            "digital",
            "1: the amounts shown change with the actions, as these change them; 0: never",
            world.measure_inventory,
            "frozen shuffled reversed mismatched grey_disc action_ignored counter_stuck melts",
        ),
        (
            "facing",
            "digital",
            "share of moves in which the player faces where it goes",
            player.measure_facing,
            "frozen reversed grey_disc moonwalk jumps melts",
        ),
        (
            "sharp",
            "looks",
            "1: tiles have at least a quarter of their pictures' details; 0: none, or no tiles",
            world.measure_sharp,
            "grey_disc stretched melts",
        ),
        (
            "no_flicker",
            "looks",
            "1: frames differ by less than 7 levels of 255; 0: by 20",
            world.measure_no_flicker,
            "grey_disc melts flickers",
        ),
        (
            "no_spontaneous",
            "looks",
            "1: no object appears without an action; 1/4: one does",
            world.measure_no_spontaneous,
            "shuffled grey_disc tile_changes appears melts flickers",
        ),
        (
            "prediction",
            "prediction",
            "share of tiles where the simulator has them; 0: the player half a tile away",
            player.measure_prediction,
            "frozen shuffled reversed mismatched grey_disc teleport drags jumps melts flickers",
        ),
    )
)
