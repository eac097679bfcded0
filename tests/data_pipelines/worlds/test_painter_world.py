"""The painter's clips obey its laws, and say what they show."""

import numpy as np
import pytest

from data_pipelines.worlds import painter, painter_strokes
from data_pipelines.worlds.base import ClipRequest
from sora_jax.laws import painter as laws
from sora_jax.laws.palette import BACKGROUNDS, COLORS, FPS

SEEDS = range(10)


def make(seed, frames=33, height=64, width=64, **changes):
    return painter.make_clip(ClipRequest(seed, None, frames, height, width, **changes))


def read_masks(clip):
    t, h, w, _ = clip.video.shape
    return np.unpackbits(clip.truth["painted"], axis=1)[:, : h * w].reshape(t, h, w).astype(bool)


def items(clip, name):
    return [item for item in clip.attributes[name].split(", ") if item]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("broken", ["", "ink_erased"])
def test_a_short_clip_is_the_beginning_of_a_long_one(seed, broken):
    short, long = make(seed, 9, broken=broken), make(seed, 65, broken=broken)
    np.testing.assert_array_equal(short.video, long.video[:9])
    np.testing.assert_array_equal(short.truth["tip"], long.truth["tip"][:9])
    np.testing.assert_array_equal(make(seed, 1).video, long.video[:1])


@pytest.mark.parametrize("seed", range(4))
def test_a_larger_canvas_shows_the_same_scene(seed):
    small, large = make(seed, 9, 64, 96), make(seed, 9, 128, 192)
    np.testing.assert_array_equal(small.truth["tip"], large.truth["tip"])
    halved = large.video.reshape(9, 64, 2, 96, 2, 3).mean((2, 4))
    difference = np.abs(halved - small.video)
    assert difference.mean() < 1.5 and (difference > 60).mean() < 0.005


@pytest.mark.parametrize("seed", SEEDS)
def test_the_brush_paints_at_a_constant_speed_of_its_pace(seed):
    clip = make(seed, 65, outside=seed % 2 == 1)
    truth = clip.truth
    low, high = laws.SPEEDS[clip.attributes["pace"]]
    assert low <= truth["speed"] <= high
    # Within a stroke the way between frames is at most speed / fps, nearly that between corners.
    down = truth["down"]
    steps = np.hypot(*np.diff(truth["tip"], axis=0).T) * FPS
    inner = np.array(
        [
            any(a <= i and i + 1 <= b for a, b in zip(truth["starts"], truth["ends"], strict=True))
            for i in range(64)
        ]
    )
    inner &= (down[1:] == 1) & (down[:-1] == 1)
    if (
        inner.sum() > 2
        and "letter t" not in truth["figures"]
        and "letter x" not in truth["figures"]
    ):
        assert steps[inner].max() <= truth["speed"] * 1.001
        assert np.quantile(steps[inner], 0.9) >= 0.85 * truth["speed"]


@pytest.mark.parametrize("seed", SEEDS)
def test_ink_only_grows_at_the_tip_and_has_its_color(seed):
    clip = make(seed)
    masks, truth = read_masks(clip), clip.truth
    assert not (masks[:-1] & ~masks[1:]).any()
    reach = truth["width"] / 2 * 64 + 1
    rows, columns = np.mgrid[:64, :64] + 0.5
    for i in range(1, len(masks)):
        fresh = masks[i] & ~masks[i - 1]
        # The path between two frames is shorter than speed / fps, or a corner is cut.
        slack = truth["speed"] / FPS * 64 / 2 + 1
        near = [np.hypot(columns - x, rows - y) for x, y in truth["tip"][i - 1 : i + 1] * 64]
        assert (np.minimum(*near)[fresh] <= reach + slack).all()
    last = clip.video[-1].astype(int)
    shown = [COLORS[c] for c in truth["colors"]]
    nearest = np.min([np.abs(last - c).sum(-1) for c in shown], axis=0)
    tip = truth["tip"][-1]
    if not (0 <= tip[0] <= 1.0 and 0 <= tip[1] <= 1.3):  # the brush is away
        core = masks[-1] & np.roll(masks[-1], 1, 0) & np.roll(masks[-1], 1, 1)
        assert (nearest[core] < 150).mean() > 0.9


def test_area_of_ink_is_length_times_width():
    for seed in range(8):
        clip = make(seed, 65, 128, 128)
        run_length = clip.truth["speed"] * np.clip(
            np.minimum(clip.truth["ends"], 64) - clip.truth["starts"], 0, None
        )
        if any(f in ("letter t", "letter x") for f in clip.truth["figures"]):
            continue  # the brush is lifted between their two lines
        done = clip.truth["ends"] <= 64
        if not done.all():
            continue
        expected = 0.0
        for length, figure in zip(run_length / FPS, clip.truth["figures"], strict=True):
            closed = figure in ("circle", "square", "triangle")
            ends = 0 if closed else np.pi * clip.truth["width"] ** 2 / 4
            expected += length * clip.truth["width"] + ends
        area = read_masks(clip)[-1].sum() / 128**2
        assert area == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("frames", [1, 9, 33])
def test_captions_tell_what_the_window_shows(seed, frames):
    clip = make(seed, frames)
    states, colors, figures = (items(clip, k) for k in ("states", "colors", "figures"))
    assert len(states) == len(colors) == len(figures) == int(clip.attributes["count"])
    place = 0
    for state, color, figure in zip(states, colors, figures, strict=True):
        thing = f"{color} {figure}"
        place = clip.captions["detailed"].index(thing, place)  # in the order of painting
        assert thing in clip.captions["short"]
        i = clip.truth["colors"].index(color)
        start, end = clip.truth["starts"][i], clip.truth["ends"][i]
        slack = 0.06 / clip.truth["speed"] * FPS
        assert (start <= slack) == (state in ("there", "part", "finished", "continued")) or (
            abs(start) < 2 * slack
        )
        done = state in ("there", "painted", "finished")
        assert end <= frames - 1 + slack if done else end >= frames - 1 - slack
    for caption in clip.captions.values():
        assert len(caption.split()) <= 40 and caption == caption.lower()
        assert f"{clip.attributes['paper']} paper" in caption
        if frames == 1:
            assert not any(word in caption for word in ("paints", "begins", "finishes", "then"))
    if frames > 1 and states:
        assert clip.attributes["pace"] in clip.captions["detailed"]


def test_a_stroke_that_the_brush_hides_is_not_told_of():
    for seed in range(60):
        clip = make(seed, 9)
        for color in items(clip, "colors"):
            apart = np.abs(clip.video[-1].astype(int) - COLORS[color]).sum(-1)
            assert (apart < 60).sum() >= 3, seed


def test_figures_do_not_touch_each_other():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        width, height = [(1, 1), (1.5, 1), (1, 2.5), (2.5, 1)][seed % 4]
        names = list(rng.choice(list(laws.FIGURES), 1 + seed % 4))
        run = painter_strokes.draw_run(rng, names, (0.5, 0.6), width, height)
        paths = [
            run.points[np.r_[run.owner == i, False] | np.r_[False, run.owner == i]]
            for i in range(len(names))
        ]
        for i, path in enumerate(paths):
            assert (path >= run.width / 2).all()
            assert (path <= np.array([width, height]) - run.width / 2).all()
            for other in paths[:i]:
                gap = np.hypot(*(path[:, None] - other).transpose(2, 0, 1)).min()
                assert gap > run.width


@pytest.mark.parametrize("held_out", [True, False])
def test_held_out_pairs(held_out):
    for seed in range(40):
        clip = painter.make_clip(ClipRequest(seed, held_out, 9, 64, 64))
        assert painter.is_held_out(clip.attributes) == held_out
        for color, figure in zip(clip.truth["colors"], clip.truth["figures"], strict=True):
            assert painter.is_held_out({"color": color, "figure": figure}) == held_out


def test_sixteen_pairs_are_held_out():
    pairs = [
        (c, f)
        for c in COLORS
        for f in laws.FIGURES
        if painter.is_held_out({"color": c, "figure": f})
    ]
    assert len(pairs) == 16 and {f for _, f in pairs} == set(laws.FIGURES)
    assert {c for c, _ in pairs} == set(COLORS)


def test_outside_is_faster_and_has_more_strokes():
    inside = [make(s, 9).truth for s in range(20)]
    outside = [make(s, 9, outside=True).truth for s in range(20)]
    assert min(t["speed"] for t in outside) > max(t["speed"] for t in inside)
    assert {len(t["colors"]) for t in outside} == {4}
    assert max(len(t["colors"]) for t in inside) == 3


@pytest.mark.parametrize("broken", painter.BROKEN)
def test_a_broken_law_changes_the_video_alone(broken):
    changed = 0
    for seed in range(6):
        lawful, unlawful = make(seed, 17), make(seed, 17, broken=broken)
        assert unlawful.captions == lawful.captions and unlawful.attributes == lawful.attributes
        np.testing.assert_array_equal(unlawful.truth["painted"], lawful.truth["painted"])
        changed += (unlawful.video != lawful.video).any()
        if broken in ("ink_erased", "ink_recolored", "blot_appears"):
            first = unlawful.video[: painter.BREAK]
            np.testing.assert_array_equal(first, lawful.video[: painter.BREAK])
    assert changed >= 5


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="broken is 'gravity': choose from ink_erased"):
        make(0, broken="gravity")


@pytest.mark.parametrize("size", [(48, 48), (48, 120), (120, 48), (144, 256)])
def test_any_canvas(size):
    clip = make(3, 9, *size)
    assert clip.video.shape == (9, *size, 3)
    corner = BACKGROUNDS[clip.attributes["paper"]]
    assert (np.abs(clip.video[:, -1, 0].astype(int) - corner).max(-1) <= 2).mean() > 0.5


def test_requests_repeat_themselves():
    one, two = make(5), make(5)
    np.testing.assert_array_equal(one.video, two.video)
    assert one.captions == two.captions
    assert (make(6).video != one.video).any()
