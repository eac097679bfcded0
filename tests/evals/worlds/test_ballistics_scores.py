import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.worlds import ballistics as world
from data_pipelines.worlds.base import ClipRequest
from sora_jax.evals.worlds import ballistics, controls
from sora_jax.evals.worlds.ballistics_hits import find_collisions, find_rebounds
from sora_jax.evals.worlds.ballistics_motion import Path, find_flights, fit_acceleration
from sora_jax.evals.worlds.ballistics_tracks import find_objects
from sora_jax.evals.worlds.base import Expected, score_video
from sora_jax.laws import ballistics as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

MOTIONS = {  # seeds of clips of 17 frames at 64 x 64, with what the window shows
    "rest": 1, "slide": 2, "fall": 2, "bounce": 4, "collide": 4,
}  # fmt: skip


def expect(clip, given=0):
    return Expected(clip.attributes, clip.truth, clip.fps, given)


def score(video, clip, given=0):
    return score_video(ballistics, video, expect(clip, given))


@pytest.fixture(scope="module")
def clips():
    """A few clips of every class of motion, on several canvases."""
    left, chosen, sizes = dict(MOTIONS), [], ((64, 64), (54, 96), (48, 48))
    for seed in range(5000, 5200):
        height, width = sizes[seed % 3]
        clip = world.make_clip(ClipRequest(seed, frames=17, height=height, width=width))
        motion = clip.attributes["motion"]
        if left[motion]:
            left[motion] -= 1
            chosen.append(clip)
        if not any(left.values()):
            break
    return chosen


def average(scores):
    with np.errstate(invalid="ignore"):
        return {
            name: np.mean([s[name] for s in scores if not np.isnan(s[name])] or [np.nan])
            for name in scores[0]
        }


def blur(video):
    noise = np.random.default_rng(0).normal(0, 2, video.shape)
    soft = ndimage.gaussian_filter(video.astype(np.float32), (0, 0.7, 0.7, 0))
    return np.clip(soft + noise + 0.5, 0, 255).astype(np.uint8)


def test_real_clips_survive_a_codec(clips):
    for given in (0, 5):
        means = average([score(blur(clip.video), clip, given) for clip in clips])
        for name, mean in means.items():
            if np.isnan(mean):  # few windows show a whole law after 5 given frames
                assert given == 5 or name == "prediction", name
            else:
                assert mean >= 0.9, (name, given, mean)


def test_any_video_is_read_and_nothing_scores_nothing(clips):
    rng = np.random.default_rng(0)
    clip = next(clip for clip in clips if clip.attributes["motion"] == "collide")
    videos = [
        np.full((17, 64, 64, 3), 128, np.uint8),
        np.zeros((1, 48, 70, 3), np.uint8),
        rng.integers(0, 256, (17, 64, 64, 3), dtype=np.uint8),
        np.full((3, 20, 16, 3), COLORS["red"], np.uint8),
        clip.video[:2],
        np.concatenate([clip.video, clip.video]),
    ]
    for video in videos:
        for given in (0, 1, 5):
            for other in clips[:1]:
                score(video, other, given)
    nothing = score(videos[0], clip)
    assert {name for name, value in nothing.items() if value} <= {"prediction", "direction"} | {
        name for name, value in nothing.items() if np.isnan(value)
    }
    assert all(value == 0 for value in nothing.values() if not np.isnan(value))


def test_given_frames_do_not_count_as_the_video_s_own(clips):
    applied = 0
    for clip in clips:
        for name in ("gravity", "steady_velocity"):
            if not np.isnan(score(clip.video, clip, given=5)[name]):
                assert score(controls.freeze(clip.video, 5), clip, given=5)[name] == 0
                applied += 1
    assert applied >= 3


def test_what_applies_depends_on_what_is_expected_alone(clips):
    grey = np.full((17, 64, 64, 3), 128, np.uint8)
    for clip in clips[::3]:
        for given in (0, 5):
            real, empty = score(clip.video, clip, given), score(grey, clip, given)
            assert [np.isnan(v) for v in real.values()] == [np.isnan(v) for v in empty.values()]


def test_a_still_is_scored_by_what_it_shows():
    clip = world.make_clip(ClipRequest(3, frames=1, height=64, width=64))
    values = score(clip.video, clip)
    scored = {name for name, value in values.items() if not np.isnan(value)}
    assert scored == {
        "count", "color", "shape", "background", "size", "framing", "one_component",
        "sharp_edges",
    }  # fmt: skip
    assert all(values[name] == 1 for name in scored)


def make_path(center, radius=0.1, falls=False):
    t = len(center)
    extent = np.full((2, 2), radius)
    return Path(np.array(center), np.ones(t, bool), extent, radius, falls, np.ones(2), FPS)


def test_rebounds_are_measured_from_places():
    times = np.arange(12) / FPS
    # To the left wall, hit at 0.7 s, and away from it at 3/4 of the speed.
    x = np.where(times < 0.7, 0.1 + 0.5 * (0.7 - times), 0.1 + 0.375 * (times - 0.7))
    path = make_path(np.stack([x, 0.3 + 0.2 * times], 1))
    assert find_flights(path) == [(0, 5), (5, 6), (6, 11)]
    (rebound,) = find_rebounds(path)
    assert rebound.restitution == pytest.approx(0.75) and rebound.slip == pytest.approx(0, abs=1e-9)
    # The same turn in the middle of the frame is no reflection.
    assert not find_rebounds(make_path(path.center + [0.3, 0]))


def test_collisions_are_measured_from_places():
    times = np.arange(14) / FPS - 0.8125
    before, after = times[:, None] < 0, times[:, None] >= 0
    # A disc of mass 4 hits one of mass 1 at rest, head on: 0.5 units/s become 0.3 and 0.8.
    one = np.array([0.3, 0.5]) + np.where(before, [0.5, 0], [0.3, 0]) * times[:, None]
    two = np.array([0.6, 0.5]) + np.where(after, [0.8, 0], [0, 0]) * times[:, None]
    paths = make_path(one, 0.2), make_path(two, 0.1)
    (hit,) = find_collisions(*paths)
    assert hit.momentum == pytest.approx(0, abs=1e-9) and hit.energy == pytest.approx(1)
    np.testing.assert_allclose(hit.changes, (0.2, 0.8))
    assert not find_collisions(paths[0], make_path(two + [0, 0.4], 0.1))


def test_outlines_are_told_at_any_angle_and_size():
    from data_pipelines.worlds.drawing import Picture

    rng = np.random.default_rng(0)
    for shape in laws.SHAPES:
        for radius in (4.0, 5.5, 12.0):
            turns = rng.uniform(0, 2 * np.pi, 8)
            c, s = np.cos(turns), np.sin(turns)
            rotate = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], 1)
            center = 24 + rng.uniform(-3, 3, (8, 2))
            picture = Picture(8, 48, 48, BACKGROUNDS["white"])
            if shape == "ball":
                picture.disc(center, radius, COLORS["red"])
            else:
                corners = np.einsum("nd,tde->tne", laws.outline(shape) * radius, rotate)
                picture.polygon(center[:, None] + corners, COLORS["red"])
            tracks = find_objects(blur(picture.video()), ["red"], [shape])
            assert (tracks.shape == shape).all()
            np.testing.assert_allclose(tracks.center[:, 0], center / 48, atol=0.002)
            full = laws.area(shape) * radius**2 / 48**2
            np.testing.assert_allclose(tracks.area[:, 0], full, rtol=0.05)


def test_laws_do_not_depend_on_the_clip_s_length():
    """Fitted to pixels; a longer clip shows more of the same flights and bounces."""
    lengths = (9, 17, 33, 65)
    found = {frames: ([], [], []) for frames in lengths}
    for seed in range(14):
        for frames, (pulls, ratios, bounces) in found.items():
            clip = world.make_clip(ClipRequest(seed, frames=frames, height=48, width=48))
            for i, path in enumerate(ballistics.read(clip.video, expect(clip)).paths):
                for first, last in [f for f in find_flights(path) if f[1] - f[0] >= 5]:
                    moved = path.center[last] - path.center[first]
                    speed = np.linalg.norm(clip.truth["velocity"][first + 1, i])
                    if path.falls and np.ptp(path.center[first : last + 1, 1]) > 0.15:
                        pulls.append(fit_acceleration(path, first, last)[0][1])
                    elif not path.falls and speed > 0.2:
                        ratios.append(np.linalg.norm(moved) / (last - first) * FPS / speed)
                if clip.attributes["motion"] == "bounce":
                    lawful = laws.RESTITUTION["gravity" if path.falls else "none"]
                    bounces += [
                        r.restitution / lawful for r in find_rebounds(path) if r.speed > 0.4
                    ]
    for frames in lengths:
        pulls, ratios, bounces = found[frames]
        assert len(pulls) >= 3 and len(ratios) >= 3
        assert np.mean(pulls) == pytest.approx(laws.GRAVITY, rel=0.02)
        assert np.mean(ratios) == pytest.approx(1, rel=0.02)
        if frames > 9:
            assert len(bounces) >= 3
            assert np.mean(bounces) == pytest.approx(1, rel=0.02)


def errors(video, clip, given=5):
    return ballistics.prediction_errors(ballistics.read(video, expect(clip, given)))


def test_prediction_beats_copies_and_straight_lines(clips):
    straight = []
    for clip in clips:
        found = errors(clip.video, clip)
        assert {len(column) for column in found.values()} == {len(clip.video) - 5}
        known = ~np.isnan(found["model"])
        if not known.any():
            continue
        assert found["model"][known].max() < 0.01
        assert (found["copy_last"] > found["model"])[known].all()
        straight.append(found["constant_velocity"][known].mean())
    assert len(straight) > 6 and np.mean(straight) > 0.1
    clip = next(c for c in clips if c.attributes["motion"] == "slide")
    found = errors(clip.video, clip)
    # Nothing else happens to what slides.
    assert np.nanmax(found["constant_velocity"]) < 1e-4
    copied = errors(controls.freeze(clip.video, 5), clip)["model"]
    np.testing.assert_allclose(copied, found["copy_last"], atol=0.005)
    lost = errors(np.full_like(clip.video, 128), clip)["model"]
    assert np.nanmin(lost) == np.nanmax(lost) == 1


def test_what_was_not_given_has_no_error_or_guess(clips):
    clip = next(c for c in clips if c.attributes["motion"] == "slide")
    assert all(np.isnan(column).all() for column in errors(clip.video, clip, given=0).values())
    one = errors(clip.video, clip, given=1)
    assert np.isnan(one["constant_velocity"]).all() and not np.isnan(one["copy_last"][0])


def test_a_crop_shows_the_middle_after_the_given_frames():
    rows, columns = np.mgrid[:10, :20].astype(np.uint8)
    video = np.stack([rows, columns, 0 * rows], -1)[None].repeat(3, 0)
    shown = controls.crop(video, given=1)
    np.testing.assert_array_equal(shown[0], video[0])
    np.testing.assert_array_equal(shown[1, :, 0, 0], [2, 2, 3, 4, 4, 5, 5, 6, 7, 7])
    assert shown[1, 0, 0, 1] == 4 and shown[1, 0, -1, 1] == 15


def test_an_object_that_is_cut_is_not_framed():
    rest = (ClipRequest(seed, frames=9, height=64, width=64) for seed in range(300))
    clip = next(
        clip
        for clip in map(world.make_clip, rest)
        if clip.attributes["motion"] == "rest" and clip.attributes["count"] == "1"
    )
    assert score(clip.video, clip)["framing"] == 1
    row, column = (clip.truth["position"][0, 0] * 64).astype(int)[::-1]
    away = np.roll(clip.video, (-row, -column), (1, 2))  # its quarters lie in the corners
    assert score(away, clip)["framing"] == 0
    half = np.concatenate([clip.video[:4], away[4:]])
    assert score(half, clip)["framing"] == pytest.approx(4 / 9)
