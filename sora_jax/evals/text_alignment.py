"""Does a clip show the colour that its prompt names? By the rule of `evals.color`."""

from collections.abc import Mapping, Sequence

import numpy as np

from sora_jax.evals.color import dominant_color


def named_colors(attributes: Mapping[str, str]) -> frozenset[str]:
    """The colours of a clip's objects; several where it shows several, none where it has none."""
    if "solids" in attributes:
        return frozenset(thing.split()[0] for thing in attributes["solids"].split(", "))
    return frozenset({attributes["color"]} if "color" in attributes else ())


def color_accuracy(
    videos: Sequence[np.ndarray],
    named: Sequence[frozenset[str]],
    palette: dict[str, tuple[int, int, int]],
) -> float:
    """Share of clips whose dominant colour is one of those named for it."""
    return float(
        np.mean([dominant_color(v, palette) in n for v, n in zip(videos, named, strict=True)])
    )


def shuffled_accuracy(
    videos: Sequence[np.ndarray],
    named: Sequence[frozenset[str]],
    palette: dict[str, tuple[int, int, int]],
) -> float:
    """The same of clips against other clips' prompts, over all shifts by one place or more."""
    shown = [dominant_color(video, palette) for video in videos]
    n = len(named)
    hits = [shown[i] in named[(i + k) % n] for k in range(1, n) for i in range(n)]
    return float(np.mean(hits)) if hits else float("nan")
