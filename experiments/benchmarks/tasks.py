"""Tasks that pictures and films prompt, on held-out clips of the worlds, beside the real clips.

Command:  python -m experiments.benchmarks.tasks [--checkpoint=R] [--worlds=a,b] [--clips=1]
          [--steps=12] [--extensions=10] [--page=FILE.html]
Hardware: 2 CPU cores, 20 minutes for the default with the model that comes along.
Bars:     the step across a join, in units of the median step inside of the video, is at most 1.5
          in the median over clips, for extend, extend backward, connect, loop and animate; of a
          loop from text, whose latents lie on a ring, in units of the median step from a latent to
          the next. Three of four previews are nearer to the full video of their noise than to that
          of another seed.

Clips are the first of each world, of fresh seeds, that move where tasks join them (`moves`): in one
that stands still there, a model that does nothing is right.

step: mean absolute difference of a frame from the next, in levels of 0 to 255. The same figure of
the real clip at the same frames stands beside; what moves more at one time than at another makes
it differ from 1. Of inpaint and outpaint it is the difference across the region's edge in space,
in units of the median over the other columns.
edit: a clip is edited after the caption of another one of its world. By strength, the mean absolute
difference from the clip's reconstruction by the codec, and the mean of the world's scores of what
is seen (WHAT), as the other caption says it.
prediction: mean of the world's scores of a video of which the first 17 frames are given, beside
that of the real clip and of one that stands still from there.
preview: mean absolute difference, in levels, of a preview at half the size from the video, made
half as large.
drift: a clip is extended again and again; sharpness is the mean gradient of the last part in units
of the clip's, colour the distance (0 to 1) of histograms of 4x4x4 colours, scores are those of what
is seen in as many last frames as the clip has, and seam is the step into the part.
"""

import argparse
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_pipelines.worlds import base, dataset
from experiments.benchmarks import finish, table
from sora_jax import sharding
from sora_jax.commands.runs import load_generator
from sora_jax.evals.gallery import Comparison, Table, write_gallery
from sora_jax.evals.reconstruction import reconstruct
from sora_jax.evals.world_scores import world_of
from sora_jax.evals.worlds.base import KINDS, Expected, score_video
from sora_jax.generation import long, tasks
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig

FIRST_SEED = 1_960_000_000
FRAMES, SIDE, GIVEN = 33, 64, 17
JOINS = (1, 9, GIVEN, FRAMES - 8)
MAX_SEAM, MIN_NEARER = 1.5, 0.75
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
WHAT = ("what", "looks")
"""Kinds of scores that hold in any frames of a clip, whatever happens in them."""

UNSAID = ("caption", "fps", "shown")
"""Of a clip's figures, what is not written beside them."""


def measure_seam(video: np.ndarray, joins: list[int], axis: int = 0) -> float:
    """The largest step into frame (or column) j of `joins`, over the median of the others."""
    moved = np.abs(np.diff(video.astype(np.float32), axis=axis))
    steps = moved.mean(tuple(i for i in range(4) if i != axis))
    inside = np.delete(steps, [join - 1 for join in joins])
    # Half a level: real clips may stand still.
    return float(max(steps[join - 1] for join in joins) / max(np.median(inside), 0.5))


def moves(video: np.ndarray) -> bool:
    """Whether a clip moves at all joins, half as much there as in its median at least."""
    steps = np.abs(np.diff(video.astype(np.float32), axis=0)).mean((1, 2, 3))
    middle = np.median(steps)
    return bool(middle > 0.5 and all(steps[join - 1] > middle / 2 for join in JOINS))


def draw_clips(name: str, count: int) -> list[base.Clip]:
    """The first clips of a world that move, and what they are mixed with or edited to."""
    requests = (
        base.ClipRequest(FIRST_SEED + number, name not in dataset.HOLD_OUT_LAWS, FRAMES, SIDE, SIDE)
        for number in itertools.count()
    )
    clips = (dataset.WORLDS[name].make_clip(request) for request in requests)
    return list(itertools.islice((clip for clip in clips if moves(clip.video)), count))


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


def score(
    name: str,
    clip: base.Clip,
    video: np.ndarray,
    given: int = 0,
    kinds: Sequence[str] = KINDS,
) -> float:
    """Mean of the scores of a world that apply to the real clip, of a video of its caption."""
    world = world_of(name)
    expected = Expected(clip.attributes, clip.truth, clip.fps, given)
    real, found = (score_video(world, shown, expected) for shown in (clip.video, video))
    due = [s.name for s in world.SCORES if s.kind in kinds and not math.isnan(real[s.name])]
    return float(np.mean([np.nan_to_num(found[name]) for name in due]))


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


@dataclasses.dataclass(frozen=True)
class Found:
    """What was made of one clip.

    Attributes:
      seams: by task, of the model and of the real clip.
      edit: mean absolute difference from the clip's reconstruction, by strength.
      prompt: scores of what the edit's prompt says, by strength, and of the clip that it describes.
      prediction: scores of the extended clip, of the real one, and of one that stands still.
      preview: difference from the video of the same noise, and from that of another seed.
      shown: by task, videos of one shape by name.
    """

    world: str
    caption: str
    fps: float
    seams: dict[str, dict[str, float]]
    edit: dict[str, float]
    prompt: dict[str, float]
    prediction: dict[str, float]
    preview: dict[str, float]
    shown: dict[str, dict[str, np.ndarray]]


def measure_clip(
    generator: Generator, world: str, clip: base.Clip, other: base.Clip, config: SamplingConfig
) -> Found:
    """Makes a video of each task from a clip.

    Args:
      other: what the clip is mixed with, and edited to.
    """
    video = clip.video
    plain = Request(clip.captions["detailed"], *video.shape[:3], clip.fps)
    asked = list_tasks(video, plain)
    wanted = dataclasses.replace(plain, prompt=other.captions["detailed"])
    edits = [tasks.edit(wanted, video, strength) for strength in STRENGTHS]
    seeds = [dataclasses.replace(plain, frames=GIVEN, seed=seed) for seed in (0, 1)]
    further = [
        *(tasks.mix(plain, video, other.video, 0.6), tasks.loop(plain_of(plain, 16))),
        *(tasks.preview(seeds[0], 2), *seeds),
    ]
    requests = [*(request for request, _, _ in asked.values()), *edits, *further]
    made = generator.sample(requests, config)
    looped = long.close_loop(generator, plain_of(plain, 16), video[:GIVEN], config)
    mixed, ring, small, *full = made[len(asked) + len(edits) :]
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
    stride = generator.codec.config.temporal_stride
    steps = np.abs(np.diff(np.concatenate([ring, ring[:1]]).astype(np.float32), axis=0))
    *borders, last = steps.mean((1, 2, 3))[stride - 1 :: stride]
    seams["loop from text"] = {"model": float(last / max(np.median(borders), 0.5))}
    decoded = reconstruct(video, generator.codec).astype(np.float32)
    edited = made[len(asked) : len(asked) + len(edits)]
    strengths = [str(strength) for strength in STRENGTHS]
    distances = [float(np.abs(e - decoded).mean()) for e in edited]
    said = [score(world, other, e, kinds=WHAT) for e in (*edited, other.video)]
    still = np.concatenate([video[:GIVEN], np.repeat(video[GIVEN - 1 : GIVEN], FRAMES - GIVEN, 0)])
    predicted = {"model": made[0], "real": video, "still": still}
    halves = [half.reshape(GIVEN, SIDE // 2, 2, SIDE // 2, 2, 3).mean((2, 4)) for half in full]
    same, another = (float(np.abs(small - half).mean()) for half in halves)
    shown = {
        name: {"given": _show_given(request), "made": found, "the real clip": video}
        for found, (name, (request, _, _)) in zip(made, asked.items(), strict=False)
    }
    shown["mix"] = {"one": video, "made": mixed, "the other": other.video}
    shown["loop"] = {"given, then made": looped, "twice": np.roll(looped, len(looped) // 2, 0)}
    shown["loop from text"] = {"made": ring, "begun elsewhere": np.roll(ring, 8, 0)}
    shown["preview"] = {"preview": small.repeat(2, 1).repeat(2, 2), "made": full[0]}
    shown["edit"] = {f"strength {s}": e for s, e in zip(STRENGTHS, edited, strict=True)}
    return Found(
        *(world, plain.prompt, clip.fps, seams, dict(zip(strengths, distances, strict=True))),
        dict(zip([*strengths, "real"], said, strict=True)),
        {name: score(world, clip, made, GIVEN) for name, made in predicted.items()},
        *({"same": same, "another": another}, shown),
    )


def _show_given(request: Request) -> np.ndarray:
    """What is given, on grey."""
    assert request.given
    return np.where(request.given.known[..., None], request.given.video, np.uint8(128))


def plain_of(request: Request, frames: int) -> Request:
    """The request with another number of frames."""
    return Request(request.prompt, frames, request.height, request.width, request.fps)


def measure_drift(
    generator: Generator, world: str, clip: base.Clip, config: SamplingConfig, extensions: int
) -> list[dict[str, float]]:
    """Sharpness and colours of each part that is added, and the step into it."""
    plain = Request(clip.captions["detailed"], long.PART * extensions, SIDE, SIDE, clip.fps)
    added = np.stack(list(long.append_frames(generator, plain, clip.video, config)))
    film = np.concatenate([clip.video, added])
    return [
        {
            "sharpness": measure_sharpness(part) / measure_sharpness(clip.video),
            "colour": compare_colors(part, clip.video),
            "scores": score(world, clip, film[: start + long.PART][-FRAMES:], kinds=WHAT),
            "seam": measure_seam(film[start - long.PART : start + long.PART], [long.PART]),
        }
        for start in range(FRAMES, len(film), long.PART)
        for part in [film[start : start + long.PART]]
    ]


def summarize(rows: list[Any], name: Callable[[Any], float]) -> float:
    """The median of a figure."""
    return float(np.median([name(row) for row in rows]))


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--checkpoint", help="run or released model; the one that comes along")
    parser.add_argument("--worlds", default="occlusion,painter,eater,ballistics,orbit")
    parser.add_argument("--clips", type=int, default=1, help="clips of each world")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--extensions", type=int, default=10)
    parser.add_argument("--page", help="HTML file to write, with the videos of each task")
    chosen = parser.parse_args()
    if chosen.extensions < 1:
        parser.error("give --extensions of 1 or more")
    config, found, drift = SamplingConfig(chosen.steps), [], []
    with sharding.use_mesh():
        generator = load_generator(chosen.checkpoint)
        for name in chosen.worlds.split(","):
            for clip, other in itertools.pairwise(draw_clips(name, chosen.clips + 1)):
                found.append(measure_clip(generator, name, clip, other, config))
                print(name, {task: round(s["model"], 2) for task, s in found[-1].seams.items()})
            drift.append(measure_drift(generator, name, clip, config, chosen.extensions))
    figures: dict[str, Any] = {
        "seams": {
            task: {
                who: summarize(found, lambda row, t=task, w=who: row.seams[t][w]) for who in means
            }
            for task, means in found[0].seams.items()
        },
        **{
            figure: {
                key: summarize(found, lambda row, f=figure, k=key: getattr(row, f)[k])
                for key in getattr(found[0], figure)
            }
            for figure in ("edit", "prompt", "prediction")
        },
        "preview": {
            of: summarize(found, lambda row, of=of: row.preview[of]) for of in ("same", "another")
        }
        | {"nearer": float(np.mean([r.preview["same"] < r.preview["another"] for r in found]))},
        "drift": [
            {key: summarize(drift, lambda row, i=i, k=key: row[i][k]) for key in drift[0][0]}
            for i in range(chosen.extensions)
        ],
        "clips": [
            {name: value for name, value in vars(row).items() if name not in UNSAID}
            for row in found
        ],
        "steps": chosen.steps,
    }
    rows = [[task, s["model"], s.get("real", "-")] for task, s in figures["seams"].items()]
    print(table(["task", "seam", "real clip's"], rows))
    edits = [[s, figures["edit"].get(s, "-"), said] for s, said in figures["prompt"].items()]
    print(table(["strength", "difference", "scores of the prompt"], edits))
    print(table(["17 frames given", "scores"], list(figures["prediction"].items())))
    parts = [[i + 1, *part.values()] for i, part in enumerate(figures["drift"])]
    print(table(["extension", *figures["drift"][0]], parts))
    missed = [
        f"{task}: the step across a join is {seam['model']:.2f} of the median"
        for task, seam in figures["seams"].items()
        if task not in ("inpaint", "outpaint") and not seam["model"] <= MAX_SEAM
    ]
    same, another, nearer = figures["preview"].values()
    print(f"preview: {same:.1f} levels from the video of its noise, {another:.1f} from another")
    if nearer < MIN_NEARER:
        missed.append(f"{nearer:.0%} of previews are nearer to the video of their noise")
    if chosen.page:
        write_page(chosen.page, found, figures)
    finish("tasks", figures, missed)


def write_page(path: str, found: list[Found], figures: dict[str, Any]) -> None:
    """Writes the videos of each task side by side."""
    shown: dict[str, list[Comparison]] = {}
    for row in found:
        for task, versions in row.shown.items():
            shown.setdefault(task.capitalize(), []).append(
                Comparison(versions, row.fps, row.caption, group=row.world)
            )
    seams = [
        [task, f"{seam['model']:.2f}", f"{seam['real']:.2f}" if "real" in seam else "-"]
        for task, seam in figures["seams"].items()
    ]
    write_gallery(
        path,
        "Tasks that pictures and films prompt",
        "Grey is what the model makes.",
        [],
        [],
        shown,
        [],
        [Table("Step across a join, in units of the median step", ["task", "made", "real"], seams)],
        ["python -m experiments.benchmarks.tasks --page=tasks.html"],
    )


if __name__ == "__main__":
    main()
