"""The orbit's laws, checked in its truth and pixels by formulas of their own."""

import dataclasses
import math

import numpy as np
import pytest

from data_pipelines.worlds import base, orbit
from sora_jax.laws import orbit as laws
from sora_jax.laws.palette import COLORS, FPS


def _make(seed: int, **changes) -> base.Clip:
    request = base.ClipRequest(seed, frames=9, height=48, width=48)
    return orbit.make_clip(dataclasses.replace(request, **changes))


CLIPS = {
    seed: orbit.make_clip(base.ClipRequest(seed, frames=17, height=48, width=48))
    for seed in range(16)
}


def _ahead(pose: np.ndarray) -> np.ndarray:
    return -pose[:, :3, 2]


def _select(motion: str):
    clips = [clip for clip in CLIPS.values() if clip.attributes["motion"] == motion]
    assert len(clips) >= 3
    return clips


def test_a_short_clip_is_the_beginning_of_a_long_one():
    for seed in range(6):
        short = orbit.make_clip(base.ClipRequest(seed, frames=9, height=48, width=48))
        np.testing.assert_array_equal(short.video, CLIPS[seed].video[:9])
        for name in ("pose", "positions", "depth", "visible", "u"):
            np.testing.assert_array_equal(short.truth[name], CLIPS[seed].truth[name][:9])
        assert short.attributes["solids"] == CLIPS[seed].attributes["solids"]


def test_a_larger_canvas_shows_the_same_scene():
    for seed in range(4):
        small, large = (
            orbit.make_clip(base.ClipRequest(seed, frames=2, height=48 * k, width=64 * k))
            for k in (1, 2)
        )
        np.testing.assert_array_equal(small.truth["pose"], large.truth["pose"])
        halved = large.video.reshape(2, 48, 2, 64, 2, 3).mean((2, 4))
        assert np.abs(halved - small.video).mean() < 3


def test_the_orbit_keeps_its_distance_target_and_speed():
    for clip in _select("orbit"):
        pose = clip.truth["pose"].astype(np.float64)
        at = pose[:, :3, 3]
        target = np.array([0, 0, laws.TARGET_HEIGHT])
        distance = np.linalg.norm(at - target, axis=1)
        np.testing.assert_allclose(distance, distance[0], rtol=1e-4)
        np.testing.assert_allclose(_ahead(pose), (target - at) / distance[:, None], atol=1e-4)
        turn = np.degrees(np.unwrap(np.arctan2(at[:, 1], at[:, 0])))
        # Seen from above, a camera that looks inwards and goes left circles clockwise.
        np.testing.assert_allclose(-np.diff(turn) * FPS, clip.truth["camera_speed"], rtol=1e-3)
        left = (at[1] - at[0]) @ pose[0, :3, 0] < 0
        assert clip.attributes["direction"] == ("left" if left else "right")


def test_the_pan_stands_and_turns_at_one_speed():
    for clip in _select("pan"):
        pose = clip.truth["pose"].astype(np.float64)
        np.testing.assert_allclose(pose[:, :3, 3], pose[:1, :3, 3].repeat(17, 0), atol=1e-5)
        ahead = _ahead(pose)
        np.testing.assert_allclose(
            ahead[:, 2], -math.sin(math.radians(clip.truth["tilt"])), atol=1e-5
        )
        heading = np.degrees(np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0])))
        steps = np.abs(np.diff(heading)) * FPS
        assert np.quantile(steps, 0.5) == pytest.approx(abs(clip.truth["camera_speed"]), rel=1e-3)
        assert np.ptp(heading) <= 2 * laws.PAN_REACH + 1e-3
        left = ahead[2] @ pose[0, :3, 0] < 0
        assert clip.attributes["direction"].split(", ")[0] == ("left" if left else "right")


def test_the_dolly_moves_along_its_axis_at_one_speed():
    for clip in _select("dolly"):
        pose = clip.truth["pose"].astype(np.float64)
        np.testing.assert_allclose(pose[:, :3, :3], pose[:1, :3, :3].repeat(17, 0), atol=1e-5)
        steps = np.diff(pose[:, :3, 3], axis=0)
        along = steps @ _ahead(pose)[0]
        np.testing.assert_allclose(np.linalg.norm(steps, axis=1), np.abs(along), atol=1e-4)
        assert np.median(np.abs(along)) * FPS == pytest.approx(
            abs(clip.truth["camera_speed"]), rel=2e-3
        )
        assert clip.attributes["direction"].split(", ")[0] == (
            "in" if along[:3].sum() > 0 else "out"
        )


def test_speeds_are_drawn_from_the_stated_ranges():
    for clip in CLIPS.values():
        low, high = laws.SPEEDS[clip.attributes["motion"]][clip.attributes["speed"]]
        assert low <= abs(clip.truth["camera_speed"]) <= high
        assert laws.is_trained_speed(clip.attributes["speed"])


def test_directions_are_named_in_time():
    u = np.array([0, 1, 2, 3, 2, 1, 0, -1.0])
    assert laws.name_directions("pan", u) == "left, right"
    assert laws.name_directions("dolly", -u) == "out, in"
    assert laws.name_directions("orbit", u[:5]) == "left"  # one step back is not a leg
    assert laws.name_directions("pan", np.concatenate([u, u])) == "left, right, again"
    assert laws.name_directions("pan", u[:1]) == "none"


def test_the_path_turns_round_at_its_ends():
    u = laws.follow_path(np.arange(0.0, 9.0), -1.0, 2.0)
    np.testing.assert_allclose(u, [0, 1, 2, 1, 0, -1, 0, 1, 2])


def test_depth_poses_and_intrinsics_agree_with_the_scene():
    for clip in list(CLIPS.values())[:8]:
        truth, (h, w) = clip.truth, clip.video.shape[1:3]
        k, step = truth["intrinsics"].astype(np.float64), orbit.DEPTH_STRIDE
        assert truth["depth"].shape == (17, h // step, w // step)
        for i in (0, 16):
            depth = truth["depth"][i].astype(np.float64)
            row, column = np.nonzero(np.isfinite(depth) & (depth < 8))
            d = depth[row, column]
            x = (step * column + step // 2 + 0.5 - k[0, 2]) / k[0, 0] * d
            y = -(step * row + step // 2 + 0.5 - k[1, 2]) / k[1, 1] * d
            pose = truth["pose"][i].astype(np.float64)
            points = np.stack([x, y, -d], -1) @ pose[:3, :3].T + pose[:3, 3]
            on_floor = np.abs(points[:, 2]) < 0.03
            offset = np.abs(points[:, None] - truth["positions"][i])
            wide, tall = truth["half"][:, 0], truth["half"][:, 1]
            on_solid = (np.hypot(offset[..., 0], offset[..., 1]) < 1.42 * wide + 0.03) & (
                offset[..., 2] < tall + 0.03
            )
            assert (on_floor | on_solid.any(1)).all()
            assert on_solid.any() and on_floor.any()


def test_the_first_frame_shows_all_solids():
    for clip in CLIPS.values():
        assert clip.truth["visible"][0].min() > 0.4


def test_a_ball_rolls_at_a_steady_speed_and_clear_of_the_others():
    assert sum(clip.attributes["path"] != "none" for clip in CLIPS.values()) >= 3
    for clip in CLIPS.values():
        rolls = clip.attributes["path"] != "none"
        positions = clip.truth["positions"].astype(np.float64)
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1) * FPS
        assert np.abs(steps[:, int(rolls) :]).max() == 0
        if rolls:
            np.testing.assert_allclose(steps[:, 0], clip.truth["ball_speed"], rtol=0.01)
            assert laws.BALL_SPEED[0] <= clip.truth["ball_speed"] <= laws.BALL_SPEED[1]
            reach = math.sqrt(2) * clip.truth["half"][1:, 0] + clip.truth["half"][0, 0]
            gap = np.linalg.norm(positions[:, :1, :2] - positions[:, 1:, :2], axis=-1)
            assert (gap > reach).all()
            assert clip.attributes["solids"].split(", ")[0].endswith("ball")
        places, wide = positions[0, int(rolls) :, :2], clip.truth["half"][int(rolls) :, 0]
        for i in range(1, len(places)):
            gap = np.linalg.norm(places[:i] - places[i], axis=-1)
            assert (gap > wide[:i] + wide[i]).all()


def test_captions_say_what_the_window_shows():
    for clip in CLIPS.values():
        detailed = clip.captions["detailed"]
        attributes = clip.attributes
        for text in (attributes["floor"], *attributes["solids"].split(", ")):
            assert text in detailed
        how = {"slow": " slowly", "quick": " quickly"}[attributes["speed"]]
        assert how in detailed
        first, *rest = attributes["direction"].split(", ")
        assert f" {first}" in detailed
        assert ("then" in detailed) == bool(rest)
        assert ("then back " + rest[0] in detailed) == (len(rest) == 1) if rest else True
        assert ("fro." in detailed or "forth." in detailed) == (len(rest) > 1)
        rolls = "rolling" in detailed or "circling" in detailed
        assert rolls == (attributes["path"] != "none")
        for caption in clip.captions.values():
            assert caption == caption.lower() and len(caption.split()) <= 40


def test_a_still_says_nothing_of_motion():
    for seed in range(6):
        clip = orbit.make_clip(base.ClipRequest(seed, frames=1, height=48, width=48))
        assert clip.attributes["motion"] == "still" and clip.attributes["path"] == "none"
        for caption in clip.captions.values():
            words = set(caption.replace(",", " ").split())
            assert not words & {"camera", "rolls", "left", "right", "slowly", "quickly", "then"}


def test_held_out_pairs():
    for seed in range(8):
        for held_out in (True, False):
            clip = _make(seed, held_out=held_out)
            assert orbit.is_held_out(clip.attributes) == held_out
    pairs = [f"{color} {solid}" for color in COLORS for solid in laws.SOLIDS]
    assert sum(orbit.is_held_out({"solids": pair}) for pair in pairs) == 8


def test_outside_has_faster_cameras_or_more_solids():
    for seed in range(8):
        clip = _make(seed, outside=True)
        fast = not laws.is_trained_speed(clip.attributes["speed"])
        assert fast or clip.attributes["count"] == str(laws.OUTSIDE_COUNT)
        assert clip.truth["positions"].shape[1] == int(clip.attributes["count"])
        assert len(clip.captions["detailed"].split()) <= 40


def test_broken_laws_change_the_video_alone():
    for law in orbit.BROKEN:
        changed = 0
        for seed in (9, 15):
            clip = _make(seed, broken=law)
            lawful = _make(seed)
            assert clip.captions == lawful.captions and clip.attributes == lawful.attributes
            np.testing.assert_array_equal(clip.truth["pose"], lawful.truth["pose"])
            changed += not np.array_equal(clip.video, lawful.video)
            if law not in ("speed_doubled", "blurred", "flickering"):
                np.testing.assert_array_equal(clip.video[:4], lawful.video[:4])
        assert changed >= (1 if law == "ball_stops" else 2), law
    with pytest.raises(ValueError, match="nonsense"):
        _make(0, broken="nonsense")


def test_truth_is_small():
    clip = orbit.make_clip(base.ClipRequest(3, frames=17, height=64, width=96))
    assert sum(value.nbytes for value in clip.truth.values() if hasattr(value, "nbytes")) < 20_000


@pytest.mark.parametrize("size", [(48, 120), (120, 48), (96, 96)])
def test_any_canvas(size):
    clip = orbit.make_clip(base.ClipRequest(1, frames=2, height=size[0], width=size[1]))
    assert clip.video.shape == (2, *size, 3)
    assert clip.truth["visible"].min() > 0.4
