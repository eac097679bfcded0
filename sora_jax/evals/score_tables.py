"""Tables of the scores of simulated worlds.

A report's `groups` hold, for each split and number of given frames, the scores of each world as
`world_scores.describe` returns them, and errors as `prediction.attach` adds them.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.evals.gallery import Cell, Table
from sora_jax.evals.world_scores import REAL
from sora_jax.evals.worlds.base import CONTROL_BAR, KINDS, Figure
from sora_jax.evals.worlds.controls import CONTROLS

CODEC, MODEL = "codec", "model"
Report = Mapping[str, Any]


def name_group(group: Report) -> str:
    """Says of which split and of how many given frames a group's scores are."""
    given = {0: "from text alone", 1: "from text and the first frame"}
    known = given.get(group["given"], f"from text and the first {group['given']} frames")
    return f"split {group['split']}, {known}"


def iterate_scores(group: Report) -> Iterator[tuple[str, str, Report]]:
    """World, name and content of every score of a group."""
    for world, scored in group["worlds"].items():
        for name, score in scored["scores"].items():
            yield world, name, score


def _mean(figures: Sequence[Mapping[str, Any] | None]) -> str:
    known = [f["mean"] for f in figures if f and f["clips"]]
    return f"{np.mean(known):.2f}" if known else "-"


def mean_of(scores: Sequence[Report], variant: str) -> float | None:
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


def _figure(figure: Any, digits: int = 2) -> str:
    """A mean and its interval; "-" without clips. Takes a `Figure`, or one as JSON values."""
    known = dataclasses.asdict(figure) if isinstance(figure, Figure) else figure
    if not known or not known["clips"]:
        return "-"
    mean, low, high = (f"{known[key]:.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low}–{high})"


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


def all_tables(group: Report) -> list[Table]:
    """Scores by world, errors of prediction over time, and phyworld's error of velocity."""
    return [*score_tables(group), *prediction_tables(group), *velocity_tables(group)]


def kind_table(group: Report, variant: str = MODEL) -> Table:
    """Failures by kind: the share of a variant's values below `CONTROL_BAR`, beside real clips'."""
    rows = []
    for kind in KINDS:
        scores = {f"{w}: {n}": s for w, n, s in iterate_scores(group) if s["kind"] == kind}
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
    columns = [c for c in columns if any(c in s["figures"] for _, _, s in iterate_scores(group))]
    rows = []
    for world, scored in group["worlds"].items():
        scores = list(scored["scores"].values())
        means = [mean_of(scores, column) for column in columns]
        counts = [str(len(scored["clips"])), str(len(scores))]
        rows.append([world, *counts, *("-" if mean is None else f"{mean:.2f}" for mean in means)])
    header = ["world", "clips", "scores", *(c.replace("_", " ") for c in columns)]
    note = (
        "Means over all scores of a world, of controls too, although a frozen or shuffled clip has "
        "the right colours: a model that is no better than a control shows nothing of the rest."
    )
    return Table(f"Means by world: {name_group(group)}", header, rows, note)


def prediction_tables(group: Report) -> list[Table]:
    """Errors of positions over time, a table for each world that has some."""
    tables = []
    for world, scored in group["worlds"].items():
        errors = scored.get("prediction", {})
        ahead = sorted({frames for by_frame in errors.values() for frames in by_frame}, key=int)
        rows = [
            [name, *(_figure(by_frame.get(frames), 3) for frames in ahead)]
            for name, by_frame in errors.items()
        ]
        if rows:
            title = f"{world}: error of positions, {name_group(group)}"
            header = ["frames after the given ones", *map(str, ahead)]
            note = "Mean distance from the simulator's positions, in short sides of the frame."
            tables.append(Table(title, header, rows, note))
    return tables


def velocity_tables(group: Report) -> list[Table]:
    """phyworld's error of velocity, as in arXiv:2411.02385 and calibrated."""
    errors = group["worlds"].get("phyworld", {}).get("velocity", {})
    rows = [
        [motion, variant, _figure(figure, 4), _figure(errors["calibrated"][variant][motion], 4)]
        for variant, by_motion in errors.get("paper", {}).items()
        for motion, figure in by_motion.items()
    ]
    if not rows:
        return []
    title = f"phyworld: error of velocity, {name_group(group)}"
    note = (
        "In units a second, as arXiv:2411.02385 reads it, and with the scale of pixels corrected."
    )
    return [Table(title, ["motion", "variant", "as in the paper", "calibrated"], rows, note)]


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
    if any(MODEL in score["figures"] for _, _, score in iterate_scores(group)):
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
        for world, name, score in iterate_scores(group)
    }
    header = ["world", "score", "1 where, 0 where", "broken by"]
    return Table("What the scores measure", header, list(rows.values()))
