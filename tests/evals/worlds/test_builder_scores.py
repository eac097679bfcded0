"""The builder's scores: lawful videos pass, each control that breaks one falls below half."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from data_pipelines.worlds import builder as simulator
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import builder, controls
from sora_jax.evals.worlds.base import CONTROL_BAR, REAL_BAR, Expected, score_video
from sora_jax.evals.worlds.builder_events import explain, find_changes
from sora_jax.evals.worlds.builder_tiles import read_tiles
from sora_jax.laws.builder import list_items

pytest.importorskip("crafter")
SEEDS = range(20, 32)
SIZES = ((64, 64), (54, 96), (64, 64), (64, 48))
FAMILIES = ("real", *controls.CONTROLS, *simulator.BROKEN)


def request(index):
    height, width = SIZES[index % 4]
    frames = 33 if index % 4 == 2 else 17
    return ClipRequest(SEEDS[index], None, frames, height, width)


@functools.cache
def make(index, broken=""):
    return simulator.make_clip(dataclasses.replace(request(index), broken=broken))


def show(family, index, given=0):
    clip = make(index)
    video = clip.video
    if family == "frozen":
        return controls.freeze(video, given)
    if family == "shuffled":
        return controls.shuffle(video, given, index)
    if family == "reversed":
        return controls.reverse(video, given)
    if family == "grey_disc":
        return controls.grey_disc(video, "red", given)
    if family == "mismatched":
        other = controls.match_other([make(i).attributes for i in range(len(SEEDS))], index)
        own = request(index)
        asked = dataclasses.replace(
            request(other), frames=own.frames, height=own.height, width=own.width
        )
        return np.concatenate([video[:given], simulator.make_clip(asked).video[given:]])
    return make(index, "" if family == "real" else family).video


@functools.cache
def score(family, given=0):
    rows = []
    for index in range(0, len(SEEDS), 3 if given else 1):
        clip = make(index)
        expected = Expected(clip.attributes, clip.truth, clip.fps, given)
        rows.append(score_video(builder, show(family, index, given), expected))
    return {
        name: np.nanmean([row[name] for row in rows])
        for name in rows[0]
        if not all(math.isnan(row[name]) for row in rows)
    }


@pytest.mark.parametrize("one", builder.SCORES, ids=lambda one: one.name)
def test_admission(one):
    assert score("real", one.min_given)[one.name] >= REAL_BAR
    assert one.broken_by <= set(FAMILIES)
    for family in one.broken_by:
        assert score(family, one.min_given)[one.name] < CONTROL_BAR, family


def test_every_broken_law_breaks_a_score():
    assert set(simulator.BROKEN) <= set().union(*(one.broken_by for one in builder.SCORES))


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
    for color in ((19, 160, 18), (211, 199, 135), (125, 125, 125)):
        flat = np.broadcast_to(np.uint8(color), clip.video.shape)
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
