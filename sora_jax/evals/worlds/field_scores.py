"""Scores whose values are fields of a world's reading, of the score's name."""

import dataclasses
import math
import operator
from collections.abc import Mapping
from typing import TypeVar

from sora_jax.evals.worlds.base import Score

AnyReading = TypeVar("AnyReading")


def make_score(name: str, kind: str, meaning: str, broken_by: str, min_given: int = 0) -> Score:
    """Makes the score that a reading's field of this name holds.

    Args:
      name, kind, meaning, min_given: see `Score`.
      broken_by: names of controls, with spaces between them.
    """
    measure = operator.attrgetter(name)
    return Score(name, kind, meaning, measure, frozenset(broken_by.split()), min_given)


def fill_reading(
    reading: type[AnyReading], values: Mapping[str, float], applies: Mapping[str, bool]
) -> AnyReading:
    """Makes a reading, a dataclass of floats, one for each score.

    Args:
      reading: the dataclass.
      values: measured; what is missing is 0.
      applies: whether a score applies to the clip; true of those that it does not name.
    """
    names = [field.name for field in dataclasses.fields(reading)]  # type: ignore
    return reading(
        **{name: values.get(name, 0.0) if applies.get(name, True) else math.nan for name in names}
    )
