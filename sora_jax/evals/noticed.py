"""Whether any score notices a video that cannot be right.

A mean below the bar of controls may still leave single clips that nothing notices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.evals.world_scores import REAL, Case, make_control
from sora_jax.evals.worlds.base import CONTROL_BAR

NEVER_RIGHT = ("frozen", "stopped", "shuffled", "swapped", "stuttered", "banded", "boxed")
"""Controls that no right video looks like."""
LEVELS, SHARE, FEW = 30, 0.004, 3  # change of a pixel, share of pixels, frames that an eye notices


def count_noticed(
    cases: Sequence[Case], values: Mapping[str, Mapping[str, Sequence[float]]], given: int
) -> dict[str, dict[str, Any]]:
    """Counts clips of each control in `NEVER_RIGHT` that fail a score which the real one passes.

    Args:
      cases, given: as they were scored. values: as `score_cases` returns them.

    Returns:
      By control, 'clips', the number of those that are visible, and 'missed', the names of those of
      them that no score notices.
    """
    found = {}
    for control in NEVER_RIGHT:
        visible, missed = 0, []
        for i, case in enumerate(cases):
            video = make_control(cases, i, control, given)
            if video is None or case.real is None or not is_visible(video, case.real):
                continue
            visible += 1
            fails = (
                columns[REAL][i] >= CONTROL_BAR > np.nan_to_num(columns[control][i])
                for columns in values.values()
            )
            if not any(fails):
                missed.append(case.name)
        found[control] = {"clips": visible, "missed": missed}
    return found


def is_visible(video: np.ndarray, real: np.ndarray) -> bool:
    """Whether videos uint8[t, h, w, 3] differ in `SHARE` of the pixels of `FEW` frames at least."""
    change = np.abs(video.astype(np.int16) - real).max(-1) > LEVELS
    return bool((change.mean((1, 2)) > SHARE).sum() >= FEW)
