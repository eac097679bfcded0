"""Compares positions in a video of `occlusion` with its simulator's, after given first frames."""

import math

import numpy as np

from sora_jax.evals.worlds.occlusion_reading import Reading

MAX_MISS = 0.25  # of the short side, an error of position; what is not seen counts as much
PIXELS = 0.3  # pixels, an error of position that pixels explain
_SIGHT = ("visible", "whole", "clear")


def measure_prediction(reading: Reading) -> float:
    """Compares what is seen after the given frames with the simulator, frame by frame.

    Three kinds of frames count; the value is the mean of the worst kind, over all objects. Where
    the simulator's object is out of sight, the video must show nothing of it, nor of another
    colour. Where it is partly in sight, the value falls from 1 to 0 as the error of its area grows
    from 0.1 to 0.3 of the object. Where it is whole, and at least half a radius from where the
    given frames left it, the value falls over an error of its position of half a radius, less what
    pixels explain. Where it
    turns unseen, nothing tells when it comes back, and the frames after that do not count. A clip
    in which it is out of sight from the given frames on does not count.
    """
    truth, given = reading.whole.truth, reading.whole.given
    start, calm = given - reading.first, reading.find_calm()
    t = min(start + reading.size[0], np.asarray(truth["visible"]).shape[1])
    kinds: dict[str, list[float]] = {"lost": [], "part": [], "whole": []}
    for thing in reading.objects:
        visible, whole, clear = (np.asarray(truth[k])[thing.index] for k in _SIGHT)
        center = np.asarray(truth["center"])[thing.index]
        known = np.flatnonzero(clear[:given])
        if thing.story in ("rests", "edge") or not len(known):
            continue
        frames = np.arange(len(visible))
        lost = (visible == 0) & (frames > known[-1])
        end = len(visible)
        if lost.any() and not reading.is_steady:
            later = np.flatnonzero(~lost & (frames > lost.argmax()))
            end = int(later[0]) if len(later) else end
        full = float(whole[clear].mean())
        radius = math.sqrt(full / math.pi)
        for k in range(given, end):
            area = thing.track.area[k - start] if k < t else 0.0
            if lost[k]:
                gone = k < t and thing.gone[k - start] and calm[k - start] and thing.usual > 0
                kinds["lost"].append(float(gone))
            elif not clear[k]:
                error = abs(area - visible[k]) / full
                kinds["part"].append(float(np.clip(1 - (error - 0.1) * 5, 0, 1)))
            elif np.hypot(*(center[k] - center[known[-1]])) >= radius / 2:
                gap = np.hypot(*(thing.track.center[k - start] - center[k])) if k < t else math.nan
                gap = max(gap - PIXELS, 0.0)
                kinds["whole"].append(0.0 if math.isnan(gap) else max(1 - 2 * gap / radius, 0.0))
    if not (kinds["part"] or kinds["whole"]):
        return math.nan
    return min(float(np.mean(values)) for values in kinds.values() if values)


def prediction_errors(reading: Reading) -> dict[str, np.ndarray]:
    """Returns the mean error of positions in each frame from frame `given` on, float[t - given].

    Keys are "model", "copy_last" and "constant_velocity", which go on from what the simulator shows
    in the last two of the given frames that show all of an object. Errors are means over the
    objects, in units of the frame's short side, at most `MAX_MISS`, which is also that of an object
    that is not seen. An object that moves counts in the frames in which the simulator shows all of
    it, if it does so in two given frames, and until it gets out of sight where nothing tells when
    it comes back. Other frames are nan; there are none if fewer than two are given.
    """
    truth, given = reading.whole.truth, reading.whole.given
    t = max(np.asarray(truth["visible"]).shape[1] - given, 0) if given >= 2 else 0
    errors = {name: np.full((2, t), np.nan) for name in ("model", "copy_last", "constant_velocity")}
    for row, thing in enumerate(reading.objects):
        visible, _, clear = (np.asarray(truth[k])[thing.index] for k in _SIGHT)
        center = np.asarray(truth["center"], np.float64)[thing.index]
        known = np.flatnonzero(clear[:given])
        if not t or len(known) < 2 or thing.story == "rests":
            continue
        counts = clear[given:].copy()
        if not reading.is_steady:
            counts &= ~np.maximum.accumulate(visible[given:] == 0)
        last = center[known[-1]]
        velocity = (last - center[known[-2]]) / (known[-1] - known[-2])
        after = np.arange(given, given + t) - known[-1]
        model = np.full((t, 2), np.nan)
        found = thing.track.center[reading.first :][:t]
        model[: len(found)] = found
        guesses = model, last, last + velocity * after[:, None]
        for values, guess in zip(errors.values(), guesses, strict=True):
            miss = np.linalg.norm(guess - center[given:], axis=-1) / min(reading.size[1:])
            miss = np.minimum(np.nan_to_num(miss, nan=MAX_MISS), MAX_MISS)
            values[row] = np.where(counts, miss, np.nan)
    known = ~np.isnan(errors["model"])
    return {
        name: np.where(
            known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan
        )
        for name, values in errors.items()
    }
