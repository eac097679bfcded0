"""Tests of the world `occlusion`: hidden means hidden, paths are lawful, captions true."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.worlds import (
    base,
    occlusion,
    occlusion_physics,
    occlusion_scene,
    occlusion_story,
)
from experiments.benchmarks.physics import CANVASES, count_changes
from sora_jax.laws import occlusion as laws
from sora_jax.laws.palette import COLORS, FPS


def make(seed: int, frames: int = 17, size=(64, 96), **kwargs) -> base.Clip:
    return occlusion.make_clip(
        base.ClipRequest(seed, frames=frames, height=size[0], width=size[1], **kwargs)
    )


def draw(seed: int, outside: bool = False) -> occlusion_scene.Scene:
    return occlusion_physics.draw_scene(np.random.default_rng(seed), None, outside)


def find_seeds(event: str, count: int, **wanted: str) -> list[int]:
    """Seeds whose clip of 33 frames shows an event and some attributes."""
    found, seed = [], 0
    while len(found) < count:
        rng = base.make_rng(occlusion.NAME, seed)
        base.draw_canvas(rng, base.ClipRequest(seed), ())
        scene = occlusion_physics.draw_scene(rng, None, False)
        if scene.event == event:
            times = scene.start + np.arange(33)
            story = dataclasses.asdict(occlusion_story.tell(scene, scene.things[0], times))
            if all(story[key] == value for key, value in wanted.items()):
                found.append(seed)
        seed += 1
    return found


def test_hidden_means_that_no_pixel_changes():
    """`experiments/benchmarks/physics.py` counts the same over more scenes."""
    frames, changed = np.sum([count_changes(seed) for seed in range(300, 312)], axis=0)
    assert frames > 30 and changed == 0


def test_hidden_times_are_lawful():
    counts = []
    for seed in range(300):
        scene = draw(seed)
        for thing in scene.things:
            if thing.path.speed == 0 and scene.event != "pan" or thing.path.kind == "stop":
                continue
            times = scene.start % 1 + np.arange(-60, 90)
            gone = occlusion_story.watch(scene, thing, times)[1].astype(int)
            edges = np.flatnonzero(np.diff(gone)).reshape(-1, 2) if gone[0] == gone[-1] == 0 else []
            if scene.event in laws.BEHIND:
                assert len(edges) == 1
                counts.append(edges[0, 1] - edges[0, 0])
    assert min(counts) >= laws.MIN_HIDDEN_FRAMES and max(counts) <= laws.MAX_HIDDEN_FRAMES
    assert min(counts) <= 6 and max(counts) >= 18


@pytest.mark.parametrize("outside", [False, True])
def test_speeds_are_steady_and_within_the_laws(outside):
    ranges = laws.OUTSIDE_SPEEDS if outside else (laws.SPEEDS,)
    for seed in range(12):
        clip = make(seed, frames=33, size=(48, 48), outside=outside)
        x = clip.truth["position"][0, :, 0].astype(np.float64)
        speeds = np.abs(np.diff(x)) * FPS
        moving = speeds[speeds > 1e-4]
        if clip.attributes["event"] == "pan":
            assert not len(moving)
            continue
        # A turn or a stop takes place within one frame; all other steps are alike.
        unlike = np.abs(moving - np.median(moving)) > 1e-3 * np.median(moving)
        assert unlike.sum() <= 1
        assert any(low - 1e-3 <= np.median(moving) <= high + 1e-3 for low, high in ranges)
        np.testing.assert_allclose(clip.truth["speed"][0], np.median(moving), rtol=1e-3)


def test_speed_in_pixels_is_that_of_the_truth():
    for seed in find_seeds("through", 3, story="again"):
        clip = make(seed, frames=33)
        color = np.array(COLORS[clip.attributes["color"]], float)
        clear = np.flatnonzero(clip.truth["clear"][0])
        values = clip.video[clear].astype(float)
        chroma, own = values - values.mean(-1, keepdims=True), color - color.mean()
        share = np.clip(chroma @ own / (own @ own), 0, 1) > 0.45
        other = np.array(COLORS[clip.attributes["wall"]], float)
        other -= other.mean()
        share &= chroma @ own / np.linalg.norm(own) > chroma @ other / np.linalg.norm(other)
        columns = (share.sum(1) @ (np.arange(96) + 0.5)) / share.sum((1, 2))
        middle = clip.truth["center"][0, clear, 0]
        np.testing.assert_allclose(columns - middle, 0, atol=1.0)
        # 1 unit is half the frame's width at the lane.
        pixels = np.diff(clip.truth["center"][0, :, 0])[clip.truth["clear"][0][1:]]
        np.testing.assert_allclose(
            np.abs(pixels).mean() * FPS / 48, clip.truth["speed"][0], rtol=0.05
        )


@pytest.mark.parametrize("size", CANVASES)
def test_a_clip_is_a_window_of_its_run(size):
    for seed in range(2):
        long, short = make(seed, 65, size), make(seed, 9, size)
        np.testing.assert_array_equal(long.video[:9], short.video)
        for key in ("position", "visible", "hidden", "center", "clear"):
            np.testing.assert_array_equal(long.truth[key][:, :9], short.truth[key])
        np.testing.assert_array_equal(long.video[:1], make(seed, 1, size).video)


def test_a_larger_canvas_shows_the_same_scene():
    for seed in range(4):
        small, large = make(seed, 9, (48, 72)), make(seed, 9, (96, 144))
        assert small.captions == large.captions
        np.testing.assert_array_equal(small.truth["position"], large.truth["position"])
        halved = large.video.reshape(9, 48, 2, 72, 2, 3).mean((2, 4))
        assert np.abs(halved - small.video).mean() < 1.5


def test_truth_of_pixels_and_projection():
    for seed in range(8):
        clip = make(seed, 9)
        truth = clip.truth
        assert (truth["visible"] <= truth["whole"]).all()
        assert (truth["visible"][truth["hidden"]] == 0).all()
        assert (truth["whole"][~truth["in_frame"]] == 0).all()
        pose, k = truth["pose"].astype(np.float64), np.array(truth["intrinsics"])
        for i, radius in enumerate(truth["radius"]):
            clear = truth["clear"][i]
            points = truth["position"][i] - pose[:, :3, 3]
            x, _, z = np.einsum("tji,tj->it", pose[:, :3, :3], points)
            column = k[0, 0] * x / -z + k[0, 2]
            np.testing.assert_allclose(truth["center"][i, clear, 0], column[clear], atol=1.2)
            assert truth["position"][i, 0, 2] == pytest.approx(radius)
        assert sum(np.asarray(v).nbytes for v in truth.values()) < 20_000


def test_stories_agree_with_pixels():
    seen = set()
    for seed in range(36):
        clip = make(seed, [9, 17, 33][seed % 3], (48, 48))
        for i, suffix in enumerate(("", "2")):
            a = {key: clip.attributes[key + suffix] for key in ("story", "exit", "direction")}
            if a["story"] == "none":
                continue
            seen.add(a["story"])
            share = clip.truth["visible"][i] / (
                np.pi * (24 * clip.truth["radius"][i]) ** 2
            )  # about 1 when it is whole
            gone = clip.truth["visible"][i] == 0
            known = np.flatnonzero(share > 0.4)
            first, last = share[0] > 0.3, share[-1] > 0.3
            if a["story"] in ("seen", "rests"):
                assert first and last and not gone.any()
            elif a["story"] == "unseen":
                assert share.max() < 0.1
            elif a["story"] == "edge":
                assert share.max() < 0.7
            elif a["story"] in ("gone", "stays"):
                assert first and gone[-1] and known[0] < gone.argmax()
                assert a["story"] == "gone" or gone.sum() >= laws.MIN_HIDDEN_FRAMES
            elif a["story"] == "again":
                lost = np.flatnonzero(gone)
                assert known[0] < lost[0] < known[-1]
                assert np.diff(known).max() > laws.MIN_HIDDEN_FRAMES
            elif a["story"] == "appears":
                assert not first or share[0] < 0.7
                assert known[0] > 0
            moved = clip.truth["center"][i, known[:2], 0]
            if a["direction"] != "none" and len(moved) == 2 and known[1] == known[0] + 1:
                if clip.attributes["camera"] == "still":
                    assert (moved[1] > moved[0]) == (a["direction"] == "right")
    assert {"again", "gone", "stays", "appears", "going", "coming", "rests"} <= seen


def test_captions_tell_what_is_shown():
    for seed in range(40):
        clip = make(seed, [1, 9, 17, 33, 17][seed % 5], (48, 48))
        a = clip.attributes
        for caption in clip.captions.values():
            assert caption == caption.lower() and len(caption.split()) <= 40
            assert f"{a['wall']} wall" in caption
        named = [s for s in ("", "2") if a["story" + s] not in ("none", "unseen")]
        assert len(named) == int(a["count"])
        detailed = clip.captions["detailed"]
        assert f"{a['floor']} floor" in detailed
        for suffix in ("", "2"):
            name = f"{a['color' + suffix]} {a['shape' + suffix]}"
            assert (name in detailed) == (suffix in named)
            if suffix in named and a["story" + suffix] != "edge":
                assert f"{a['size' + suffix]} {name}" in detailed
            if suffix in named and a["exit" + suffix] != "none":
                assert f"on the {a['exit' + suffix]}" in detailed.replace("from the", "on the")
        if a["event"] in laws.BEHIND:
            lost = [
                a["story" + s] in ("going", "gone", "stays", "coming", "again") for s in ("", "2")
            ]
            assert detailed.count("disappear") == sum(lost)
            assert detailed.count("turns back") == (a["story"] == "again") * (
                a["event"] in ("back", "beside")
            )
        assert ("does not come out" in detailed or "stays hidden" in detailed) == (
            a["story"] == "stays"
        )
        if len(clip.video) == 1:
            assert not any(word in detailed for word in ("moves", "rolls", "slides", "then", "pan"))


def test_held_out_pairs():
    for seed in range(12):
        assert occlusion.is_held_out(make(seed, 1, held_out=True).attributes)
        assert not occlusion.is_held_out(make(seed, 1, held_out=False).attributes)
    pairs = [(c, w) for c in COLORS for w in laws.WALLS if not laws.are_alike(c, w)]
    assert 0.1 < np.mean([laws.is_held_out(*pair) for pair in pairs]) < 0.3


def test_two_colours_never_mix_to_a_third():
    assert laws.may_mix("purple", "pink", "blue") and not laws.may_mix("green", "pink", "blue")
    for seed in range(150):
        scene = draw(seed)
        if len(scene.things) == 2:
            first, second = (thing.color for thing in scene.things)
            assert not laws.may_mix(first, second, scene.wall.color)
            assert not laws.may_mix(second, first, scene.wall.color)


def test_clips_begin_before_and_while_hidden():
    starts = [draw(seed).start for seed in range(200)]
    assert 0.15 < np.mean(np.array(starts) > 0) < 0.45


@pytest.mark.parametrize("law", occlusion.BROKEN)
def test_a_broken_law_changes_the_video_alone(law):
    wanted = {
        "escapes": ("stays", {"story": "stays"}),
        "exchanged": ("cross", {"story": "again"}),
    }
    event, story = wanted.get(law, ("through", {"story": "again"}))
    seed = find_seeds(event, 1, **story)[0]
    lawful, broken = make(seed, 33), make(seed, 33, broken=law)
    assert broken.captions == lawful.captions and broken.attributes == lawful.attributes
    np.testing.assert_array_equal(broken.truth["position"], lawful.truth["position"])
    changed = (broken.video != lawful.video).any((1, 2, 3))
    assert changed.any() and not changed[0]
    if law.endswith("behind") or law in ("wrong_time", "wrong_side", "never_returns"):
        assert changed.argmax() > lawful.truth["hidden"][0].argmax()


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="recolored_behind"):
        make(0, 9, broken="gravity")
