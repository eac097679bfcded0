"""Scores of a made-up world: a red square that slides to the right by a constant step."""

import math
import types

import numpy as np
import pytest

from sora_jax.evals import score_tables, scores_page, world_scores
from sora_jax.evals.gallery import Cell, write_gallery
from sora_jax.evals.world_scores import Case, make_control, pick_extremes, score_cases
from sora_jax.evals.worlds.base import Expected, Figure, Score, summarise

RED, BLUE = (225, 30, 30), (35, 70, 225)


def slide(color=RED, step=2, frames=9, height=24, width=32, broken=""):
    video = np.full((frames, height, width, 3), 250, np.uint8)
    for i in range(frames):
        x = 2 + step * (i if broken != "stuck" else min(i, 2))
        video[i, 8:14, x : x + 6] = color
    return video


def read(video, expected):
    red = np.abs(video.astype(int) - RED).sum(-1) < 60
    xs = [np.nonzero(frame)[1].mean() if frame.any() else math.nan for frame in red]
    wanted = expected.attributes["color"] == "red"
    steps = np.diff(xs)
    return types.SimpleNamespace(
        color=float(red.any((1, 2)).mean() if wanted else (~red.any((1, 2))).mean()),
        moves=float(np.mean(np.abs(steps - expected.truth["step"]) < 0.5)) if wanted else math.nan,
    )


WORLD = types.SimpleNamespace(
    NAME="slider",
    read=read,
    SCORES=(
        Score("color", "what", "1: the colour", lambda r: r.color, frozenset({"mismatched"})),
        Score(
            "steady",
            "laws",
            "1: every step has its length",
            lambda r: r.moves,
            frozenset({"frozen", "shuffled", "reversed", "stuck"}),
        ),
    ),
)


def make_case(number, color="red", size=(9, 24, 32), **fields):
    rgb = RED if color == "red" else BLUE

    def simulate(broken, shape):
        return slide(rgb, 2, *shape, broken)

    expected = Expected(
        {"color": color}, {"step": 2, "position": np.full((size[0], 1, 2), 0.5)}, 8.0
    )
    values = {"real": simulate("", size), "simulate": simulate} | fields
    return Case(f"slider-{number}", "slider", f"a {color} square", expected, size, **values)


CASES = [make_case(0), make_case(1, "blue"), make_case(2), make_case(3, "blue", (5, 24, 40))]


def test_values_are_those_of_each_variant_and_nan_where_a_score_does_not_apply():
    still = [np.repeat(case.real[:1], len(case.real), 0) for case in CASES]
    values = score_cases(WORLD, CASES, {"model": still})
    assert values["color"]["real"] == [1, 1, 1, 1]
    assert values["color"]["mismatched"] == [0, 0, 0, 0]
    assert values["steady"]["real"][0] == 1 and math.isnan(values["steady"]["real"][1])
    assert values["steady"]["model"][::2] == values["steady"]["frozen"][::2] == [0, 0]
    assert values["steady"]["stuck"][0] == 0.25  # two of eight steps come before the stop
    assert set(values["color"]) == {*("real", "model", *world_scores.controls.CONTROLS, "stuck")}


def test_a_video_that_shows_nothing_gets_around_no_score():
    """A score may fail to apply to what a bad video shows; it is 0 where the real clip has one."""
    shy = Score("shy", "laws", "1: all", lambda r: math.nan if r.color < 1 else 1.0, frozenset())
    world = types.SimpleNamespace(NAME="slider", read=read, SCORES=(shy,))
    values = score_cases(world, CASES[:1], {"model": [np.zeros_like(CASES[0].real)]})
    assert values["shy"]["real"] == [1] and values["shy"]["model"] == [0]
    alone = [make_case(0, real=None, simulate=None)]
    assert math.isnan(score_cases(world, alone, {"model": [slide(BLUE)]})["shy"]["model"][0])


def test_controls_are_what_their_names_say():
    video = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((16, 20, 3), np.uint8)
    video += np.arange(16, dtype=np.uint8)[:, None, None] * 10
    controls = world_scores.controls
    assert controls.stutter(video)[:, 0, 0, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert controls.stutter(video, 1)[:, 0, 0, 0].tolist() == [0, 1, 1, 3, 3, 5]
    np.testing.assert_array_equal(controls.turn_upside_down(video, 2)[2:], video[2:, ::-1])
    assert controls.stretch(video)[0, :, 0, 0].tolist()[::5] == [30, 60, 90, 120]
    bands = np.zeros((1, 16, 20, 3), np.uint8)
    bands[:, :, 7] = 255
    assert (controls.shift_bands(bands)[0, :, :, 0].argmax(1) == [7, 11] * 8).all()


def test_controls_keep_the_given_frames_and_the_size():
    for name in (*world_scores.controls.CONTROLS, "stuck"):
        for index, case in enumerate(CASES):
            video = make_control(CASES, index, name, given=2)
            assert video.shape == case.real.shape
            np.testing.assert_array_equal(video[:2], case.real[:2])
    grey = make_control(CASES, 1, "grey_disc")
    assert (grey == BLUE).all(-1).any() and not (grey == RED).all(-1).any()
    # The other clip is simulated at this one's size.
    assert (make_control(CASES, 3, "mismatched") == RED).all(-1).any()


def test_what_cannot_be_made_is_left_out():
    alone = [make_case(0, real=None, simulate=None)]
    values = score_cases(WORLD, alone, {"model": [slide()]})
    assert set(values["color"]) == {"model"} and values["color"]["model"] == [1]
    assert make_control([make_case(0)], 0, "mismatched") is None
    apart = [make_case(0), make_case(1, "blue", (5, 24, 40), simulate=None)]
    assert make_control(apart, 0, "mismatched") is None


def test_a_score_is_admitted_by_real_clips_and_every_control_that_breaks_it():
    score = WORLD.SCORES[1]

    def figures(**means):
        known = dict(real=0.96, frozen=0.1, shuffled=0.1, reversed=0.1, stuck=0.49) | means
        return {name: Figure(mean, 0.0, 1.0, 8) for name, mean in known.items()}

    assert world_scores.is_admitted(score, figures(grey_disc=0.9)) is True
    assert world_scores.is_admitted(score, figures(real=0.94)) is False
    assert world_scores.is_admitted(score, figures(reversed=0.5)) is False
    missing = figures()
    del missing["stuck"]
    assert world_scores.is_admitted(score, missing) is None
    few = figures() | {"frozen": Figure(0.0, 0.0, 0.0, 7)}
    assert world_scores.is_admitted(score, few) is None
    assert world_scores.is_admitted(score, few, min_clips=7) is True


def test_the_interval_holds_the_middle_of_resampled_means():
    """100 values of which half are 1: the mean's deviation is 0.05, so the interval +- 0.098."""
    figure = summarise([0.0, 1.0] * 50 + [math.nan] * 7)
    assert figure.mean == 0.5 and figure.clips == 100
    assert figure.low == pytest.approx(0.402, abs=0.015)
    assert figure.high == pytest.approx(0.598, abs=0.015)
    # Student's t with 9 degrees of freedom is 2.262; plain quantiles would give 1.86 deviations.
    ten = np.linspace(0, 1, 10)
    few = summarise(ten.tolist(), 100_000)
    deviation = ten.std(ddof=1) / np.sqrt(10)
    assert few.high - few.mean == pytest.approx(2.262 * deviation, rel=0.05)
    assert few.mean - few.low == pytest.approx(2.262 * deviation, rel=0.05)
    # 8 of 8: with a share of 0.631 of ones, 8 of 8 are ones with a probability of 0.025.
    all_right = summarise([1.0] * 8, bounded=True)
    assert 0.025 == pytest.approx(all_right.low**8) and all_right.high == 1.0
    assert summarise([0.0] * 8, bounded=True).high == pytest.approx(1 - all_right.low)
    assert summarise([2.5] * 8).low == summarise([2.5] * 8).high == 2.5
    assert summarise([]).clips == 0 and math.isnan(summarise([math.nan]).mean)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="there are no clips of slider"):
        score_cases(WORLD, [], {})
    with pytest.raises(ValueError, match="slider-0: model is 8x24x32, the prompt asks for 9x24x32"):
        score_cases(WORLD, CASES[:1], {"model": [slide()[:-1]]})
    with pytest.raises(ValueError, match="no scores of a world named 'slider'; choose from"):
        world_scores.score_group(CASES, {}, "test")
    with pytest.raises(ValueError, match="there are no clips to score"):
        world_scores.score_group([], {}, "test")


def test_extremes_leave_out_what_does_not_apply():
    assert pick_extremes([math.nan, 0.5, 0.2, 0.9, 0.2]) == {"worst": 2, "median": 4}
    assert pick_extremes([0.5]) == {"worst": 0, "median": 0}
    assert pick_extremes([math.nan]) == {}


def test_means_by_world_and_kind(monkeypatch):
    """Of each score first, so that one that seldom applies weighs as much as another."""
    monkeypatch.setattr(world_scores, "world_of", {"slider": WORLD}.get)
    videos = [CASES[0].real, CASES[1].real, np.repeat(CASES[2].real[:1], 9, 0), CASES[2].real]
    means = world_scores.mean_scores([*CASES[:3], CASES[3]], videos)
    # color: 1, 1, 1 and 0 for red where blue is wanted; steady: 1 and 0.
    assert means == {"score of laws": 0.5, "score of slider": 0.625, "score of what": 0.75}


@pytest.fixture
def group(monkeypatch):
    monkeypatch.setattr(world_scores, "world_of", {"slider": WORLD}.get)
    still = [np.repeat(case.real[:1], len(case.real), 0) for case in CASES]
    found = world_scores.score_group(CASES, {"model": still}, "test", min_clips=2)
    return found, still


def test_tables_say_what_was_found(group):
    found, _ = group
    world, kinds = score_tables.overview(found)
    (scores,) = score_tables.score_tables(found)
    row = dict(zip(world.header, world.rows[0], strict=True))
    assert world.rows[0][:5] == ["slider", "4", "2", "1.00", "0.50"]
    # The model shows frozen clips: the page must give both the same mean.
    assert row["frozen"] == row["model"] and row["mismatched"] < row["model"]
    cells = dict((name, value) for name, value, _ in scores_page.headline(found))
    assert cells["Model, mean of scores"] == "0.50"
    best = next(name for name in cells if name.startswith("Best control"))
    assert float(cells[best]) >= 0.5
    assert [row[0] for row in kinds.rows] == ["what", "laws"]
    assert kinds.rows[1][3:] == ["100%", "0%", "slider: steady, 100%"]
    color, steady = scores.rows
    assert color[:3] == ["color", "what", Cell("yes", "pass")]
    assert steady[3] == "2" and steady[4] == "1.00 (0.16–1.00)" and steady[-1] == "stuck 0.25"
    assert ("Scores admitted on these clips", "2 of 2", "") in scores_page.headline(found)
    assert found["worlds"]["slider"]["scores"]["steady"]["each"]["real"] == [1.0, None, 1.0, None]


def test_the_page_shows_worst_and_median_beside_real_and_control(group, tmp_path):
    found, still = group
    shown = scores_page.compare_group(CASES, still, found)
    # The worst of `steady` is case 0; the median of `color`, which no video fails, is case 1.
    assert [list(c.versions) for c in shown] == [
        ["model", "real", "control: stuck"],
        ["model", "real", "control: mismatched"],
    ]
    assert [c.notes for c in shown] == [
        ("median of steady 0.00", "worst of steady 0.00"),
        ("median of color 1.00",),
    ]
    write_gallery(
        *(tmp_path / "x.html", "t", "s", scores_page.headline(found), [], {"Worst": shown}, []),
        *(score_tables.score_tables(found), [], score_tables.overview(found)),
    )
    page = (tmp_path / "x.html").read_text()
    assert page.count("<video") == len(shown) and 'class="pass">yes' in page
