"""What a person reads of the scores of simulated worlds: headline, tables, worst and median clips.

A report's `groups` hold, for each split and number of given frames, the scores of each world as
`world_scores.describe` returns them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.evals.gallery import Cell, Comparison, Table
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
from sora_jax.evals.worlds.base import CONTROL_BAR, KINDS, REAL_BAR
from sora_jax.evals.worlds.controls import CONTROLS

CODEC, MODEL = "codec", "model"
Report = Mapping[str, Any]


def name_group(group: Report) -> str:
    """Says of which split and of how many given frames a group's scores are."""
    given = {0: "from text alone", 1: "from text and the first frame"}
    known = given.get(group["given"], f"from text and the first {group['given']} frames")
    return f"split {group['split']}, {known}"


def _scores(group: Report) -> Iterator[tuple[str, str, Report]]:
    """World, name and content of every score of a group."""
    for world, scored in group["worlds"].items():
        for name, score in scored["scores"].items():
            yield world, name, score


def _mean(figures: Sequence[Mapping[str, Any] | None]) -> str:
    known = [f["mean"] for f in figures if f and f["clips"]]
    return f"{np.mean(known):.2f}" if known else "-"


def headline(group: Report) -> list[tuple[str, str, str]]:
    """A group's headline: how many scores are admitted, and means of all variants over all scores.

    Of the controls, it names the one with the highest mean: a model is no better than its mean.
    """
    scores = [score for _, _, score in _scores(group)]
    verdicts = [score["admitted"] for score in scores]
    cells = []
    if any(verdict is not None for verdict in verdicts):
        text = f"{verdicts.count(True)} of {len(verdicts)}"
        if None in verdicts:
            text += f", {verdicts.count(None)} on too few clips"
        cells.append(("Scores admitted on these clips", text, ""))
    for variant, name in ((REAL, "Real clips"), (CODEC, "Codec"), (MODEL, "Model")):
        if mean := _mean_of(scores, variant):
            cells.append((f"{name}, mean of scores", f"{mean:.2f}", ""))
    means = {control: _mean_of(scores, control) for control in CONTROLS}
    if known := {control: mean for control, mean in means.items() if mean is not None}:
        best = max(known, key=lambda control: known[control])
        name = f"Best control ({best.replace('_', ' ')}), mean of scores"
        cells.append((name, f"{known[best]:.2f}", ""))
    return cells


def _mean_of(scores: Sequence[Report], variant: str) -> float | None:
    """Mean over scores of a variant's means; None if none is known."""
    figures = [score["figures"].get(variant) for score in scores]
    known = [figure["mean"] for figure in figures if figure and figure["clips"]]
    return float(np.mean(known)) if known else None


def score_tables(group: Report, all_laws: bool = False) -> list[Table]:
    """One table a world: its scores by kind, each with its interval and beside its controls.

    Args:
      all_laws: whether to show all broken laws that a score must notice, or the one with the
        highest mean.
    """
    tables = []
    for world, scored in group["worlds"].items():
        scores = scored["scores"]
        columns = [
            v for v in (REAL, CODEC, MODEL) if any(v in s["figures"] for s in scores.values())
        ]
        controls = [c for c in CONTROLS if any(c in s["figures"] for s in scores.values())]
        laws = any(set(s["broken_by"]) & set(s["figures"]) - set(CONTROLS) for s in scores.values())
        order = sorted(scores, key=lambda name: KINDS.index(scores[name]["kind"]))
        rows = [
            [
                name.replace("_", " "),
                scores[name]["kind"],
                _verdict(scores[name]["admitted"]),
                str(max((f["clips"] for f in scores[name]["figures"].values()), default=0)),
                *(_figure(scores[name]["figures"].get(variant)) for variant in columns),
                *(_control(scores[name], control) for control in controls),
                *([_laws(scores[name], all_laws)] if laws else []),
            ]
            for name in order
        ]
        header = ["score", "kind", "admitted", "clips", *columns]
        header += [control.replace("_", " ") for control in controls]
        header += ["broken laws" if all_laws else "worst broken law"] if laws else []
        title = f"{world}: {len(scored['clips'])} clips, {name_group(group)}"
        tables.append(Table(title, header, rows))
    return tables


def _verdict(admitted: bool | None) -> str | Cell:
    if admitted is None:
        return Cell("-", "dim")
    return Cell("yes", "pass") if admitted else Cell("no", "miss")


def _figure(figure: Mapping[str, Any] | None) -> str:
    if not figure or not figure["clips"]:
        return "-"
    return f"{figure['mean']:.2f} ({figure['low']:.2f}–{figure['high']:.2f})"


def _control(score: Report, name: str) -> str | Cell:
    figure = score["figures"].get(name)
    if not figure or not figure["clips"]:
        return Cell("-", "dim")
    text = f"{figure['mean']:.2f}"
    if name not in score["broken_by"]:
        return Cell(text, "dim")
    return Cell(text, "miss") if figure["mean"] >= CONTROL_BAR else text


def _laws(score: Report, all_laws: bool) -> str | Cell:
    """Names and means of the broken laws that a score must notice, the highest first."""
    means = {
        name: figure["mean"]
        for name, figure in score["figures"].items()
        if name in score["broken_by"] and name not in CONTROLS and figure["clips"]
    }
    if not means:
        return Cell("-", "dim")
    order = sorted(means, key=lambda name: -means[name])
    shown = order if all_laws else order[:1]
    text = ", ".join(f"{name.replace('_', ' ')} {means[name]:.2f}" for name in shown)
    return Cell(text, "miss") if means[order[0]] >= CONTROL_BAR else text


def kind_table(group: Report, variant: str = MODEL) -> Table:
    """Failures by kind: the share of a variant's values below `CONTROL_BAR`, beside real clips'."""
    rows = []
    for kind in KINDS:
        scores = {f"{w}: {n}": s for w, n, s in _scores(group) if s["kind"] == kind}
        failing = {
            name: _fails(score, variant)
            for name, score in scores.items()
            if variant in score["figures"] and score["figures"][variant]["clips"]
        }
        if not failing:
            continue
        worst = max(failing, key=lambda name: np.mean(failing[name]))
        real = [fails for score in scores.values() for fails in _fails(score, REAL)]
        ours = [fails for column in failing.values() for fails in column]
        rows.append(
            [
                kind,
                str(len(failing)),
                _mean([scores[name]["figures"][variant] for name in failing]),
                f"{np.mean(ours):.0%}",
                f"{np.mean(real):.0%}" if real else "-",
                f"{worst.replace('_', ' ')}, {np.mean(failing[worst]):.0%}",
            ]
        )
    header = ["kind", "scores", "mean", f"{variant} fails", "real fails", "fails most often"]
    note = f"A clip fails a score below {CONTROL_BAR}."
    return Table(f"Failures by kind: {name_group(group)}", header, rows, note)


def _fails(score: Report, variant: str) -> list[bool]:
    return [v < CONTROL_BAR for v in score["each"].get(variant, []) if v is not None]


def world_table(group: Report) -> Table:
    """Means of every variant over each world's scores, all of them for every variant."""
    columns = [REAL, CODEC, MODEL, *CONTROLS]
    columns = [c for c in columns if any(c in s["figures"] for _, _, s in _scores(group))]
    rows = []
    for world, scored in group["worlds"].items():
        scores = list(scored["scores"].values())
        means = [_mean_of(scores, column) for column in columns]
        counts = [str(len(scored["clips"])), str(len(scores))]
        rows.append([world, *counts, *("-" if mean is None else f"{mean:.2f}" for mean in means)])
    header = ["world", "clips", "scores", *(c.replace("_", " ") for c in columns)]
    note = (
        "Means over all scores of a world, of controls too, although a frozen or shuffled clip has "
        "the right colours: a model that is no better than a control shows nothing of the rest."
    )
    return Table(f"Means by world: {name_group(group)}", header, rows, note)


def summary(what: str, left_out: Sequence[str] = ()) -> str:
    """What was measured of `what`, such as a run at a step, and how to read it."""
    return "\n\n".join(
        [
            f"{what}, scored on held-out clips of simulated worlds. Prompts are the clips' "
            "detailed captions; scores read pixels alone and compare them with what the caption "
            "states, with the simulator's laws and, where first frames were given, with its "
            "positions.",
            "Beside each score stands the same one of the real clips, of their reconstruction by "
            "the codec, and of videos that must fail: the first frame frozen, frames shuffled or "
            "reversed, another clip, a grey picture with a disc, and real clips with one law "
            "broken. A control in grey does not break what the score measures. Intervals hold "
            "95 % of resampled means.",
            "Videos show the model, the real clip of the prompt and one control, from left to "
            "right; rings mark where the simulator's objects are in the real clip.",
            *(f"{line[0].upper()}{line[1:]}." for line in left_out),
        ]
    )


def distribution_tables(figures: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Distances of distributions by world; none without figures."""
    names = list(dict.fromkeys(name for world in figures.values() for name in world))
    if not names:
        return []
    rows = [[name, *(_figure(own.get(name)) for own in figures.values())] for name in names]
    note = (
        "FED: Frechet distance of EfficientNet-Lite0 features between halves of clips, mean and "
        "range over random halvings. Nearest: RMS difference of thumbnails to the nearest training "
        "clip, in 8-bit levels, mean and 95 % interval over clips. Variety: mean distance of "
        "features of two videos."
    )
    return [Table("Distribution", ["figure", *figures], rows, note)]


def overview(group: Report) -> list[Table]:
    """Means by world, and failures by kind."""
    tables = [world_table(group)]
    if any(MODEL in score["figures"] for _, _, score in _scores(group)):
        tables.append(kind_table(group))
    return tables


def meanings_table(groups: Sequence[Report]) -> Table:
    """What each score means, and the controls that must fail it."""
    rows = {
        (world, name): [
            world,
            name.replace("_", " "),
            score["meaning"],
            ", ".join(score["broken_by"]).replace("_", " "),
        ]
        for group in groups
        for world, name, score in _scores(group)
    }
    header = ["world", "score", "1 where, 0 where", "broken by"]
    return Table("What the scores measure", header, list(rows.values()))


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
