"""What `eval` and `report` share: scores of a model, or of anyone's videos, on simulated worlds."""

import dataclasses
import datetime
import functools
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from sora_jax import apart
from sora_jax.commands import cases as case_files
from sora_jax.commands import distributions
from sora_jax.evals import prediction, reconstruction, score_tables, scores_page
from sora_jax.evals.gallery import Comparison
from sora_jax.evals.score_tables import CODEC, MODEL
from sora_jax.evals.world_scores import Case, as_json, put_first, score_group
from sora_jax.generation.generate import Generator
from sora_jax.generation.prompting import Generate
from sora_jax.progress import progress_of
from sora_jax.provenance import commit


@dataclasses.dataclass
class EvalResults:
    """What was found, and what a page shows of it.

    Attributes:
      groups: scores by split and number of given frames, see `evals.scores_page`.
      comparisons: worst and median clips by the title of their section.
      distribution: figures by world and name, each as a `Figure` of `evals.worlds.base`; {} where
        they were not asked for.
      left_out: a line for each measure that is missing.
    """

    groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    comparisons: dict[str, list[Comparison]] = dataclasses.field(default_factory=dict)
    distribution: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    left_out: list[str] = dataclasses.field(default_factory=list)

    def add(
        self,
        cases: Sequence[Case],
        videos: Mapping[str, Sequence[np.ndarray]],
        split: str,
        given: int,
    ) -> None:
        """Scores a group of cases; `videos` are its variants, one of which is the model's."""
        videos = {
            name: [put_first(*pair, given) for pair in zip(cases, column, strict=True)]
            for name, column in videos.items()
        }
        group = score_group(cases, videos, split, given, progress_of("clips scored"))
        prediction.attach(group, cases, videos)
        self.groups.append(group)
        title = f"Worst and median: {score_tables.name_group(group)}"
        self.comparisons[title] = scores_page.compare_group(cases, videos[MODEL], group)

    def distribution_json(self) -> dict[str, Any]:
        """The figures of distributions as JSON values."""
        return {
            world: {name: as_json(figure) for name, figure in figures.items()}
            for world, figures in self.distribution.items()
        }

    def leave_out(self, line: str) -> None:
        """Notes that a measure is missing, once."""
        if line not in self.left_out:
            self.left_out.append(line)


def evaluate_model(
    generator: Generator,
    generate: Generate,
    data: epath.PathLike,
    worlds: Sequence[str],
    clips: int,
    givens: Sequence[int],
    with_distribution: bool = True,
    save: Callable[[EvalResults], object] = lambda found: None,
) -> tuple[EvalResults, list[tuple[Case, np.ndarray]]]:
    """Samples a video of each case and scores it beside real clips, the codec and controls.

    All of several processes sample, and decode, together; process 0 scores and saves.

    Args:
      generator: the trained model; its codec reconstructs the real clips.
      generate: how its videos are made.
      data: folder of simulated clips.
      worlds: names of worlds; none for all.
      clips: number of cases of each world and split, at most.
      givens: numbers of given first frames, each a run of its own.
      with_distribution: whether to compare distributions too.
      save: called, on process 0, with what is known after each split and number of given frames.

    Returns:
      The evaluation, empty but on process 0; and each case of the test split with its video, of
      the first of `givens`.

    Raises:
      ValueError: see `cases.read_cases`; the model takes no first frames, or fewer; no clip has
        more frames than are given.
    """
    if max(givens) > generator.max_given:
        raise ValueError(
            f"this model takes {generator.max_given} first frames at most, and {max(givens)} were "
            "asked for: score it with --given=0"
        )
    found, sampled, any_cases = EvalResults(), [], False
    for split in case_files.SPLITS:
        for given in givens:
            cases = case_files.read_cases(data, split, worlds, clips, given)
            if not cases:
                continue
            any_cases = True
            real = [case.real for case in cases if case.real is not None]
            first = [video[:given] for video in real]
            made = generate([case_files.make_request(case) for case in cases], first)
            decoded = [reconstruction.reconstruct(video, generator.codec) for video in real]
            group = cases, {CODEC: decoded, MODEL: made}
            apart.on_first(functools.partial(found.add, *group, split, given))
            if split == case_files.SPLITS[0] and given == givens[0]:
                sampled = list(zip(cases, made, strict=True))
                if with_distribution:
                    compare = functools.partial(distributions.compare, found, *group, given, data)
                    apart.on_first(compare)
                    distributions.measure_variety(found, cases, generate, given)
            apart.on_first(functools.partial(_save, save, found))
    if not any_cases:
        raise ValueError(f"{data} has no clips of more than {min(givens)} frames to score")
    return found, sampled


def _save(save: Callable[[EvalResults], object], found: EvalResults) -> None:
    """Saves what is known; what `save` returns is for nobody."""
    save(found)


def describe_run() -> dict[str, Any]:
    """When, with which code and on which machine something was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "machine": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
