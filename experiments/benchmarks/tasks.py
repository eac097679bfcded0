"""Tasks that pictures and films prompt, on held-out clips of the worlds, beside the real clips.

Command:  python -m experiments.benchmarks.tasks [--checkpoint=R] [--worlds=a,b] [--clips=2]
          [--steps=20] [--extensions=10]
Hardware: 2 CPU cores, 12 minutes for the default with the model that comes along.
Bars:     the step across a join, in units of the median step inside of the video, is at most 1.5
          in the median over clips, for extend, extend backward, connect, loop and animate.

step: mean absolute difference of a frame from the next, in levels of 0 to 255. The same figure of
the real clip at the same frames stands beside; what moves more at one time than at another makes
it differ from 1. Of inpaint and outpaint it is the difference across the region's edge in space,
in units of the median over the other columns.
edit: mean absolute difference from the clip's reconstruction by the codec, by strength.
drift: a clip is extended again and again; sharpness is the mean gradient of the last part in units
of the clip's, colour the distance (0 to 1) of histograms of 4x4x4 colours.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from data_pipelines.worlds import base, dataset
from experiments.benchmarks import finish, table
from sora_jax import sharding
from sora_jax.commands.runs import load_generator
from sora_jax.evals.reconstruction import reconstruct
from sora_jax.generation import long, tasks
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig

FIRST_SEED = 1_960_000_000
FRAMES, SIDE, GIVEN = 33, 64, 17
MAX_SEAM = 1.5
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def measure_seam(video: np.ndarray, joins: list[int], axis: int = 0) -> float:
    """The largest step into frame (or column) j of `joins`, over the median of the others."""
    moved = np.abs(np.diff(video.astype(np.float32), axis=axis))
    steps = moved.mean(tuple(i for i in range(4) if i != axis))
    inside = np.delete(steps, [join - 1 for join in joins])
    # Half a level: real clips may stand still.
    return float(max(steps[join - 1] for join in joins) / max(np.median(inside), 0.5))


def measure_sharpness(video: np.ndarray) -> float:
    """Mean gradient along height and width."""
    pixels = video.astype(np.float32)
    return float(np.mean([np.abs(np.diff(pixels, axis=axis)).mean() for axis in (1, 2)]))


def compare_colors(one: np.ndarray, two: np.ndarray) -> float:
    """Distance of histograms, 0 to 1: half of the sum of absolute differences."""

    def count(video: np.ndarray) -> np.ndarray:
        bins = (video.astype(int) // 64) @ [16, 4, 1]
        return np.bincount(bins.ravel(), minlength=64) / bins.size

    return float(np.abs(count(one) - count(two)).sum() / 2)


def list_tasks(clip: np.ndarray, plain: Request) -> dict[str, tuple[Request, list[int], int]]:
    """Requests of a clip by task, with the joins to look at, and the axis along which they lie."""
    right = np.zeros(clip.shape[:3], bool)
    right[:, :, SIDE // 2 :] = True
    return {
        "extend": (tasks.extend(plain, clip[:GIVEN]), [GIVEN], 0),
        "extend backward": (tasks.extend(plain, clip[GIVEN:], backward=True), [GIVEN], 0),
        "connect": (tasks.connect(plain, clip[:9], clip[-8:]), [9, FRAMES - 8], 0),
        "animate": (tasks.animate(plain, clip[0]), [1], 0),
        "inpaint": (tasks.inpaint(plain, clip, right), [SIDE // 2], 2),
        "outpaint": (tasks.place(plain, [(0, clip[:, :, 16:48])], left=16), [16, 48], 2),
    }


def measure_clip(
    generator: Generator, clip: base.Clip, config: SamplingConfig
) -> tuple[dict[str, dict[str, float]], dict[float, float]]:
    """Seams by task, of the model and of the real clip; and SDEdit's curve."""
    video = clip.video
    plain = Request(clip.captions["detailed"], *video.shape[:3], clip.fps)
    asked = list_tasks(video, plain)
    edits = [tasks.edit(plain, video, strength) for strength in STRENGTHS]
    *made, looped = [
        *generator.sample([*(request for request, _, _ in asked.values()), *edits], config),
        long.close_loop(generator, plain_of(plain, 16), video[:GIVEN], config),
    ]
    seams = {
        name: {
            "model": measure_seam(found, joins, axis),
            "real": measure_seam(video, joins, axis),
        }
        for found, (name, (_, joins, axis)) in zip(made, asked.items(), strict=False)
    }
    # Begun at its second frame, a loop's step over the end lies inside of the video.
    turned = np.roll(looped, -1, 0)
    seams["loop"] = {
        "model": measure_seam(turned, [GIVEN - 1, len(turned) - 1]),
        "real": measure_seam(video, [GIVEN]),
    }
    decoded = reconstruct(video, generator.codec).astype(np.float32)
    distances = [float(np.abs(edited - decoded).mean()) for edited in made[len(asked) :]]
    return seams, dict(zip(STRENGTHS, distances, strict=True))


def plain_of(request: Request, frames: int) -> Request:
    """The request with another number of frames."""
    return Request(request.prompt, frames, request.height, request.width, request.fps)


def measure_drift(
    generator: Generator, clip: base.Clip, config: SamplingConfig, extensions: int
) -> list[dict[str, float]]:
    """Sharpness and colours of each part that is added."""
    plain = Request(clip.captions["detailed"], long.PART * extensions, SIDE, SIDE, clip.fps)
    return [
        {
            "sharpness": measure_sharpness(part) / measure_sharpness(clip.video),
            "colour": compare_colors(part, clip.video),
        }
        for part in long.make_parts(generator, plain, clip.video, config)
    ]


def summarize(rows: list[Any], name: Callable[[Any], float]) -> float:
    """The median of a figure."""
    return float(np.median([name(row) for row in rows]))


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--checkpoint", help="run or released model; the one that comes along")
    parser.add_argument("--worlds", default="occlusion,painter,eater,ballistics,orbit")
    parser.add_argument("--clips", type=int, default=2, help="clips of each world")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--extensions", type=int, default=10)
    chosen = parser.parse_args()
    config, found, drift = SamplingConfig(chosen.steps), [], []
    with sharding.use_mesh():
        generator = load_generator(chosen.checkpoint)
        for name in chosen.worlds.split(","):
            for number in range(chosen.clips):
                request = base.ClipRequest(FIRST_SEED + number, True, FRAMES, SIDE, SIDE)
                clip = dataset.WORLDS[name].make_clip(request)
                found.append((name, *measure_clip(generator, clip, config)))
                print(name, {task: round(s["model"], 2) for task, s in found[-1][1].items()})
            drift.append(measure_drift(generator, clip, config, chosen.extensions))
    figures: dict[str, Any] = {
        "seams": {
            task: {
                who: summarize(found, lambda row, t=task, w=who: row[1][t][w])
                for who in ("model", "real")
            }
            for task in found[0][1]
        },
        "edit": {str(s): summarize(found, lambda row, s=s: row[2][s]) for s in STRENGTHS},
        "drift": [
            {key: summarize(drift, lambda row, i=i, k=key: row[i][k]) for key in drift[0][0]}
            for i in range(chosen.extensions)
        ],
        "clips": [{"world": name, "seams": seams, "edit": edit} for name, seams, edit in found],
        "steps": chosen.steps,
    }
    rows = [[task, seam["model"], seam["real"]] for task, seam in figures["seams"].items()]
    print(table(["task", "seam", "real clip's"], rows))
    print(table(["strength", "difference"], list(figures["edit"].items())))
    parts = [[i + 1, part["sharpness"], part["colour"]] for i, part in enumerate(figures["drift"])]
    print(table(["extension", "sharpness", "colour"], parts))
    missed = [
        f"{task}: the step across a join is {seam['model']:.2f} of the median"
        for task, seam in figures["seams"].items()
        if task not in ("inpaint", "outpaint") and not seam["model"] <= MAX_SEAM
    ]
    finish("tasks", figures, missed)


if __name__ == "__main__":
    main()
