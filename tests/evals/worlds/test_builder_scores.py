"""The builder's scores: tiles are read as the simulator has them, and what shows none earns 0."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from data_pipelines.worlds import builder as simulator
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import builder
from sora_jax.evals.worlds.base import CONTROL_BAR, Expected, score_video
from sora_jax.evals.worlds.builder_events import explain, find_changes
from sora_jax.evals.worlds.builder_reading import cut_given
from sora_jax.evals.worlds.builder_tiles import read_tiles
from sora_jax.laws.builder import ACTIONS, list_items

pytest.importorskip("crafter")
SEEDS = range(20, 32)
SIZES = ((64, 64), (54, 96), (64, 64), (64, 48))


def request(index):
    height, width = SIZES[index % 4]
    frames = 33 if index % 4 == 2 else 17
    return ClipRequest(SEEDS[index], None, frames, height, width)


@functools.cache
def make(index):
    return simulator.make_clip(request(index))


@pytest.mark.parametrize("height, width", [(48, 48), (128, 128), (97, 131)])
def test_tiles_moves_and_amounts_are_read_as_the_simulator_has_them(height, width):
    for seed in range(4):
        clip = simulator.make_clip(ClipRequest(seed, None, 17, height, width, seed % 2 == 1))
        tiles = read_tiles(clip.video, list_items(clip.attributes["activity"]))
        assert tiles is not None
        seen = tiles.ids >= 0
        assert (tiles.ids == clip.truth["tiles"])[seen].all() and seen.mean() > 0.3
        moves = np.diff(clip.truth["position"] * 16, axis=0)
        np.testing.assert_allclose(tiles.moves, moves, atol=1e-3)
        np.testing.assert_array_equal(tiles.facings, clip.truth["facing"])
        np.testing.assert_array_equal(tiles.amounts, clip.truth["amounts"])


def test_an_action_explains_a_change_only_in_front_of_a_player_that_stands_on_a_tile():
    for index in range(len(SEEDS)):
        clip = make(index)
        activity = clip.attributes["activity"]
        tiles = read_tiles(clip.video, list_items(activity))
        assert tiles is not None
        changes, _ = find_changes(tiles.ids, tiles.inside, tiles.cells, tiles.jumps)
        assert all(change.action for change in explain(changes, tiles, activity))
        between = dataclasses.replace(tiles, positions=tiles.positions + 4)
        assert not any(change.action for change in explain(changes, between, activity))
        turned = dataclasses.replace(tiles, facings=tiles.facings ^ 1)
        assert not any(change.action for change in explain(changes, turned, activity))


def test_a_flat_picture_of_the_right_colours_has_no_legal_tiles():
    clip = make(0)
    expected = Expected(clip.attributes, clip.truth, clip.fps)
    for color in ((19, 160, 18), (211, 199, 135), (125, 125, 125), (0, 0, 0)):
        flat = np.broadcast_to(np.array(color, np.uint8), clip.video.shape)
        values = score_video(builder, flat, expected)
        assert all(math.isnan(v) or v < 0.3 for v in values.values()), values


@pytest.mark.parametrize("shape", [(1, 64, 64), (17, 20, 20), (5, 48, 300), (33, 64, 96)])
def test_any_video_can_be_read(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for index in (0, 1, 2):
        clip = make(index)
        expected = Expected(clip.attributes, clip.truth, clip.fps, 5)
        values = score_video(builder, noise, expected)
        assert all(math.isnan(v) or v < CONTROL_BAR for v in values.values()), values


def test_scores_apply_by_what_is_expected_alone():
    for index in range(6):
        clip = make(index)
        expected = Expected(clip.attributes, clip.truth, clip.fps, 5)
        real = score_video(builder, clip.video, expected)
        grey = score_video(builder, np.full_like(clip.video, 128), expected)
        assert {k for k, v in real.items() if math.isnan(v)} == {
            k for k, v in grey.items() if math.isnan(v)
        }


def test_only_what_happens_after_the_given_frames_is_expected():
    for index in range(len(SEEDS)):
        clip = make(index)
        cut = cut_given(Expected(clip.attributes, clip.truth, clip.fps, 5))
        assert cut.given == 1
        later = [[name, start + 4, end + 4] for name, start, end in cut.truth["events"]]
        assert later == clip.truth["events"][len(clip.truth["events"]) - len(later) :]
        dropped = clip.truth["events"][: len(clip.truth["events"]) - len(later)]
        assert all(end <= 4 or (name in ACTIONS and start < 4) for name, start, end in dropped)
        assert cut.truth["told"] == max(clip.truth["told"] - len(dropped), 0)
        np.testing.assert_array_equal(cut.truth["position"], clip.truth["position"][4:])


def test_a_flat_tile_has_no_contrast():
    clip = make(0)
    items = list_items(clip.attributes["activity"])
    tiles, flat = (read_tiles(video, items) for video in (clip.video, np.full_like(clip.video, 90)))
    assert tiles is not None and flat is not None
    np.testing.assert_allclose(tiles.contrasts, 1, atol=0.05)
    np.testing.assert_allclose(flat.contrasts, 0, atol=1e-4)
