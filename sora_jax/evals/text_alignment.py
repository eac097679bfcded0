"""Does a clip show the colour that its prompt names? By the rule of `evals.color`."""

from collections.abc import Mapping, Sequence

import numpy as np

from sora_jax.evals.color import dominant_color


def named_colors(attributes: Mapping[str, str]) -> frozenset[str]:
    """The colours of a clip's objects; several where it shows several, none where it has none."""
    if "solids" in attributes:
        return frozenset(thing.split()[0] for thing in attributes["solids"].split(", "))
    return frozenset({attributes["color"]} if "color" in attributes else ())


def shown_colors(
    videos: Sequence[np.ndarray],
    attributes: Sequence[Mapping[str, str]],
    palette: dict[str, tuple[int, int, int]],
) -> list[str | None]:
    """The dominant colour of each clip; that of a wall behind which things pass does not count."""
    pairs = zip(videos, attributes, strict=True)
    return [dominant_color(video, palette, a.get("wall")) for video, a in pairs]


def color_accuracy(shown: Sequence[str | None], named: Sequence[frozenset[str]]) -> float:
    """Share of clips whose dominant colour is one of those named for it."""
    return float(np.mean([color in names for color, names in zip(shown, named, strict=True)]))


def shuffled_accuracy(shown: Sequence[str | None], named: Sequence[frozenset[str]]) -> float:
    """`color_accuracy` of clips with the prompts of other clips, the mean over all rotations."""
    n = len(named)
    hits = [shown[i] in named[(i + k) % n] for k in range(1, n) for i in range(n)]
    return float(np.mean(hits)) if hits else float("nan")
