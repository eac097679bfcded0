"""Worlds are repeatable, and their captions, attributes and pixels agree with their truth."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.worlds import ballistics, base, builder, gl, occlusion, orbit, painter
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.color import dominant_color

WORLDS = (ballistics, painter, builder, occlusion, orbit)


def has_gl() -> bool:
    try:
        gl.require_gl()
    except ValueError:
        return False
    return True


@pytest.fixture(params=WORLDS, ids=lambda world: world.NAME)
def world(request):
    if request.param.NEEDS_GL and not has_gl():
        pytest.skip("no OpenGL without a display")
    return request.param


def color_at(frame, column, row):
    """The name of the colour of one pixel."""
    return dominant_color(frame[None, int(row), int(column)][None, None], base.COLORS)


def test_a_seed_is_a_clip(world):
    one, same = (world.make_clip(ClipRequest(7, frames=5)) for _ in range(2))
    for field in dataclasses.fields(base.Clip):
        np.testing.assert_equal(getattr(one, field.name), getattr(same, field.name))
    h, w = one.video.shape[1:3]
    other = world.make_clip(ClipRequest(8, frames=5, height=h, width=w))
    assert (one.video != other.video).any()


def test_captions_are_short_plain_and_match_the_kind(world):
    few = range(4) if world.NEEDS_GL else range(60)
    words = set()
    for seed in few:
        clip = world.make_clip(ClipRequest(seed, frames=(1, 5)[seed % 2]))
        for caption in clip.captions.values():
            assert caption == caption.lower() and len(caption.split()) <= 40
            words.update(caption.replace(",", "").replace(".", "").replace(":", "").split())
            about_image = any(
                word in caption for word in ("still:", "image", "painting", "a photo")
            )
            assert about_image == (len(clip.video) == 1)
        h, w = clip.video.shape[1:3]
        framing = "square" if h == w else "wide" if w > h else "tall"
        assert f"{framing} view" in clip.captions["detailed"]
    assert len(words) < 120


def test_any_size_and_duration(world):
    for t, h, w in ((1, 16, 16), (2, 33, 47), (7, 65, 40)):
        clip = world.make_clip(ClipRequest(3, frames=t, height=h, width=w))
        assert clip.video.shape == (t, h, w, 3)
    with pytest.raises(ValueError, match="give both or neither"):
        world.make_clip(ClipRequest(3, height=64))


def test_held_out_combinations_stay_apart(world):
    seeds = range(6) if world.NEEDS_GL else range(80)
    for seed in seeds:
        for held_out in (False, True):
            clip = world.make_clip(ClipRequest(seed, held_out, frames=1, height=16, width=16))
            assert world.is_held_out(clip.attributes) == held_out


def test_allowed_pairs_keep_their_order_and_split_in_two():
    def is_held_out(first, second):
        return (first, second) in (("a", "y"), ("b", "x"))

    pairs = [base.allowed_pairs("ab", "xy", is_held_out, wanted) for wanted in (None, False, True)]
    assert pairs[0] == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    assert pairs[1:] == [[("a", "x"), ("b", "y")], [("a", "y"), ("b", "x")]]


def test_drawn_sizes_and_durations_are_those_announced():
    drawn = [base.draw_canvas(np.random.default_rng(seed), ClipRequest(0)) for seed in range(2000)]
    assert {(h, w) for _, h, w in drawn} == set(base.SIZES)
    for frames, share in base.DURATIONS.items():
        assert np.mean([t == frames for t, _, _ in drawn]) == pytest.approx(share, abs=0.04)


def test_ballistics_pixels_are_the_colour_at_the_true_place():
    for seed in range(60):
        clip = ballistics.make_clip(ClipRequest(seed))
        t, h, w, _ = clip.video.shape
        for frame, (x, y) in zip(clip.video, clip.truth["position"], strict=True):
            if 1 < x < w - 2 and 1 < y < h - 2:
                wanted = base.COLORS[clip.attributes["color"]]
                assert np.abs(frame[int(y), int(x)].astype(int) - wanted).max() <= 2
        assert clip.attributes["color"] in clip.captions["short"]
        assert clip.attributes["shape"] in clip.captions["short"]
        assert clip.truth["visible"].mean() > 0.8


def test_ballistics_motion_is_what_the_caption_says():
    seen = set()
    for seed in range(120):
        clip = ballistics.make_clip(ClipRequest(seed, frames=17))
        motion, direction = clip.attributes["motion"], clip.attributes["direction"]
        place, speed = clip.truth["position"], clip.truth["velocity"]
        moved = place[-1] - place[0]
        seen.add((motion, direction))
        if direction != "none":
            assert direction in clip.captions["detailed"]
            axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[
                direction
            ]
            assert speed[0][axis] * sign > 0
        if motion == "slide":
            np.testing.assert_allclose(speed, speed[:1].repeat(17, 0), atol=1e-3)
            assert np.abs(moved).max() > 0.3 * min(clip.video.shape[1:3])
        elif motion == "throw":
            assert place[8, 1] < place[0, 1] - 10 and place[8, 1] < place[-1, 1] - 10
        elif motion == "bounce":
            falling = speed[:, 1] > 0
            assert (falling[:-1] & ~falling[1:]).any()
        else:  # the block takes some of the momentum
            assert np.linalg.norm(speed[-1]) < 0.9 * np.linalg.norm(speed[0])
    assert {motion for motion, _ in seen} == set(ballistics.MOTIONS)
    assert {direction for _, direction in seen} == {"left", "right", "up", "down", "none"}


def test_painter_paint_stays():
    checked = 0
    for seed in range(40):
        clip = painter.make_clip(ClipRequest(seed, frames=9))
        _, h, w, _ = clip.video.shape
        masks = [np.unpackbits(bits, count=h * w).astype(bool) for bits in clip.truth["painted"]]
        masks = [mask.reshape(h, w) for mask in masks]
        rows, columns = np.mgrid[:h, :w] + 0.5
        ink = np.array(base.COLORS[clip.attributes["color"]])
        for i, (frame, tip) in enumerate(zip(clip.video, clip.truth["tip"], strict=True)):
            assert masks[i].sum() > (masks[i - 1].sum() if i else 0)
            assert not (masks[i - 1] & ~masks[i]).any() or not i
            # The brush stands on its tip and leans to the upper right; beside it, paint is seen.
            across = (columns - tip[0]) * 0.893 + (rows - tip[1]) * 0.45
            clear = np.abs(across) > 0.5 * clip.truth["thickness"] + 1.5
            inner = masks[i - 1] if i else masks[0]  # was painted, and so were its neighbours
            for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
                inner = inner & np.roll(inner, shift, axis)
            assert np.abs(frame[inner & clear].astype(int) - ink).max(initial=0) <= 60
            checked += (inner & clear).sum()
            row, column = int(tip[1]), int(tip[0])
            assert masks[i][row, column]
        assert clip.attributes["figure"] in clip.captions["short"]
    assert checked > 10_000


def test_painter_image_shows_the_finished_painting():
    for seed in range(20):
        still = painter.make_clip(ClipRequest(seed, frames=1))
        last = painter.make_clip(ClipRequest(seed, frames=9))
        np.testing.assert_array_equal(still.truth["painted"][-1], last.truth["painted"][-1])


def test_builder_does_what_the_caption_says():
    done = set()
    cost = {"place_stone": "stone", "place_table": "wood", "place_plant": "sapling"}
    for seed in range(60):
        clip = builder.make_clip(ClipRequest(seed, frames=(9, 17, 33)[seed % 3]))
        truth = clip.truth
        script = [action for action in truth["action"] if action != "noop"]
        assert len(script) == (len(clip.video) - 1) // builder.FRAMES_PER_ACTION
        for i, action in enumerate(truth["action"]):
            step = truth["player"][i] - truth["player"][max(i - 1, 0)]
            before, after = truth["inventory"][max(i - 1, 0)], truth["inventory"][i]
            if action.startswith("move_"):
                np.testing.assert_array_equal(
                    step, builder.DIRECTIONS[action.removeprefix("move_")]
                )
            else:
                assert not step.any()
            if action in cost:
                assert after.get(cost[action], 0) < before[cost[action]]
                name = {"place_plant": "plant"}.get(action, action.removeprefix("place_"))
                new = truth["semantic"][i] == truth["names"].index(name)
                assert (new & (truth["semantic"][i - 1] != truth["names"].index(name))).any()
            done.add(action)
        said = clip.captions["detailed"]
        assert script[0] == f"move_{clip.attributes['direction']}"
        words = builder._narrate(script)[:4]
        assert ", then ".join(words) in said
        assert words[0] in clip.captions["short"]
    assert {"move_left", "move_right", "move_up", "move_down", *cost} <= done


def test_builder_moves_by_whole_tiles_in_daylight():
    clip = builder.make_clip(ClipRequest(5, frames=17, height=64, width=96))
    assert clip.video.mean() > 50
    player = clip.truth["names"].index("player")
    for ids in clip.truth["semantic"]:
        np.testing.assert_array_equal(np.argwhere(ids == player), [[2, 3]])


@pytest.mark.skipif(not has_gl(), reason="no OpenGL without a display")
def test_occlusion_hides_the_object_and_shows_it_again():
    for seed in range(5):
        clip = occlusion.make_clip(ClipRequest(seed, frames=9, height=48, width=64))
        visible, whole, hidden = (clip.truth[k] for k in ("visible", "whole", "hidden"))
        assert hidden.any() and not hidden[[0, -1]].any()
        np.testing.assert_array_equal(hidden, visible == 0)
        assert min(visible[0] / whole[0], visible[-1] / whole[-1]) > 0.85
        assert (visible <= whole).all() and whole.min() > 40


@pytest.mark.skipif(not has_gl(), reason="no OpenGL without a display")
def test_orbit_pose_is_where_the_picture_was_taken_from():
    for seed in range(6):
        clip = orbit.make_clip(ClipRequest(seed, frames=5))
        names = [solid.split()[0] for solid in clip.attributes["solids"].split(", ")]
        for frame, pose, depth in zip(
            clip.video, clip.truth["pose"], clip.truth["depth"], strict=True
        ):
            seen = [gl.project(p, pose, clip.truth["intrinsics"]) for p in clip.truth["positions"]]
            name, (u, v, z) = min(zip(names, seen, strict=True), key=lambda item: item[1][2])
            assert color_at(frame, u, v) == name
            surface = depth[int(v) // 4, int(u) // 4]
            assert z - 2.5 * clip.truth["radius"] < surface < z
        right, step = (
            clip.truth["pose"][0][:3, 0],
            np.diff(clip.truth["pose"][:2, :3, 3], axis=0)[0],
        )
        assert (right @ step > 0) == (clip.attributes["direction"] == "right")
        assert f" {clip.attributes['direction']} " in clip.captions["short"]


def test_without_opengl_the_error_names_the_package(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no display")

    monkeypatch.setattr(gl, "Scene", broken)
    with pytest.raises(ValueError, match="libegl1") as error:
        gl.require_gl()
    assert "\n" not in str(error.value)
