"""How far objects are from where the simulator has them, frame by frame after given first frames.

A world whose truth has positions has a function `prediction_errors(reading)`: the mean distance of
the objects of one video from the simulator's, in units of the frame's short side, of each frame
that was not given, nan where it is unknown; beside it the distances of two baselines that know the
given frames alone: the last one copied, and the velocity between the last two kept.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.evals.world_scores import REAL, Case, as_json, group_worlds, world_of
from sora_jax.evals.worlds import phyworld_parser
from sora_jax.evals.worlds.base import Expected, Figure, summarise

AHEAD = (1, 2, 4, 8, 16, 32)
"""Frames after the last given one at which errors are stated."""
BASELINES = {"copy_last": "last frame copied", "constant_velocity": "constant velocity"}
Errors = dict[str, dict[Any, Figure]]
"""By variant, and by number of frames ahead or class of motion: the mean over cases."""


def attach(
    group: dict[str, Any], cases: Sequence[Case], videos: Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Adds errors of positions, and phyworld's of velocities, to the worlds of a group's scores.

    Args:
      group: as `world_scores.score_group` returns it.
      cases, videos: what was scored.
    """
    for name, numbers in group_worlds(cases).items():
        own = [cases[i] for i in numbers]
        columns = {variant: [column[i] for i in numbers] for variant, column in videos.items()}
        scored, world = group["worlds"][name], world_of(name)
        if errors := measure(world, own, columns, group["given"]):
            scored["prediction"] = _as_json(errors)
        if name == "phyworld":
            for kind in ("paper", "calibrated"):
                errors = measure_velocity(own, columns, group["given"], kind)
                scored.setdefault("velocity", {})[kind] = _as_json(errors)


def _as_json(errors: Errors) -> dict[str, Any]:
    return {
        name: {str(key): as_json(figure) for key, figure in own.items()}
        for name, own in errors.items()
    }


def measure(
    world: Any, cases: Sequence[Case], videos: Mapping[str, Sequence[np.ndarray]], given: int
) -> Errors:
    """Errors of real clips, of other variants and of the baselines.

    Args:
      world: module of `evals.worlds`; without `prediction_errors`, or with no given frames, there
        are no errors.
      cases: cases of this world.
      videos: variants by name, one video for each case; real clips are added.
      given: number of given first frames.
    """
    if not given or not hasattr(world, "prediction_errors"):
        return {}
    columns = {REAL: [case.real for case in cases], **videos}
    values: dict[str, dict[Any, list[float]]] = {}
    for variant, column in columns.items():
        for case, video in zip(cases, column, strict=True):
            if video is None:
                continue
            expected: Expected = dataclasses.replace(case.expected, given=given)
            errors = world.prediction_errors(world.read(video, expected))
            names = {"model": variant}
            if variant == REAL:
                names |= BASELINES
            for key, name in names.items():
                for ahead in AHEAD:
                    if ahead <= len(errors[key]):
                        known = values.setdefault(name, {}).setdefault(ahead, [])
                        known.append(float(errors[key][ahead - 1]))
    return _summarise(values)


def measure_velocity(
    cases: Sequence[Case], videos: Mapping[str, Sequence[np.ndarray]], given: int, kind: str
) -> Errors:
    """phyworld's error of velocity by variant and motion, in units/s; see `phyworld_parser`.

    Args:
      cases, videos, given: as of `measure`.
      kind: "paper", or "calibrated".
    """
    columns = {REAL: [case.real for case in cases], **videos}
    values: dict[str, dict[Any, list[float]]] = {}
    for variant, column in columns.items():
        for case, video in zip(cases, column, strict=True):
            if video is not None:
                expected = dataclasses.replace(case.expected, given=given)
                error = phyworld_parser.velocity_errors(video, expected)[kind]
                by_motion = values.setdefault(variant, {})
                by_motion.setdefault(expected.attributes["motion"], []).append(error)
    return _summarise(values)


def _summarise(values: Mapping[str, Mapping[Any, Sequence[float]]]) -> Errors:
    return {
        name: {key: summarise(known) for key, known in own.items()} for name, own in values.items()
    }
