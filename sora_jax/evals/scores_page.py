"""What a person reads of the scores of simulated worlds: headline, summary, worst and median clips.

`score_tables` says what a report's `groups` are.
"""

from collections.abc import Sequence

import numpy as np

from sora_jax.evals.gallery import Comparison
from sora_jax.evals.score_tables import CODEC, MODEL, Report, iterate_scores, mean_of
from sora_jax.evals.truth_marks import find_marks
from sora_jax.evals.world_scores import (
    REAL,
    Case,
    group_worlds,
    law_controls,
    make_control,
    pick_extremes,
    world_of,
)
from sora_jax.evals.worlds.base import REAL_BAR
from sora_jax.evals.worlds.controls import CONTROLS


def headline(group: Report) -> list[tuple[str, str, str]]:
    """A group's headline: how many scores are admitted, and means of all variants over all scores.

    Of the controls, it names the one with the highest mean: a model is no better than its mean.
    """
    scores = [score for _, _, score in iterate_scores(group)]
    verdicts = [score["admitted"] for score in scores]
    cells = []
    if any(verdict is not None for verdict in verdicts):
        text = f"{verdicts.count(True)} of {len(verdicts)}"
        if None in verdicts:
            text += f", {verdicts.count(None)} on too few clips"
        cells.append(("Scores admitted on these clips", text, ""))
    for variant, name in ((REAL, "Real clips"), (CODEC, "Codec"), (MODEL, "Model")):
        if (mean := mean_of(scores, variant)) is not None:
            cells.append((f"{name}, mean of scores", f"{mean:.2f}", ""))
    means = {control: mean_of(scores, control) for control in CONTROLS}
    if known := {control: mean for control, mean in means.items() if mean is not None}:
        best = max(known, key=lambda control: known[control])
        name = f"Best control ({best.replace('_', ' ')}), mean of scores"
        cells.append((name, f"{known[best]:.2f}", ""))
    return cells


def summary(what: str, left_out: Sequence[str] = ()) -> str:
    """What was measured of `what`, such as a run at a step, and how to read it."""
    return "\n\n".join(
        [
            f"{what}, scored on held-out clips of simulated worlds. Prompts are the clips' "
            "detailed captions; scores read pixels alone and compare them with what the caption "
            "states, with the simulator's laws and, where first frames were given, with its "
            "positions.",
            "Beside each score stands the same one of the real clips, of their reconstruction by "
            "the codec, and of videos that must fail: frozen from the first frame or half way, "
            "frames in another order or shown twice, the picture cut, stretched, turned, in bands "
            "or with a box on it, another clip, a grey picture with a disc, and real clips with "
            "one law broken. A control in grey does not break what the score measures. Intervals "
            "are of 95 %.",
            "Videos show the model, the real clip of the prompt and one control, from left to "
            "right; rings mark where the simulator's objects are in the real clip.",
            *(f"{line[0].upper()}{line[1:]}." for line in left_out),
        ]
    )


def compare_group(
    cases: Sequence[Case], videos: Sequence[np.ndarray], group: Report, variant: str = MODEL
) -> list[Comparison]:
    """See `compare_extremes`, for all worlds of a group."""
    shown = []
    for world, numbers in group_worlds(cases).items():
        own, columns = [cases[i] for i in numbers], [videos[i] for i in numbers]
        scored = group["worlds"][world]
        shown += compare_extremes(own, columns, scored, group["given"], variant)
    return shown


def compare_first(
    cases: Sequence[Case], videos: Sequence[np.ndarray], count: int, variant: str = MODEL
) -> list[Comparison]:
    """The first cases of each world, each beside its real clip and one of the world's controls."""
    shown = []
    for world, numbers in group_worlds(cases).items():
        own = [cases[i] for i in numbers]
        controls = [*law_controls(world_of(world).SCORES), *CONTROLS]
        for k, i in enumerate(numbers[:count]):
            names = (variant, controls[k % len(controls)])
            shown.append(_compare(own, k, videos[i], names, 0, ()))
    return shown


def compare_extremes(
    cases: Sequence[Case],
    videos: Sequence[np.ndarray],
    scored: Report,
    given: int,
    variant: str = MODEL,
) -> list[Comparison]:
    """The worst and the median clip of each score, beside the real one and a control.

    A clip that is that of several scores is shown once, and none as the worst of a score that it
    passes. Rings mark the true centres.

    Args:
      cases: cases of one world.
      videos: the variant's video of each.
      scored: the world's scores, as `world_scores.describe` returns them.
      given: first frames that were given.
    """
    found: dict[int, dict[str, list[str]]] = {}
    controls: dict[int, str] = {}
    for name, score in scored["scores"].items():
        column = [np.nan if v is None else v for v in score["each"].get(variant, [])]
        for extreme, index in pick_extremes(column).items():
            if extreme == "worst" and column[index] >= REAL_BAR:
                continue
            text = f"{name.replace('_', ' ')} {column[index]:.2f}"
            found.setdefault(index, {}).setdefault(extreme, []).append(text)
            laws = [c for c in score["broken_by"] if c not in CONTROLS]
            controls.setdefault(index, (*laws, *score["broken_by"])[0])
    return [
        _compare(
            *(cases, i, videos[i], (variant, controls[i]), given),
            tuple(f"{extreme} of {', '.join(names)}" for extreme, names in sorted(notes.items())),
        )
        for i, notes in sorted(found.items())
    ]


def _compare(
    cases: Sequence[Case],
    index: int,
    video: np.ndarray,
    names: tuple[str, str],
    given: int,
    notes: tuple[str, ...],
) -> Comparison:
    """One case: the variant and the control named, and the real clip between them."""
    case, (variant, control) = cases[index], names
    versions = {variant: video}
    if case.real is not None:
        versions[REAL] = case.real
    made = make_control(cases, index, control, given)
    if made is not None:
        versions[f"control: {control.replace('_', ' ')}"] = made
    marks = find_marks(case.world, case.expected, *case.size[1:])
    return Comparison(versions, case.expected.fps, case.caption, notes, case.world, marks)
