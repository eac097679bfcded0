"""Captions of phyworld."""

from typing import Any

import numpy as np

from data_pipelines.worlds import base
from sora_jax.laws import phyworld as laws


def write_captions(
    rng: np.random.Generator, attributes: dict[str, str], truth: dict[str, Any], view: str
) -> dict[str, str]:
    """Writes the short and the detailed caption of a clip.

    Args:
      attributes, truth: of `phyworld.make_clip`.
      view: `base.name_view`.
    """
    frames = len(truth["in_view"])
    ball = f"{attributes['color']} ball"
    one = base.add_article(f"{attributes['size']} {ball}")
    margins = "" if view == "square view" else " between grey margins"
    ground = f"on a plain white background{margins}"
    if attributes["motion"] == "collision":
        other = f"{attributes['second_color']} ball"
        both = f"{one} and {base.add_article(attributes['second_size'] + ' ' + other)}"
    else:
        other, both = "", one
    if frames == 1:
        things = f"a {ball}" + (f" and a {other}" if other else "")
        return {
            "short": base.pick(rng, (f"an image of {things}", f"a still of {things} on white")),
            "detailed": f"a still image, {view}: {both} {ground}.",
        }
    speed, lead = attributes["speed"], base.pick(rng, ("a video", "a clip", "a short film"))
    if attributes["motion"] == "uniform":
        short = base.pick(
            rng,
            (
                f"a {ball} moves to the right at a steady speed",
                f"a {ball} moves steadily to the right",
                f"a {ball} glides to the right on white",
            ),
        )
        says = f"{one} moves {speed} to the right at a steady speed"
    elif attributes["motion"] == "parabola":
        short = base.pick(
            rng,
            (
                f"a {ball} is thrown to the right and falls",
                f"a {ball} flies to the right and falls in a curve",
                f"a {ball} falls in a curve to the right",
            ),
        )
        says = f"{one} flies {speed} to the right and falls in a curve"
    else:
        touches = 0 <= truth["touch"] <= laws.STEP + (frames - 1) / laws.FPS
        end = base.pick(rng, ("they collide", "they hit each other")) if touches else ""
        short = base.pick(
            rng,
            (
                f"a {ball} and a {other} move towards each other",
                f"a {ball} from the left and a {other} from the right approach each other",
            ),
        ) + (f", then {end}" if end else "")
        says = (
            f"{one} moves {speed} to the right, "
            f"{base.add_article(attributes['second_size'] + ' ' + other)} moves "
            f"{attributes['second_speed']} to the left"
        ) + (f", then {end}" if end else "")
    return {"short": short, "detailed": f"{lead}, {view}: {says}, {ground}."}
