"""The builder's worlds: constant steps, Crafter's rules, one window for all durations and sizes."""

import numpy as np
import pytest

from data_pipelines.worlds import builder
from data_pipelines.worlds.base import ClipRequest
from data_pipelines.worlds.builder_script import run_script
from sora_jax.laws import builder as laws

pytest.importorskip("crafter")
SEEDS = range(40, 48)
STEPS = np.array(list(laws.DIRECTIONS.values()))


def make(seed, frames=33, height=64, width=96, **more):
    return builder.make_clip(ClipRequest(seed, None, frames, height, width, **more))


def test_a_shorter_clip_is_the_beginning_of_a_longer_one():
    for seed in SEEDS:
        long, short = make(seed, 65), make(seed, 9)
        np.testing.assert_array_equal(short.video, long.video[:9])
        np.testing.assert_array_equal(short.truth["position"], long.truth["position"][:9])
        assert short.attributes == long.attributes
        assert make(seed, 9).captions == short.captions


@pytest.mark.parametrize("height, width", [(64, 64), (64, 96), (128, 80)])
def test_a_canvas_of_twice_the_size_shows_the_same_tiles_with_more_pixels(height, width):
    small = make(3, 17, height, width)
    large = make(3, 17, 2 * height, 2 * width)
    np.testing.assert_array_equal(small.video.repeat(2, 1).repeat(2, 2), large.video)


@pytest.mark.parametrize("height, width", [(48, 48), (54, 96), (97, 131), (120, 48), (144, 256)])
def test_a_canvas_between_shows_more_of_the_same_scene(height, width):
    wide = make(0, 9, 126, 126)
    clip = make(0, 9, height, width)
    tile = laws.measure_tile(height, width)
    assert min(height, width) >= 3 * tile
    assert clip.video.shape == (9, height, width, 3)
    around = 8 if tile == 16 else 16  # half a tile around the player's, none of it under items
    y, x = (height - tile) // 2, (width - tile) // 2
    seen = clip.video[:, y - around : y + tile, x - around : x + tile + around]
    scale = tile // 16
    y = x = (126 - 16) // 2
    same = wide.video[:, y - 8 : y + 16, x - 8 : x + 24].repeat(scale, 1).repeat(scale, 2)
    np.testing.assert_array_equal(seen, same)


@pytest.mark.parametrize("outside", [False, True])
def test_a_step_takes_a_constant_number_of_frames_and_none_repeats(outside):
    for seed in SEEDS:
        clip = make(seed, 65, outside=outside)
        steps = np.abs(np.diff(clip.truth["position"], axis=0)).sum(1)
        length = 1 / laws.FRAMES_PER_STEP[clip.attributes["speed"]]
        walking = np.zeros(64, bool)
        for name, start, end in clip.truth["events"]:
            walking[max(start, 0) : min(end, 64)] = name.startswith("step ")
        np.testing.assert_allclose(steps, np.where(walking, length, 0), atol=1e-6)
        copies = (np.diff(clip.video.astype(int), axis=0) == 0).all((1, 2, 3))
        assert not copies[walking].any()
        assert walking.sum() > 16


def test_frames_scroll_by_what_the_position_says():
    for seed in SEEDS:
        clip = make(seed, 17)
        moved = np.round(np.diff(clip.truth["position"], axis=0) * 16).astype(int)
        for before, after, (dx, dy) in zip(clip.video, clip.video[1:], moved, strict=False):
            new = after[8:24, 8:36]  # above and beside the player and the items
            old = before[8 + dy : 24 + dy, 8 + dx : 36 + dx]
            assert (new != old).any(-1).mean() < 0.45  # one tile may change


def test_rules_are_crafters():
    """Crafter's own player does the same to the same map, with the same items."""
    from crafter import constants, engine, objects

    seen = set()
    for seed in SEEDS:
        for activity in set(laws.ACTIVITIES) - {"walk", "wander"}:
            rng = np.random.default_rng(seed)
            run, _ = run_script(rng, "left", activity, "grass", 4, laws.LEG_STEPS)
            name = laws.ACTIVITIES[activity][0]
            action = laws.ACTIONS[name]
            event = next(event for event in run.events if event.name == name)
            world = engine.World((128, 128), constants.materials, (12, 12))
            world.daylight = 1.0
            tiles = run.initial.copy()
            for name_id, tile in enumerate(laws.TILES):
                if tile in constants.materials:
                    world._mat_map[tiles.T == name_id] = world._mat_ids[tile]
            x, y = (int(v) for v in run.positions[event.start])
            player = objects.Player(world, (x, y))
            player.facing = tuple(STEPS[run.facings[event.start]].tolist())
            player.inventory.update({k: v[event.start] for k, v in run.amounts.items()})
            player.inventory["wood_pickaxe"] = 1
            player.action = action.crafter
            front = np.array([x, y]) + player.facing
            player.update()
            material, thing = world[front]
            after = "sapling" if isinstance(thing, objects.Plant) else material
            assert after == action.after, activity
            assert player.inventory[action.item] == run.amounts[action.item][event.end], activity
            seen.add(name)
    assert len(seen) == 6


def test_truth_agrees_with_itself_and_the_caption():
    for seed in range(60, 90):
        clip = make(seed, 33)
        told = clip.truth["events"][: clip.truth["told"]]
        detailed = clip.captions["detailed"]
        assert all(len(caption.split()) <= 40 for caption in clip.captions.values())
        for name, action in laws.ACTIONS.items():
            assert detailed.count(action.words) == [event[0] for event in told].count(name)
        walked = sum(name.startswith("step ") for name, *_ in told)
        numbers = {word: i for i, word in enumerate(builder.NUMBERS)}
        said = [
            numbers[a]
            for a, b in zip(detailed.split(), detailed.split()[1:], strict=False)
            if b.strip(",.").startswith("step")
        ]
        assert sum(said) == walked
        if clip.truth["items"]:
            change = clip.truth["amounts"][-1].astype(int) - clip.truth["amounts"][0]
            done = [
                laws.ACTIONS[name]
                for name, start, end in clip.truth["events"]
                if name in laws.ACTIONS and start >= 0
            ]
            for i, item in enumerate(clip.truth["items"]):
                assert change[i] == sum(a.change for a in done if a.item == item)


def test_an_action_changes_the_tile_in_front_in_its_first_frame():
    done = set()
    for seed in range(60, 90):
        clip = make(seed, 33)
        truth, tile = clip.truth, clip.truth["tile"]
        for name, start, _ in truth["events"]:
            if name in laws.ACTIONS and start >= 0:
                done.add(name)
                action = laws.ACTIONS[name]
                ahead = STEPS[truth["facing"][start + 1]] * tile
                shown = []
                for t in (start, start + 1):
                    x, y = ((96 - tile) // 2, (64 - tile) // 2) + ahead - truth["corner"][t]
                    shown.append(laws.TILES[truth["tiles"][t, y // tile, x // tile]])
                assert shown[0] in action.before and shown[1] == action.after
                item = truth["items"].index(action.item)
                amounts = truth["amounts"][start : start + 2, item].astype(int)
                assert amounts[1] - amounts[0] == action.change
    assert done == set(laws.ACTIONS)


def test_the_first_walk_is_in_the_direction_and_the_action_follows_within_nine_frames():
    for seed in range(100, 140):
        clip = make(seed, 9)
        direction, activity = clip.attributes["direction"], clip.attributes["activity"]
        moved = np.diff(clip.truth["position"], axis=0)
        first = moved[np.abs(moved).sum(1) > 0][0]
        assert (np.sign(first) == laws.DIRECTIONS[direction]).all()
        done = {name for name, *_ in clip.truth["events"] if name in laws.ACTIONS}
        assert done <= set(laws.ACTIVITIES[activity])
        assert bool(done) == (activity != "walk")


def test_held_out_pairs():
    pairs = {held: set() for held in (True, False)}
    for held in pairs:
        for seed in range(60):
            request = ClipRequest(seed, held, 1, 64, 64)
            attributes = builder.make_clip(request).attributes
            assert builder.is_held_out(attributes) is held
            pairs[held].add((attributes["direction"], attributes["activity"]))
    assert not pairs[True] & pairs[False]
    assert len(pairs[True]) == 8


def test_stills_are_told_as_stills():
    for seed in SEEDS:
        caption = make(seed, 1).captions["detailed"]
        assert not any(verb in caption for verb in (*laws.FRAMES_PER_STEP, "places", "collects"))


def test_outside_of_training():
    speeds = {make(seed, 1, outside=True).attributes["speed"] for seed in range(40)}
    assert speeds == {"walks", "runs", "creeps"}
    assert {make(seed, 1).attributes["speed"] for seed in range(40)} == {"walks"}


@pytest.mark.parametrize("law", builder.BROKEN)
def test_broken_laws_change_the_video_alone(law):
    changed = 0
    for seed in SEEDS:
        lawful, broken = make(seed), make(seed, broken=law)
        assert broken.captions == lawful.captions
        assert broken.attributes == lawful.attributes
        np.testing.assert_array_equal(broken.truth["tiles"], lawful.truth["tiles"])
        assert broken.video.shape == lawful.video.shape
        changed += bool((broken.video != lawful.video).any())
    assert changed >= len(SEEDS) / 2


def test_truth_is_small():
    clip = make(0, 17)
    size = sum(v.nbytes for v in clip.truth.values() if isinstance(v, np.ndarray))
    assert size + len(str(clip.truth["events"])) < 20_000
