"""Laws of the simulated worlds do not change with a clip's duration; hidden things are hidden.

Command:  python -m experiments.benchmarks.physics [--clips=200]
Hardware: 2 CPU cores, about ten minutes.
Bars:     of each law, the value fitted to the positions of a clip of 9, 17 or 33 frames is that of
          the clip of 65 frames (33 in phyworld) of the same seed within 2 %; not one pixel changes
          where a hidden object of `occlusion` is taken away; no frame of `builder` equals the one
          before it while the player walks.

Values are fitted to the simulator's positions in the frames (bounces to its velocities in the
frames beside a hit and the time of the hit), not read from its constants:

    gravity    median second difference of y, of free flights
    speed      median first difference, of what moves freely and collides with nothing; of the
               painter's brush the 90th percentile
    bounce     speed away from the floor over speed towards it, at the time of the hit

each in units of the world and seconds. A seed counts where both clips show the law.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from data_pipelines.worlds import base, dataset, occlusion, occlusion_physics, occlusion_story
from experiments.benchmarks import finish, table
from sora_jax.progress import progress_of

LENGTHS, MAX_DEVIATION = (9, 17, 33, 65), 0.02
LONGEST = {"phyworld": 33}
CANVASES = ((64, 96), (64, 64), (48, 120), (96, 54))
HIDDEN_FRAMES = 48


def fit_laws(name: str, clip: base.Clip) -> dict[str, float]:
    """Fits the laws that a clip shows: a value for each, nan where it does not show one."""
    truth, fps = clip.truth, clip.fps
    if name == "ballistics":
        return _fit_ballistics(truth, fps)
    if name == "phyworld":
        steps = np.diff(truth["position"], axis=0) * fps
        speed = steps[..., 0] if truth["touch"] < 0 else steps[:0, :, 0]
        falls = clip.attributes["motion"] == "parabola"
        pull = _fit_pull(truth["position"][..., 1], fps) if falls else math.nan
        return {"gravity": pull, "speed": _median(np.abs(speed))}
    if name == "shatter":
        free = truth["ball"][: max(math.ceil(truth["impact"]), 0)]
        return {"gravity": _fit_pull(free[:, 1], fps)}
    if name == "occlusion":
        steps = np.linalg.norm(np.diff(truth["position"], axis=1), axis=-1) * fps
        steady = clip.attributes["event"] in ("through", "cross")
        return {"speed": _median(steps) if steady else math.nan}
    if name == "orbit":
        return {"camera's speed": _median(np.abs(np.diff(truth["u"])) * fps)}
    if name == "painter":
        steps = np.linalg.norm(np.diff(truth["tip"], axis=0), axis=1) * fps
        down = truth["down"][1:].astype(bool) & truth["down"][:-1].astype(bool)
        # A step around a corner is shorter than the way along the figure.
        return {"speed": float(np.quantile(steps[down], 0.9)) if down.sum() >= 5 else math.nan}
    if name == "eater":
        taken = np.flatnonzero(np.diff(truth["bites"]))
        return {"frames a bite": _median(np.diff(taken)) if len(taken) > 2 else math.nan}
    steps = np.abs(np.diff(truth["position"], axis=0)).sum(1) * fps
    return {"speed": _median(steps[steps > 0])}


def _fit_ballistics(truth, fps: float) -> dict[str, float]:
    position, velocity = truth["position"], truth["velocity"]
    hits = np.array([event["time"] * fps for event in truth["events"]])
    frame = np.arange(len(position))
    near = (np.abs(frame[:, None] - hits) < 2).any(1) if len(hits) else frame < 0
    moves = (np.linalg.norm(velocity, axis=-1) > 0.05).all(0)
    values = dict.fromkeys(("gravity", "speed", "bounce"), math.nan)
    free = ~(near[:-2] | near[1:-1] | near[2:])
    if truth["gravity"]:
        pulls = np.diff(position[..., 1], 2, axis=0)[free][:, moves] * fps**2
        values["gravity"] = _median(pulls[np.abs(pulls) > 0.3])  # what rolls on the floor has none
        values["bounce"] = _median(np.array([*_list_bounces(truth, fps, frame[-1])]))
    elif position.shape[1] == 1:  # a collision changes the speeds of two
        steps = np.linalg.norm(np.diff(position, axis=0), axis=-1)[: len(free)]
        values["speed"] = _median(steps[free][:, moves] * fps)
    return values


def _list_bounces(truth, fps: float, last: int) -> Iterator[float]:
    """Ratios of the speeds after and before each hit of the floor between two frames."""
    for event in truth["events"]:
        time, i = event["time"] * fps, event["object"]
        k = math.floor(time)
        alone = sum(abs(other["time"] * fps - time) < 1 for other in truth["events"]) == 1
        if "other" in event or not 0 <= k < last or not alone:
            continue
        (_, before), (_, after) = truth["velocity"][k : k + 2, i]
        before += truth["gravity"] * (time - k) / fps
        after -= truth["gravity"] * (k + 1 - time) / fps
        if before > 0.2 and after < 0:
            yield -after / before


def _fit_pull(path: np.ndarray, fps: float) -> float:
    return _median(np.abs(np.diff(path, 2, axis=0)) * fps**2)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if np.size(values) else math.nan


def compare_durations(name: str, seeds: range) -> dict[str, dict[int, list[float]]]:
    """Deviations of laws fitted to shorter clips from the longest, by law and length."""
    longest, found = LONGEST.get(name, LENGTHS[-1]), {}
    progress = progress_of(f"seeds of {name}")
    for done, seed in enumerate(seeds):
        fitted = {
            frames: fit_laws(
                name,
                dataset.WORLDS[name].make_clip(base.ClipRequest(seed, None, frames, 64, 64)),
            )
            for frames in LENGTHS
            if frames <= longest
        }
        for law, value in fitted[longest].items():
            found.setdefault(law, {})
            for frames in fitted:
                deviation = abs(fitted[frames][law] / value - 1) if value else math.nan
                if frames < longest and not math.isnan(deviation):
                    found[law].setdefault(frames, []).append(deviation)
        progress(done + 1, len(seeds))
    return found


def count_changes(seed: int) -> tuple[int, int]:
    """Takes each hidden object of a scene of `occlusion` away.

    Returns:
      The frames in which an object is hidden, and the pixels that change in them.
    """
    scene = occlusion_physics.draw_scene(np.random.default_rng(seed), None, seed % 3 == 0)
    frames = changed = 0
    for i, thing in enumerate(scene.things):
        times = scene.start + np.arange(HIDDEN_FRAMES)
        times = times[occlusion_story.watch(scene, thing, times)[1]][::4]
        if not len(times):
            continue
        camera = occlusion._place_camera(scene, times, *CANVASES[seed % len(CANVASES)])
        others = tuple(other for j, other in enumerate(scene.things) if j != i)
        seen = occlusion._film(camera, scene, times).video
        bare = occlusion._film(camera, dataclasses.replace(scene, things=others), times).video
        frames, changed = frames + len(times), changed + int((seen != bare).any(-1).sum())
    return frames, changed


def count_copies(seed: int) -> tuple[int, int]:
    """Counts the steps of a clip of `builder` in which the player walks, and those that copy."""
    clip = dataset.WORLDS["builder"].make_clip(base.ClipRequest(seed, None, 33, 64, 64))
    walks = np.diff(clip.truth["position"], axis=0).any(1)
    copies = (clip.video[1:] == clip.video[:-1]).all((1, 2, 3))
    return int(walks.sum()), int((copies & walks).sum())


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=200, help="scenes, and clips of each world")
    clips = parser.parse_args().clips
    rows, figures, missed = [], [], []
    for name in dataset.WORLDS:
        for law, by_length in compare_durations(name, range(clips // 4)).items():
            missed += [] if by_length else [f"{name}: no two clips show {law}"]
            for frames, deviations in by_length.items():
                worst = max(deviations)
                rows.append([name, law, frames, len(deviations), f"{worst:.2%}"])
                keys = ("world", "law", "frames", "clips", "max_deviation")
                figures.append(dict(zip(keys, [*rows[-1][:4], worst], strict=True)))
                if worst > MAX_DEVIATION:
                    missed.append(f"{name}, {law}: {worst:.1%} off at {frames} frames")
    print(table(["world", "law", "frames", "clips", "largest deviation"], rows))
    frames, changed = np.sum([count_changes(seed) for seed in range(clips)], 0)
    walks, copies = np.sum([count_copies(seed) for seed in range(clips)], 0)
    print(f"occlusion: {changed} pixels change in {frames} frames of {clips} scenes")
    print(f"builder: {copies} of {walks} steps repeat a frame, in {clips} clips")
    missed += [f"{changed} pixels of hidden objects are seen"] if changed else []
    missed += [f"{copies} frames of builder are copies"] if copies else []
    counts = {"hidden": {"scenes": clips, "frames": int(frames), "changed": int(changed)}}
    counts["walking"] = {"clips": clips, "steps": int(walks), "copies": int(copies)}
    finish("physics", {"laws": figures, **counts}, missed)


if __name__ == "__main__":
    main()
