"""What a clip of `occlusion` shows from a frame on: its truth cut, and its story told anew.

Stories are told as the simulator tells them, of what the truth's frames show: with v an object's
visible pixels over its greatest whole picture, it is seen where v >= `SEEN` and out of sight where
the truth says so.
"""

import dataclasses
from typing import Any

import numpy as np

from sora_jax.evals.worlds.base import Expected
from sora_jax.laws import occlusion as laws

SEEN, WHOLE = (
    0.5,
    0.75,
)  # shares of an object in sight where it is seen, and where it is not leaving
MIN_MOVE = 0.05  # pixels between frames of what is seen to move
MIN_TURN = 1e-4  # radians between frames of a camera that turns


def cut(expected: Expected, start: int) -> Expected:
    """Returns what a video should show from frame `start` on."""
    if not start:
        return expected
    own = {k: np.asarray(v)[start:] for k, v in expected.truth.items() if k == "pose"}
    for name in ("position", "visible", "whole", "hidden", "clear", "in_frame", "center"):
        own[name] = np.asarray(expected.truth[name])[:, start:]
    truth = {**expected.truth, **own}
    camera = _name_camera(truth, expected.attributes["camera"])
    attributes = {**expected.attributes, "camera": camera}
    for i, suffix in enumerate(("", "2")):
        if attributes["color" + suffix] != "none":
            attributes |= _tell(attributes, truth, i, suffix, expected.truth)
    return dataclasses.replace(expected, attributes=attributes, truth=truth)


def find_gone(attributes, truth: Any, i: int) -> np.ndarray:
    """Returns bool[t], where object i is hidden behind the wall, or out of the frame."""
    if attributes["event"] in laws.BEHIND:
        return np.asarray(truth["hidden"])[i]
    return ~np.asarray(truth["in_frame"])[i]


def count_turns(gone: np.ndarray) -> int:
    """Counts how often something gets out of sight or into sight."""
    return int((gone[1:] != gone[:-1]).sum())


def _tell(attributes, truth, i: int, suffix: str, whole_truth) -> dict[str, str]:
    """Returns the story, direction and exit of object i in the frames of the truth."""
    story = attributes["story" + suffix]
    if story == "rests":
        return {}
    gone = find_gone(attributes, truth, i)
    share = np.asarray(truth["visible"])[i] / max(np.max(np.asarray(whole_truth["whole"])[i]), 1)
    seen, t = share >= SEEN, len(share)
    before, after = seen, np.zeros(t, bool)
    if gone.any():
        first = int(gone.argmax())
        out = np.flatnonzero(~gone[first:])
        again = first + int(out[0]) if len(out) else t
        before, after = seen & (np.arange(t) < first), seen & (np.arange(t) >= again)
        if before.any():
            told = "again" if after.any() else "coming" if again < t else "gone"
            long = again == t and t - first >= laws.MIN_HIDDEN_FRAMES
            told = "stays" if told == "gone" and story == "stays" and long else told
        else:
            told = "appears" if after.any() else "edge" if again < t else "unseen"
    elif not seen.any():
        told = "edge"
    else:
        told = "going" if share[-1] < WHOLE and share[-1] < share[0] else "seen"
    shown = before if before.any() else after
    exits = told in ("coming", "again", "appears", "edge")
    return {
        "story" + suffix: told,
        "direction" + suffix: _find_direction(attributes, truth, i, shown),
        "exit" + suffix: attributes["exit" + suffix] if exits else "none",
    }


def _find_direction(attributes, truth, i: int, shown: np.ndarray) -> str:
    """Names the direction of the first frames in which an object is seen to move."""
    if attributes["event"] == "pan":
        steps, least = np.diff(_find_angle(truth)), MIN_TURN
    else:
        steps, least = np.diff(np.asarray(truth["center"], np.float64)[i, :, 0]), MIN_MOVE
    steps = steps[(shown[1:] | shown[:-1]) & (np.abs(steps) > least)]
    return "none" if not len(steps) else "right" if steps[0] > 0 else "left"


def find_turning(expected: Expected) -> np.ndarray:
    """Returns in which steps bool[t - 1] the simulator's camera turns."""
    return np.abs(np.diff(_find_angle(expected.truth))) > MIN_TURN


def _find_angle(truth) -> np.ndarray:
    """Returns the angle in radians, [t], by which the camera looks to the right of y."""
    pose = np.asarray(truth["pose"], np.float64)
    return np.arctan2(-pose[:, 0, 2], -pose[:, 1, 2])


def _name_camera(truth, camera: str) -> str:
    """Names the camera's motion, which is part of the one that is named for the whole clip."""
    if camera == "still":
        return camera
    steps = np.diff(_find_angle(truth))
    sides = []
    for side in camera.replace(" and ", " ").split()[1:]:
        own = steps if side == "right" else -steps
        if own.sum(where=own > 0) > 0.01:
            sides.append(side)
    return f"pans {' and '.join(sides)}" if sides else "still"
