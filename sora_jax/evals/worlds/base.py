"""What the scores of all worlds share: what is expected of a video, and what a score is.

Every world's file has

- `NAME` of the world;
- `SCORES: tuple[Score, ...]`;
- `read(video: uint8[t, h, w, 3], expected: Expected) -> Reading`: everything that its scores need,
  measured in the pixels of one video. It never fails: a video that shows nothing has an empty
  reading, and scores 0.

A score is admitted only if videos of the simulator reach `REAL_BAR` and every control that breaks
what it measures stays below `CONTROL_BAR`; `experiments/benchmarks/scores.py` prints the table.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

REAL_BAR, CONTROL_BAR = 0.95, 0.5
KINDS = (
    "what",  # count, colour, shape, background, size
    "where",  # direction, class of motion
    "laws",  # gravity, velocity, energy, collisions
    "permanence",  # what is hidden, painted, eaten or broken stays what it was
    "3d",  # depth, reprojection, camera
    "digital",  # tiles, actions, inventory
    "looks",  # one component for each object, sharp edges, no flicker
    "prediction",  # positions against the simulator's, from given first frames
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a video should show: the prompt's clip as its simulator knows it.

    Attributes:
      attributes: the clip's attributes; its detailed caption states those that scores read.
      truth: state of the simulator, arrays as numpy. Scores of videos from text alone may read
        only what the caption states and what `sora_jax.laws` fixes: where an object starts is not
        said, so it is compared only where first frames are given.
      fps: frames per second.
      given: number of first frames that were given to the model; 0 for text alone.
    """

    attributes: Mapping[str, str]
    truth: Mapping[str, Any]
    fps: float
    given: int = 0


@dataclasses.dataclass(frozen=True)
class Score:
    """One figure of a world, the mean over videos of a value from 0 (wrong) to 1 (right).

    Attributes:
      name: lowercase words joined by underscores, unique within the world.
      kind: one of `KINDS`.
      meaning: one line that says when a video scores 1, and when 0.
      measure: value of a world's reading, 0 to 1; nan where the score does not apply to the clip,
        as decided by what is expected and never by what the video shows.
      broken_by: controls that break what the score measures: names of `controls.CONTROLS` or of
        the world's `BROKEN`.
      min_given: first frames that must be given for the score to apply.
    """

    name: str
    kind: str
    meaning: str
    measure: Callable[[Any], float]
    broken_by: frozenset[str]
    min_given: int = 0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; choose from {', '.join(KINDS)}")


@dataclasses.dataclass(frozen=True)
class Figure:
    """Mean of a score over videos with its bootstrap interval.

    Attributes:
      mean: mean of the videos to which the score applies; nan without any.
      low, high: 95 % interval of the mean, by resampling videos (`summarise`).
      clips: number of videos to which the score applies.
    """

    mean: float
    low: float
    high: float
    clips: int


def grade(error: float, good: float, bad: float) -> float:
    """Returns 1 where an error is `good`, 0 where it is `bad` or nan, between both a line.

    Values beyond `good` are 1 and values beyond `bad` 0, whichever of them is the larger one.
    """
    return 0.0 if math.isnan(error) else float(np.clip((bad - error) / (bad - good), 0, 1))


def summarise(values: Sequence[float], resamples: int = 1000, bounded: bool = False) -> Figure:
    """Summarises a score's values, one a video; nan does not count.

    The interval holds the middle of the means of `resamples` samples with replacement, drawn from a
    fixed seed. Quantiles of so few values are too narrow, by sqrt((n - 1) / n) and by the normal's
    tails in place of Student's t with n - 1 degrees of freedom, so that those are taken at

        Phi(-+ sqrt(n / (n - 1)) t(0.975, n - 1))

    in place of 0.025 and 0.975 (the expanded percentile bootstrap, Hesterberg, arXiv:1411.5279).

    Args:
      bounded: whether values lie between 0 and 1, with both possible. Where all n are the same
        bound, resampling finds no spread: the interval then reaches to the share that gives n such
        values with a probability of 2.5 % (Clopper and Pearson), 1 - 0.025^(1 / n) from the bound.
    """
    known = np.array([v for v in values if not math.isnan(v)])
    n = len(known)
    if not n:
        return Figure(math.nan, math.nan, math.nan, 0)
    mean, low, high = float(known.mean()), float(known.min()), float(known.max())
    if low < high:
        rng = np.random.default_rng(0)
        means = known[rng.integers(n, size=(resamples, n))].mean(1)
        tail = special.ndtr(-math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, 0.975))
        low, high = map(float, np.quantile(means, (tail, 1 - tail)))
    elif bounded and mean in (0.0, 1.0):
        reach = 1 - 0.025 ** (1 / n)
        low, high = max(mean - reach, 0.0), min(mean + reach, 1.0)
    return Figure(mean, low, high, n)


def score_video(world: Any, video: np.ndarray, expected: Expected) -> dict[str, float]:
    """Returns the value of every score of a world for one video, nan where it does not apply.

    Args:
      world: a module of this package.
      video: uint8[t, h, w, 3].
      expected: what it should show.

    Raises:
      ValueError: the video is not uint8[t, h, w, 3].
    """
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or not len(video):
        raise ValueError(
            f"a video is uint8[t, h, w, 3] with a frame at least, got {video.dtype}{video.shape}"
        )
    reading = world.read(video, expected)
    values = {}
    for score in world.SCORES:
        applies = expected.given >= score.min_given
        values[score.name] = float(score.measure(reading)) if applies else math.nan
        if not (math.isnan(values[score.name]) or 0 <= values[score.name] <= 1):
            raise ValueError(f"{score.name} is {values[score.name]}, not within 0 and 1")
    return values
