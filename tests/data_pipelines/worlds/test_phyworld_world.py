"""phyworld keeps the paper's laws, distributions and rules, and breaks only what it is asked to."""

import numpy as np
import pytest

from data_pipelines.worlds import phyworld
from data_pipelines.worlds.base import ClipRequest
from sora_jax.laws import phyworld as laws


def clips(motion, count, **request):
    """The first so many clips of a motion."""
    found, seed = [], 0
    while len(found) < count:
        clip = phyworld.make_clip(ClipRequest(seed, **({"frames": 33} | request)))
        if clip.attributes["motion"] == motion:
            found.append((seed, clip))
        seed += 1
    return found


def test_parabola_is_a_loop_of_semi_implicit_steps():
    for _, clip in clips("parabola", 3, held_out=False):
        x, v = (
            clip.truth["position"][0, 0].astype(float),
            clip.truth["velocity"][0, 0].astype(float),
        )
        for i in range(1, 33):
            for _ in range(10):
                v = v + np.array([0, -2.5]) * 0.01
                x = x + v * 0.01
            np.testing.assert_allclose(clip.truth["position"][i, 0], x, atol=2e-5)
            np.testing.assert_allclose(clip.truth["velocity"][i, 0], v, atol=2e-5)


def test_the_first_frame_is_one_step_after_the_start():
    for _, clip in clips("parabola", 3, held_out=False):
        np.testing.assert_allclose(clip.truth["velocity"][0, 0, 1], -2.5 * 0.01, rtol=1e-5)


def test_uniform_motion_and_its_pixels():
    for _, clip in clips("uniform", 6, held_out=False, height=128, width=128):
        position, view = clip.truth["position"][:, 0], clip.truth["in_view"][:, 0]
        np.testing.assert_allclose(np.diff(position, 2, axis=0), 0, atol=1e-5)
        assert np.diff(position[:, 1]).max() == 0
        # Centroids of the red share, with a ruler of the test's own.
        share = (255 - clip.video[view][..., 1].astype(float)) / 255
        i, j = np.mgrid[:128, :128]
        center = [
            (share * 10 * grid / 127).sum((1, 2)) / share.sum((1, 2)) for grid in (j, 127 - i)
        ]
        np.testing.assert_allclose(np.stack(center, 1), position[view], atol=0.01)
        area = share.sum((1, 2)).mean() * (10 / 127) ** 2
        np.testing.assert_allclose(area, np.pi * clip.truth["radius"][0] ** 2, rtol=0.03)


def test_collisions_conserve_energy_and_momentum_and_balls_touch_once():
    for _, clip in clips("collision", 8, held_out=False):
        truth = clip.truth
        mass, v = truth["radius"].astype(float) ** 2, truth["velocity"][..., 0].astype(float)
        assert not np.allclose(v[0], v[-1])
        np.testing.assert_allclose(v @ mass, v[0] @ mass, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(v**2 @ mass, v[0] ** 2 @ mass, rtol=1e-5)
        gap = np.diff(truth["position"][..., 0], axis=1)[:, 0] - truth["radius"].sum()
        assert (gap > -1e-5).all()
        changed = int(np.argmax(np.abs(np.diff(v[:, 0])) > 1e-6))
        assert changed <= (truth["touch"] - 0.01) * 10 <= changed + 1
        assert 4 <= truth["touch"] * 10 <= 24.2


def test_distributions_are_those_of_training():
    for seed in range(200):
        clip = phyworld.make_clip(ClipRequest(seed, held_out=False, frames=1))
        motion, truth = clip.attributes["motion"], clip.truth
        low, high = (0.5, 1.5) if motion == "collision" else (0.7, 1.4)
        assert (low <= truth["radius"]).all() and (truth["radius"] <= high).all()
        speed = np.abs(truth["velocity"][0, :, 0])
        assert (1 <= speed).all() and (speed <= 4).all()
        assert truth["in_view"].all() and not phyworld.is_held_out(clip.attributes)


@pytest.mark.parametrize("request_", [{"held_out": True}, {"outside": True}])
def test_levels_outside_of_training(request_):
    levels = set()
    for seed in range(150):
        clip = phyworld.make_clip(ClipRequest(seed, frames=1, **request_))
        motion, level = clip.attributes["motion"], clip.attributes["level"]
        assert phyworld.is_held_out(clip.attributes)
        levels.add((motion, level))
        low, high = (0.5, 1.5) if motion == "collision" else (0.7, 1.4)
        values = {}
        for i, r in enumerate(clip.truth["radius"]):
            values[f"radius {i}"] = not low <= r <= high
            values[f"speed {i}"] = not 1 <= abs(clip.truth["velocity"][0, i, 0]) <= 4
        assert {k for k, v in values.items() if v} == laws.LEVELS[motion][level]
    assert len(levels) == 3 + 3 + 6


def test_a_shorter_clip_is_the_beginning_and_frames_have_a_limit():
    for seed in range(6):
        long = phyworld.make_clip(ClipRequest(seed, frames=33))
        short = phyworld.make_clip(ClipRequest(seed, frames=9))
        assert long.video.shape == (33, 64, 64, 3) and long.fps == 10
        np.testing.assert_array_equal(short.video, long.video[:9])
        np.testing.assert_array_equal(short.truth["position"], long.truth["position"][:9])
        assert short.attributes == long.attributes
    with pytest.raises(ValueError, match="frames is 65: ask for 1 to 33"):
        phyworld.make_clip(ClipRequest(0, frames=65))
    with pytest.raises(ValueError, match="held_out=True"):
        phyworld.make_clip(ClipRequest(0, held_out=False, outside=True))


def test_other_canvases_show_the_same_scene():
    for seed in range(4):
        small = phyworld.make_clip(ClipRequest(seed, frames=9, height=64, width=64))
        large = phyworld.make_clip(ClipRequest(seed, frames=9, height=128, width=128))
        wide = phyworld.make_clip(ClipRequest(seed, frames=9, height=64, width=96))
        shrunk = large.video.reshape(9, 64, 2, 64, 2, 3).mean((2, 4))
        assert np.abs(shrunk - small.video).mean() < 2
        np.testing.assert_array_equal(wide.video[:, :, 16:80], small.video)
        assert (wide.video[:, :, :16] == laws.MARGIN).all()
        np.testing.assert_array_equal(small.truth["position"], wide.truth["position"])


def test_a_picture_of_256_pixels_is_the_papers():
    clip = clips("uniform", 1, height=256, width=256, frames=1)[0][1]
    (x, y), r = clip.truth["position"][0, 0], clip.truth["radius"][0]
    line = np.linspace(0, 1, 256)
    squared = (line[None, :] - x / 10) ** 2 + (line[:, None] - y / 10) ** 2
    mask = np.clip(((r / 10) ** 2 - squared) / (0.03 * (r / 10) ** 2), 0, 1)[::-1, :, None]
    wanted = ((1 - mask) * 255 + mask * np.array([255, 0, 0])).astype(np.uint8)
    assert np.abs(wanted.astype(int) - clip.video[0]).max() <= 2


def test_captions_say_what_the_window_shows():
    for motion, word in (
        ("uniform", "steady"),
        ("parabola", "falls"),
        ("collision", "to the left"),
    ):
        for seed, clip in clips(motion, 12, held_out=False):
            detailed = clip.captions["detailed"]
            assert word in detailed and "to the right" in detailed and len(detailed.split()) <= 40
            keys = [k for k in clip.attributes if k.split("_")[-1] in ("color", "size", "speed")]
            assert all(clip.attributes[k] in detailed for k in keys)
            short = phyworld.make_clip(ClipRequest(seed, held_out=False, frames=9))
            touches = bool(0 <= short.truth["touch"] <= 0.81)
            for caption in short.captions.values():
                assert touches == any(w in caption for w in ("collide", "hit each other"))
            still = phyworld.make_clip(ClipRequest(seed, held_out=False, frames=1))
            assert not any(w in still.captions["detailed"] for w in ("moves", "fall", "collide"))


@pytest.mark.parametrize("broken", phyworld.BROKEN)
def test_a_broken_law_changes_the_video_alone_and_late(broken):
    motion = {"gravity_doubled": "parabola", "inelastic": "collision"}.get(broken, "uniform")
    for seed, lawful in clips(motion, 4, held_out=False):
        clip = phyworld.make_clip(ClipRequest(seed, held_out=False, frames=33, broken=broken))
        assert clip.captions == lawful.captions and clip.attributes == lawful.attributes
        np.testing.assert_array_equal(clip.truth["position"], lawful.truth["position"])
        same = (clip.video == lawful.video).all((1, 2, 3))
        assert same[:5].all() and not same.all()


def test_broken_gravity_is_twice_the_lawful_one():
    for seed, _ in clips("parabola", 3, held_out=False, frames=13, height=256, width=256):
        video = phyworld.make_clip(
            ClipRequest(seed, False, 13, 256, 256, broken="gravity_doubled")
        ).video
        share = (255 - video[..., 1].astype(float)) / 255
        y = (share * np.arange(255, -1, -1)[:, None]).sum((1, 2)) / share.sum((1, 2)) * 10 / 255
        fitted = [
            2 * np.polyfit(np.arange(n) / 10, part, 2)[0] for n, part in ((5, y[:5]), (9, y[4:]))
        ]
        np.testing.assert_allclose(fitted, [-2.5, -5.0], rtol=0.06)
