"""Captions of the shattering world: what a window shows of a throw, an impact and pieces."""

from typing import Any

import numpy as np

from data_pipelines.worlds import base
from sora_jax.laws.palette import FPS


def write_captions(
    rng: np.random.Generator, attributes: dict[str, str], truth: dict[str, Any], view: str
) -> dict[str, str]:
    """Writes the short and the detailed caption of a clip.

    Args:
      attributes, truth: of `shatter.make_clip`.
      view: `base.name_view`.
    """
    ball = f"{attributes['color']} ball"
    glass = attributes["target"] == "pane"
    target = "pane of glass" if glass else f"{attributes['target_color']} vase"
    pane = base.pick(rng, ("pane of glass", "glass pane")) if glass else target
    noun = "pane" if glass else "vase"
    on = base.pick(rng, ("on a stand", "on a thin stand"))
    ground = f"{base.add_article(attributes['background'])} background"
    seen = np.flatnonzero(truth["ball_seen"])
    frames, impact = len(truth["ball"]), truth["impact"]
    lead = base.pick(rng, ("a video", "a clip", "a film"))
    if frames == 1:
        return _write_still(rng, ball, pane, on, ground, view, truth)
    side, speed = attributes["direction"], attributes["speed"]
    if impact < 0 and attributes["outcome"] == "breaks":
        return _write_pieces(rng, ball, pane, ground, f"{lead}, {view}", truth)

    flies = base.pick(rng, ("flies", "is thrown"))
    approach = f"{base.add_article(ball)} {flies} {speed} to the {side}"
    outcome = attributes["outcome"]
    one, thing = base.add_article(ball), base.add_article(pane)
    if not len(seen) or (impact >= frames - 1 and len(seen) < 2):
        short = f"{thing} {on}, on {ground}"
        return {"short": short, "detailed": f"{lead}, {view}: {short}, and it stays still."}
    if impact >= frames - 1:
        short = f"{one} flies towards {thing}"
        says = f"{approach}, towards {thing} {on}"
    elif impact < 0:
        back = {"left": "right", "right": "left"}[side] if outcome == "holds" else side
        short = f"{one} moves away from {thing} {on}"
        says = f"{one} moves to the {back}, away from {thing} {on}, which is whole"
    elif outcome == "breaks":
        verb = base.pick(rng, ("hits", "strikes"))
        breaks = base.pick(rng, ("breaks into pieces", "shatters"))
        short, says = f"{one} {verb} {thing}", f"{approach} and {verb} {thing} {on}"
        if impact <= frames - 3:  # else the pieces are still where they were
            short += f", which {breaks}"
            says += ", which then breaks into falling pieces"
            says += " as the ball goes on" if truth["goes_on"] else ""
    elif outcome == "holds" and impact > frames - 3:
        short, says = f"{one} hits {thing}", f"{approach} and hits {thing} {on}"
    elif outcome == "holds":
        short = f"{one} bounces off {thing}, which stays whole"
        says = f"{approach}, hits {thing} {on} and then bounces back, and the {noun} stays whole"
    else:
        short = f"{one} flies over {thing} and misses it"
        says = f"{approach} and then passes over {thing} {on}, which stays whole"
    return {"short": short, "detailed": f"{lead}, {view}: {says}, on {ground}."}


def _write_still(rng, ball, pane, on, ground, view, truth) -> dict[str, str]:
    broken = truth["breaks"] and truth["impact"] < 0
    things = f"pieces of {base.add_article(pane)}" if broken else f"{base.add_article(pane)} {on}"
    if truth["ball_seen"][0]:
        things = f"{base.add_article(ball)} and {things}"
    start = base.pick(rng, ("an image of", "a still of"))
    return {
        "short": f"{start} {things}",
        "detailed": f"a still image, {view}: {things}, on {ground}.",
    }


def _write_pieces(rng, ball, pane, ground, lead, truth) -> dict[str, str]:
    """Writes of a window that starts after the target has broken."""
    middles = truth["poses"][..., 1]
    falls = bool((middles[-1] - middles[0] > 0.05).any())
    moves = (
        base.pick(rng, ("fall to the floor", "drop to the floor")) if falls else "lie on the floor"
    )
    short = f"pieces of {base.add_article(pane)} {moves}"
    says = f"pieces of a broken {pane} {moves}"
    seen = truth["ball_seen"]
    if seen.sum() >= min(3, len(seen)):
        path = truth["ball"][seen, 0]
        shift, seconds = float(path[-1] - path[0]), max(len(path) - 1, 1) / FPS
        verb = "lies there"
        if abs(shift) > 0.05 * seconds:
            verb = f"moves to the {'right' if shift > 0 else 'left'}"
        says += f" and {base.add_article(ball)} {verb}"
    return {"short": short, "detailed": f"{lead}: {says}, on {ground}."}
