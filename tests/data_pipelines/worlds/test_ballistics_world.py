import collections
import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import ballistics
from data_pipelines.worlds.ballistics_captions import MAX_WORDS
from data_pipelines.worlds.ballistics_physics import Laws, collide, fly
from data_pipelines.worlds.base import SIZES, ClipRequest
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS


def make(seed, frames=17, height=64, width=64, **options):
    return ballistics.make_clip(
        ClipRequest(seed, frames=frames, height=height, width=width, **options)
    )


@pytest.fixture(scope="module")
def clips():
    return [make(seed, frames=33) for seed in range(40)]


def step_through(start, velocity, low, high, laws_, until, steps=4000):
    """The same motion of one object by tiny steps, each hit of a wall placed by bisection."""
    p, v, dt = np.array(start, float), np.array(velocity, float), until / steps
    pull = np.array([0, laws_.gravity])
    for _ in range(steps):
        rest = dt
        for _ in range(20):
            after = p + v * rest + pull * rest**2 / 2
            out = [
                (axis, wall, sign)
                for axis in (0, 1)
                for wall, sign in ((low[axis], -1), (high[axis], 1))
                if laws_.walls
                and sign * (after[axis] - wall) > 1e-12
                # A floor only, under gravity.
                and not (laws_.gravity and axis == 1 and sign < 0)
            ]
            if not out:
                p, v, rest = after, v + pull * rest, 0
                break
            axis, wall, sign = out[0]
            a, b = 0.0, rest
            for _ in range(40):
                m = (a + b) / 2
                inside = sign * ((p + v * m + pull * m**2 / 2)[axis] - wall) <= 0
                a, b = (m, b) if inside else (a, m)
            p, v, rest = p + v * a + pull * a**2 / 2, v + pull * a, rest - a
            v[axis] *= -laws_.restitution
    return p


@pytest.mark.parametrize(
    ("gravity", "restitution", "until"), [(0.0, 1.0, 6.0), (0.0, 0.8, 3.0), (1.2, 0.8, 4.0)]
)
def test_flight_between_walls_equals_small_steps(gravity, restitution, until):
    obeys = Laws(gravity, True, restitution)
    low, high = np.array([[0.1, 0.1]]), np.array([[0.9, 1.3]])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        start = rng.uniform(low, high)
        velocity = rng.uniform(-0.8, 0.8, (1, 2))
        position = fly(start, velocity, low, high, np.array([0.0, until]), obeys)[0]
        wanted = step_through(start[0], velocity[0], low[0], high[0], obeys, until)
        np.testing.assert_allclose(position[0, 0], start[0], atol=1e-9)
        np.testing.assert_allclose(position[0, 1], wanted, atol=2e-3)


def test_bounces_above_a_floor_come_to_rest_on_it():
    low, high = np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]])
    times = np.linspace(0, 14, 200)
    position, velocity, _ = fly(
        np.array([[0.5, 0.3]]), np.zeros((1, 2)), low, high, times, Laws(1.2, True, 0.8)
    )
    # All bounces together last first (1 + e) / (1 - e).
    over = math.sqrt(2 * 0.7 / 1.2) * 1.8 / 0.2
    assert np.isfinite(position).all() and (position[0, :, 1] <= 1 + 1e-9).all()
    assert (velocity[0, times > over, 1] == 0).all()
    assert (position[0, times < 0.9 * over, 1] < 1 - 1e-6).all()


def test_discs_keep_energy_momentum_and_distance():
    rng = np.random.default_rng(0)
    radii, room = np.array([0.1, 0.15, 0.12]), (1.2, 1.0)
    start = np.array([[0.2, 0.2], [0.8, 0.7], [0.9, 0.2]])
    velocity = rng.uniform(-0.8, 0.8, (3, 2))
    times = np.linspace(0, 10, 4001)
    for walls in (True, False):
        position, speed, events = collide(
            start, velocity, radii, room, times, Laws(0.0, walls, 1.0, contacts=True)
        )
        mass = radii**2
        energy = (mass[:, None] * (speed**2).sum(-1)).sum(0)
        np.testing.assert_allclose(energy, energy[0], rtol=1e-9)
        for i, j in itertools.combinations(range(3), 2):
            gap = np.linalg.norm(position[i] - position[j], axis=-1) - radii[i] - radii[j]
            assert gap.min() > -1e-6
        if walls:
            assert any(event.other >= 0 for event in events)
            assert (position > radii[:, None, None] - 1e-9).all()
            assert (position < np.array(room) - radii[:, None, None] + 1e-9).all()
        else:
            momentum = (mass[:, None, None] * speed).sum(0)
            np.testing.assert_allclose(momentum, np.tile(momentum[0], (4001, 1)), atol=1e-12)


def test_a_head_on_collision_of_equal_discs_exchanges_velocities():
    start, velocity = np.array([[0.2, 0.5], [0.8, 0.5]]), np.array([[0.4, 0.0], [0.0, 0.0]])
    obeys = Laws(0.0, False, 1.0, contacts=True)
    position, speed, events = collide(
        start, velocity, np.array([0.1, 0.1]), (1, 1), np.array([0.0, 1.5]), obeys
    )
    assert events[0].time == pytest.approx(1.0) and (events[0].object, events[0].other) == (0, 1)
    np.testing.assert_allclose(position[:, 1], [[0.6, 0.5], [1.0, 0.5]], atol=1e-9)
    np.testing.assert_allclose(speed[:, 1], [[0, 0], [0.4, 0]], atol=1e-9)


def test_a_shorter_clip_is_the_beginning_of_a_longer_one():
    for seed in range(6):
        long = make(seed, frames=65)
        for frames in (1, 9, 33):
            short = make(seed, frames=frames)
            np.testing.assert_array_equal(short.video, long.video[:frames])
            for key in ("position", "velocity", "whole", "gone"):
                np.testing.assert_array_equal(short.truth[key], long.truth[key][:frames])


def test_a_larger_canvas_shows_the_same_scene():
    for seed in range(4):
        small, large = make(seed, height=54, width=96), make(seed, height=108, width=192)
        np.testing.assert_allclose(
            small.truth["position"], large.truth["position"], atol=1e-5, rtol=0
        )
        assert small.captions == large.captions and small.attributes == large.attributes
        halved = large.video.reshape(17, 54, 2, 96, 2, 3).mean((2, 4))
        # Edges of less than a pixel differ, by their width times their contrast.
        assert np.abs(halved - small.video).mean() < 1.5


def test_pixels_are_where_truth_says(clips):
    for clip in clips[:12]:
        shapes = clip.attributes["shapes"].split(", ")
        for i, color in enumerate(clip.attributes["colors"].split(", ")):
            near = np.abs(clip.video.astype(int) - COLORS[color]).max(-1) < 40
            for t in np.flatnonzero(clip.truth["whole"][:, i])[::4]:
                y, x = ndimage.center_of_mass(near[t])
                center = (np.array([x, y]) + 0.5) / 64
                np.testing.assert_allclose(center, clip.truth["position"][t, i], atol=0.012)
                full = laws.area(shapes[i]) * clip.truth["radius"][i] ** 2 * 64**2
                assert 0.65 * full < near[t].sum() < 1.1 * full
            hidden = np.flatnonzero(clip.truth["gone"][:, i])
            assert not near[hidden].any()


def test_free_objects_obey_gravity_and_stay_apart(clips):
    seen = collections.Counter()
    for clip in clips:
        truth = clip.truth
        assert truth["gravity"] in (0.0, laws.GRAVITY)
        bends = np.diff(truth["position"].astype(float), 2, axis=0) * FPS**2
        times = np.array([event["time"] for event in truth["events"]]) * FPS
        free = [t for t in range(len(bends)) if not ((times > t) & (times < t + 2)).any()]
        pull = np.broadcast_to([0, truth["gravity"]], bends[free].shape)
        np.testing.assert_allclose(bends[free], pull, atol=2e-4)
        seen[clip.attributes["motion"]] += len(free)
        reach = truth["radius"] * [laws.REACH[s] for s in clip.attributes["shapes"].split(", ")]
        collides = any("other" in event for event in truth["events"])
        for i, j in itertools.combinations(range(len(reach)), 2):
            gap = np.linalg.norm(truth["position"][:, i] - truth["position"][:, j], axis=-1)
            gap = gap - reach[i] - reach[j]
            assert gap.min() > (-1e-5 if collides else 0.04)
        if truth["walls"]:
            assert truth["whole"].all()
    assert set(seen) == {"rest", "slide", "fall", "bounce", "collide"}


def test_first_frames_show_free_flight_of_whole_objects(clips):
    for clip in clips:
        assert clip.truth["whole"][:5].all()
        assert all(event["time"] >= 0.5 for event in clip.truth["events"])


def test_speeds_and_sizes_are_within_the_laws(clips):
    for clip in clips:
        names = clip.attributes["sizes"].split(", ")
        for radius, name in zip(clip.truth["radius"], names, strict=True):
            low, high = laws.DIAMETERS[name]
            assert low - 1e-6 <= 2 * radius <= high + 1e-6
        actions = clip.attributes["actions"].split(", ")
        if clip.attributes["gravity"] == "none" and clip.attributes["motion"] != "collide":
            for velocity, action in zip(clip.truth["velocity"][0], actions, strict=True):
                speed = np.linalg.norm(velocity)
                low, high = laws.SPEEDS
                assert speed == 0 if action == "rest" else low - 1e-6 <= speed <= high + 1e-6


def test_outside_leaves_the_range_of_training():
    kinds = set()
    for seed in range(12):
        clip = make(seed, frames=1, width=96, outside=True)
        kind = clip.truth["outside"]
        kinds.add(kind)
        diameters = 2 * clip.truth["radius"]
        inside = [low <= d <= high for d in diameters for low, high in laws.DIAMETERS.values()]
        if kind == "count":
            assert len(diameters) == laws.COUNT_OUTSIDE
        elif kind == "size":
            assert not any(inside)
        else:
            fastest = np.abs(clip.truth["velocity"][0]).max(0)
            assert np.linalg.norm(fastest) > laws.SPEEDS_OUTSIDE[0] - 1e-6
    assert kinds == {"speed", "size", "count"}


def test_pairs_of_colour_and_shape_are_held_out():
    for seed in range(15):
        for held_out in (True, False):
            clip = make(seed, frames=1, held_out=held_out)
            pairs = list(
                zip(
                    clip.attributes["colors"].split(", "),
                    clip.attributes["shapes"].split(", "),
                    strict=True,
                )
            )
            kept = [list(COLORS).index(c) % 4 == laws.SHAPES.index(s) for c, s in pairs]
            assert any(kept) == held_out == ballistics.is_held_out(clip.attributes)
            assert len({color for color, _ in pairs}) == len(pairs)


def test_captions_say_what_the_window_shows(clips):
    wordings = set()
    for clip in [*clips, *(make(seed, frames=9, width=96, outside=True) for seed in range(20))]:
        attributes, detailed = clip.attributes, clip.captions["detailed"]
        events, t = clip.truth["events"], len(clip.video)
        words = detailed.replace(",", "").replace(";", "").replace(":", "").replace(".", "").split()
        for caption in clip.captions.values():
            assert caption == caption.lower() and len(caption.split()) <= MAX_WORDS
        assert attributes["background"] in detailed
        colors = attributes["colors"].split(", ")
        for key in ("colors", "sizes", "directions"):
            for value in attributes[key].split(", "):
                assert value == "none" or value in detailed or value == "down"
        for color, shape in zip(colors, attributes["shapes"].split(", "), strict=True):
            assert f"{color} {shape}" in detailed or (shape == "ball" and "balls" in detailed)
        assert ("bounce" in detailed) == (attributes["bounces"] != "none")
        assert ("leave" in detailed) == (attributes["leaves"] != "none")
        hit = any(word in words for word in ("hits", "bumps", "collides"))
        assert hit == (attributes["collides"] != "none")
        early = [event for event in events if event["time"] <= (t - 2) / FPS]
        assert (attributes["bounces"] != "none") == any("wall" in event for event in early)
        assert (attributes["leaves"] != "none") == clip.truth["gone"][-1].any()
        wordings.update(words)
    assert len(wordings) < 140


def test_a_still_has_no_words_of_motion():
    for seed in range(20):
        clip = make(seed, frames=1)
        for caption in clip.captions.values():
            assert "image" in caption
            for word in ("slide", "glide", "move", "fall", "drop", "throw", "flies", "bounce"):
                assert word not in caption
        assert clip.attributes["motion"] == "still"


def test_every_canvas_shows_its_objects():
    for seed, (height, width) in enumerate([*SIZES, (48, 48), (128, 128), (48, 120), (144, 256)]):
        clip = make(seed, frames=2, height=height, width=width)
        assert clip.video.shape == (2, height, width, 3)
        background = BACKGROUNDS[clip.attributes["background"]]
        assert (np.abs(clip.video.astype(int) - background).max(-1) > 60).mean() > 0.005


def test_what_happens_after_the_last_but_one_frame_is_not_told():
    late = 0
    for seed in range(60):
        clip = make(seed, frames=9, height=48, width=48)
        told = {clip.attributes[key] for key in ("bounces", "collides")} != {"none"}
        events = clip.truth["events"]
        seen = [event for event in events if event["time"] <= 7 / FPS]
        assert told == bool(seen)
        late += bool(events) and not told
    assert late


def test_a_bounce_that_is_not_shown_is_not_written():
    for seed in (35, 53):
        clip = make(seed, frames=9)
        walls = [event["time"] <= 7 / FPS for event in clip.truth["events"] if "wall" in event]
        assert clip.attributes["count"] == "1" and walls == [True, False]
        first = clip.truth["events"][0]["wall"]
        assert clip.captions["detailed"].endswith(f"bounces off the {first} wall.")


@pytest.mark.parametrize("name", ballistics.BROKEN)
def test_a_broken_law_changes_the_video_alone_and_not_at_once(name):
    changed = 0
    for seed in range(8):
        request = ClipRequest(seed, frames=9, height=64, width=64)
        lawful = ballistics.make_clip(request)
        broken = ballistics.make_clip(dataclasses.replace(request, broken=name))
        assert broken.captions == lawful.captions and broken.attributes == lawful.attributes
        np.testing.assert_equal(broken.truth, lawful.truth)
        np.testing.assert_array_equal(broken.video[0], lawful.video[0])
        changed += (broken.video != lawful.video).any()
    assert changed >= 2


def test_truth_is_small():
    for seed in range(10):
        truth = make(seed, width=96).truth
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in truth.items()}
        assert len(json.dumps(plain)) < 20_000
