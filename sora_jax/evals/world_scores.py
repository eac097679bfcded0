"""Scores of videos of the simulated worlds, beside real clips and videos that must fail.

A case is a held-out clip: its detailed caption is the prompt, the simulator's state is what a video
should show. Each score has a value for every case and variant. Variants are

  real      the simulator's video
  others    given by name, such as the codec's reconstruction and a model's samples
  controls  `worlds.controls.CONTROLS`, and the world's broken laws that its scores name

and a score is admitted on the cases if

  mean(real) >= REAL_BAR  and  mean(control) < CONTROL_BAR  for each control in `broken_by`.
"""

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sora_jax.evals.worlds import base, controls
from sora_jax.evals.worlds.base import CONTROL_BAR, REAL_BAR, Expected, Figure, Score
from sora_jax.laws.palette import COLORS

AnyVideo = UInt8[np.ndarray, "_ _ _ 3"]
"""One of several videos, each of its own shape."""
WORLDS = tuple("ballistics occlusion orbit painter eater shatter builder phyworld".split())
"""Worlds that have scores, each a module of `evals.worlds`."""
REAL = "real"
MIN_CLIPS = 8
"""Clips to which a score must apply before it is said to be admitted or not."""
Values = dict[str, dict[str, list[float]]]
"""By score and variant, the value of each case; nan where the score does not apply."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A prompt, and what a video of it should show.

    Attributes:
      name: unique name, such as "ballistics-test-000000000012".
      world: name of a world.
      caption: the prompt.
      expected: attributes and truth of the clip, and its frames per second.
      size: frames, height and width in pixels of the video asked for.
      seed: seed of the noise of a sample.
      real: the simulator's video; None where only its truth is known.
      simulate: simulates the clip, as a function of a broken law's name ("" for none) and a size;
        None where the simulator cannot be asked.
    """

    name: str
    world: str
    caption: str
    expected: Expected
    size: tuple[int, int, int]
    seed: int = 0
    real: np.ndarray | None = None
    simulate: Callable[[str, tuple[int, int, int]], np.ndarray] | None = None


def law_controls(scores: Sequence[Score]) -> list[str]:
    """Names of the broken laws that a world's scores must notice."""
    return sorted(frozenset().union(*(s.broken_by for s in scores)) - set(controls.CONTROLS))


def make_control(cases: Sequence[Case], index: int, name: str, given: int = 0) -> AnyVideo | None:
    """Makes a control of a case; None where nothing is known to make it from.

    Args:
      cases: all cases of the world; the mismatched video shows another one of them.
      index: number of the case.
      name: one of `controls.CONTROLS`, or a broken law of the world.
      given: first frames that the control shares with the real clip.
    """
    case = cases[index]
    if case.real is None:
        return None
    if name == "grey_disc":
        return controls.grey_disc(case.real, _name_color(case.expected.attributes), given)
    change = {
        "frozen": controls.freeze, "stopped": controls.stop, "shuffled": controls.shuffle,
        "swapped": controls.swap, "reversed": controls.reverse, "stuttered": controls.stutter,
        "cropped": controls.crop, "upside_down": controls.turn_upside_down,
        "stretched": controls.stretch, "tilted": controls.tilt, "banded": controls.shift_bands,
        "boxed": controls.box,
    }  # fmt: skip
    if name in change:
        return change[name](case.real, given)
    if name == "mismatched":
        video = _show_other(cases, index)
    else:
        video = case.simulate(name, case.size) if case.simulate else None
    return None if video is None else np.concatenate([case.real[:given], video[given:]])


def _show_other(cases: Sequence[Case], index: int) -> np.ndarray | None:
    """The video of the case that differs most, simulated at this one's size if it has another."""
    if len(cases) < 2:
        return None
    other = cases[controls.match_other([c.expected.attributes for c in cases], index)]
    if other.size == cases[index].size:
        return other.real
    return other.simulate("", cases[index].size) if other.simulate else None


def _name_color(attributes: Mapping[str, str]) -> str:
    """The first colour of the palette that the clip's objects have; red where none has one."""
    known = [attributes[key] for key in ("color", "colors", "solids") if key in attributes]
    words = " ".join(known).replace(",", " ").split()
    return next((word for word in words if word in COLORS), "red")


def put_first(case: Case, video: np.ndarray, given: int) -> np.ndarray:
    """A video behind the first frames of the case's real clip, as the model was given them.

    Scores read the last given frame as what the others go on from; that of a codec, or of a file
    that lost a little in compression, would make the model answer for it.
    """
    if case.real is None or video.shape != case.real.shape:  # `score_cases` says what is wrong
        return video
    return np.concatenate([case.real[:given], video[given:]])


def score_cases(
    world: Any,
    cases: Sequence[Case],
    videos: Mapping[str, Sequence[np.ndarray]],
    given: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Values:
    """Scores all variants of the cases of one world; each control is made once for each case.

    Args:
      world: the world's module of `evals.worlds`.
      cases: cases of this world, each of more frames than are given.
      videos: variants by name, one video for each case, behind the frames that were given
        (`put_first`). Real clips and controls are added.
      given: first frames that were given to the model, 0 for text alone.
      progress: called with (cases done, cases in all).

    Raises:
      ValueError: there are no cases, or a video has another shape than its case asks for.
    """
    if not cases:
        raise ValueError(f"there are no clips of {world.NAME} to score: give at least one")
    values: Values = {score.name: {} for score in world.SCORES}
    for index, case in enumerate(cases):
        expected = dataclasses.replace(case.expected, given=given)
        for variant, video in _variants(world, cases, index, videos, given):
            if video.shape != (*case.size, 3):
                raise ValueError(
                    f"{case.name}: {variant} is {_shape(video.shape[:3])}, the prompt asks for "
                    f"{_shape(case.size)} (frames x height x width)"
                )
            for name, value in base.score_video(world, video, expected).items():
                known = values[name].setdefault(variant, [math.nan] * len(cases))
                # What a real clip is judged by, no video gets around by showing too little.
                due = not math.isnan(values[name].get(REAL, [math.nan] * len(cases))[index])
                known[index] = 0.0 if due and math.isnan(value) else value
        progress(index + 1, len(cases))
    return values


def _variants(
    world: Any,
    cases: Sequence[Case],
    index: int,
    videos: Mapping[str, Sequence[np.ndarray]],
    given: int,
) -> Iterator[tuple[str, np.ndarray]]:
    real = cases[index].real
    if real is not None:
        yield REAL, real
    for name, column in videos.items():
        yield name, column[index]
    for name in (*controls.CONTROLS, *law_controls(world.SCORES)):
        video = make_control(cases, index, name, given)
        if video is not None:
            yield name, video


def _shape(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def summarise(values: Mapping[str, Sequence[float]]) -> dict[str, Figure]:
    """Mean and interval of each variant of a score."""
    return {variant: base.summarise(column, bounded=True) for variant, column in values.items()}


def is_admitted(
    score: Score, figures: Mapping[str, Figure], min_clips: int = MIN_CLIPS
) -> bool | None:
    """Whether real clips pass and each control in `broken_by` fails.

    None where real clips or one of the controls are fewer than `min_clips`.
    """
    needed = [figures.get(name) for name in (REAL, *sorted(score.broken_by))]
    if any(figure is None or figure.clips < min_clips for figure in needed):
        return None
    real, *broken = (figure.mean for figure in needed if figure)
    return real >= REAL_BAR and all(mean < CONTROL_BAR for mean in broken)


def describe(
    world: Any, cases: Sequence[Case], values: Values, min_clips: int = MIN_CLIPS
) -> dict[str, Any]:
    """The scores of one world as JSON values: what each means, its figures, its value by case."""
    scores = {}
    for score in world.SCORES:
        figures = summarise(values[score.name])
        scores[score.name] = {
            "kind": score.kind,
            "meaning": score.meaning,
            "broken_by": sorted(score.broken_by),
            "min_given": score.min_given,
            "admitted": is_admitted(score, figures, min_clips),
            "figures": {variant: as_json(f) for variant, f in figures.items()},
            "each": {v: list(map(_number, column)) for v, column in values[score.name].items()},
        }
    return {"clips": [case.name for case in cases], "scores": scores}


def as_json(figure: Figure) -> dict[str, Any]:
    """A figure as JSON values; what is not known is None."""
    return {name: _number(value) for name, value in dataclasses.asdict(figure).items()}


def _number(value: float | int) -> float | int | None:
    return None if math.isnan(value) else round(value, 6)


def pick_extremes(column: Sequence[float]) -> dict[str, int]:
    """Numbers of the worst and the median case of a variant of a score, by these names.

    Cases to which the score does not apply are left out; of equals the first one is taken.
    """
    order = sorted((value, i) for i, value in enumerate(column) if not math.isnan(value))
    if not order:
        return {}
    return {"worst": order[0][1], "median": order[(len(order) - 1) // 2][1]}


def group_worlds(cases: Sequence[Case]) -> dict[str, list[int]]:
    """Numbers of the cases of each world, in the order of the cases."""
    numbers: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        numbers.setdefault(case.world, []).append(i)
    return numbers


def score_group(
    cases: Sequence[Case],
    videos: Mapping[str, Sequence[np.ndarray]],
    split: str,
    given: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    min_clips: int = MIN_CLIPS,
) -> dict[str, Any]:
    """Scores the cases of any worlds, each world by itself.

    Args:
      cases, videos, given, progress: see `score_cases`.
      split: where the clips are from, for those who read the scores.
      min_clips: cases to which a score must apply to be admitted or not.

    Returns:
      JSON values: split, given, and the scores of each world as `describe` returns them.

    Raises:
      ValueError: see `score_cases`; or a world has no scores.
    """
    if not cases:
        raise ValueError("there are no clips to score: give at least one")
    worlds, done = {}, 0
    for name, numbers in group_worlds(cases).items():
        world, own = world_of(name), [cases[i] for i in numbers]
        columns = {variant: [column[i] for i in numbers] for variant, column in videos.items()}

        def show(count: int, _: int, before: int = done) -> None:
            progress(before + count, len(cases))

        values = score_cases(world, own, columns, given, show)
        worlds[name] = describe(world, own, values, min_clips)
        done += len(own)
    return {"split": split, "given": given, "worlds": worlds}


def mean_scores(cases: Sequence[Case], videos: Sequence[np.ndarray]) -> dict[str, float]:
    """Means of the videos' scores by world and by kind of score, without controls.

    Returns:
      "score of WORLD" and "score of KIND", each the mean over its scores of their means over cases.
    """
    values: dict[tuple[str, str], list[float]] = {}
    kinds: dict[str, str] = {}
    for case, video in zip(cases, videos, strict=True):
        world = world_of(case.world)
        kinds |= {f"{case.world} {score.name}": score.kind for score in world.SCORES}
        for name, value in base.score_video(world, video, case.expected).items():
            if not math.isnan(value):
                values.setdefault((case.world, f"{case.world} {name}"), []).append(value)
    groups: dict[str, list[float]] = {}
    for (world, name), column in values.items():
        for group in (world, kinds[name]):
            groups.setdefault(f"score of {group}", []).append(float(np.mean(column)))
    return {name: float(np.mean(means)) for name, means in sorted(groups.items())}


def world_of(name: str) -> Any:
    """The scores' module of a world, imported when it is asked for.

    Raises:
      ValueError: no world has this name.
    """
    if name not in WORLDS:
        raise ValueError(f"no scores of a world named {name!r}; choose from {', '.join(WORLDS)}")
    return importlib.import_module(f"sora_jax.evals.worlds.{name}")
