"""Which scores of the simulated worlds are admitted: real clips pass them, what is broken fails.

Command:  python -m experiments.benchmarks.scores [--clips=16] [--worlds=a,b] [--given=0,5]
          [--laws=inside,outside] [--vae=RUN] [--workers=2]
Hardware: 2 CPU cores; ten to fifteen minutes a world. Each world is written when it is done, with
          its commit and date; those that are not asked for stay as they were.
Bars:     of every score, the mean of real clips is at least 0.95 and that of each control which
          breaks what it measures is below 0.5, on at least 8 clips; of real clips that only have
          the same caption, at least 0.9, where 8 are found. Every world has to be there with both
          kinds of laws and both numbers of given frames.

Clips are simulated for this, of seeds that no folder of clips uses, on canvases of all sizes of
training and 128x128, of 9 to 65 frames; half of them have combinations of attributes that are held
out. Beyond --clips clips, more are drawn until each score has 8 that it applies to. A score that
needs given first frames is measured with as many as it needs, or --given if that is more; one of
what given frames show already, as the direction at the start, applies to no clip then. Laws
outside are speeds, sizes and counts outside of training's range; --vae adds the clips'
reconstruction by an autoencoder, which has no bar.

A video from text alone is right if it shows what the caption says, and need not show it when or
where the simulator's clip of that caption does. `same_caption` is the mean of a score over pairs of
clips of one caption, the video of one judged by the truth of the other. For captions to meet, the
choices of words and colours that `base.pick` makes follow from the clip's number (`make_picker`).

`noticed` is, of each control in `NEVER_RIGHT`, the share of its clips which fail a score at least
that the real clip passes. Only videos count that differ from it for an eye (`evals.noticed`).
"""

import argparse
import concurrent.futures
import dataclasses
import datetime
import functools
import itertools
import json
import math
import multiprocessing
import os
import sys
import unittest.mock
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.worlds import base, dataset
from data_pipelines.worlds.alike import make_picker
from experiments.benchmarks import RESULTS, write
from sora_jax import sharding
from sora_jax.codec.video_codec import load_codec
from sora_jax.evals import reconstruction, score_tables
from sora_jax.evals.gallery import as_text
from sora_jax.evals.noticed import count_noticed
from sora_jax.evals.world_scores import (
    MIN_CLIPS,
    WORLDS,
    Case,
    as_json,
    describe,
    put_first,
    score_cases,
    world_of,
)
from sora_jax.evals.worlds.base import Expected, score_video, summarise
from sora_jax.progress import progress_of
from sora_jax.provenance import commit

PATH = RESULTS / "scores.json"
LAWS, GIVEN = "inside,outside", "0,5"
FIRST_SEED = 1_950_000_000
SIZES = (*dict.fromkeys(base.SIZES), (128, 128))
FRAMES = (9, 17, 33, 65)
MAX_FRAMES = {"phyworld": 33}
SAME_DRAWS, SAME_PAIRS, SAME_SEED, SAME_BAR = 1500, 100, 1_960_000_000, 0.9
SAME_CHOICES = 300  # clips with the same choices of words and colours
NOTICED_BAR, NOTICED_BAR_GIVEN = 0.9, 0.75
DRAWS = 60
"""Clips of a world that are simulated at most, for each that is asked for."""


def make_request(name: str, number: int, outside: bool) -> base.ClipRequest:
    """Asks for a clip; its number decides its size, its duration and whether it is held out."""
    height, width = SIZES[number % len(SIZES)]
    row = number // len(SIZES)
    frames = min(FRAMES[(number + row) % len(FRAMES)], MAX_FRAMES.get(name, FRAMES[-1]))
    held_out = None if outside else bool(row % 2) and name not in dataset.HOLD_OUT_LAWS
    return base.ClipRequest(FIRST_SEED + number, held_out, frames, height, width, outside)


def simulate_case(name: str, request: base.ClipRequest) -> Case:
    """The case of a requested clip, which states its frames, height and width."""

    def simulate(broken: str, size: tuple[int, int, int]) -> base.Clip:
        t, h, w = size
        asked = dataclasses.replace(request, broken=broken, frames=t, height=h, width=w)
        return dataset.WORLDS[name].make_clip(asked)

    size = request.frames or 0, request.height or 0, request.width or 0
    clip = simulate("", size)
    expected = Expected(clip.attributes, clip.truth, clip.fps)
    return Case(
        *(f"{name}-{request.seed}", name, clip.captions["detailed"], expected, size, request.seed),
        *(clip.video, functools.cache(lambda broken, shape: simulate(broken, shape).video)),
    )


def draw_cases(
    name: str,
    count: int,
    requests: Iterable[base.ClipRequest],
    min_clips: int,
    givens: Sequence[int] = (0,),
) -> list[Case]:
    """The first `count` cases, and further ones to which a score applies that has too few.

    Args:
      requests: of the clips, in the order in which they are tried.
      min_clips: cases that each score should have, as far as the requests go.
      givens: numbers of given first frames with which it should have them.
    """
    world, cases = world_of(name), []
    applied = {(given, score.name): 0 for given in givens for score in world.SCORES}
    for request in requests:
        case = simulate_case(name, request)
        applies = [(g, score) for g in givens for score in find_applicable(world, case, g)]
        if len(cases) < count or any(applied[key] < min_clips for key in applies):
            cases.append(case)
            applied |= {key: applied[key] + 1 for key in applies}
        if len(cases) >= count and min(applied.values()) >= min_clips:
            break
    return cases


def find_applicable(world: Any, case: Case, given: int) -> list[str]:
    """Names of the scores that apply with `given` frames, or as many as they need."""
    found, (real,) = [], list_real([case])
    for shown in {max(given, score.min_given) for score in world.SCORES}:
        expected = dataclasses.replace(case.expected, given=shown)
        values = score_video(world, real, expected) if shown < case.size[0] else {}
        needy = [score.name for score in world.SCORES if max(given, score.min_given) == shown]
        found += [name for name in needy if not math.isnan(values.get(name, math.nan))]
    return found


def measure(
    name: str,
    cases: Sequence[Case],
    givens: Sequence[int],
    videos: Mapping[str, Sequence[np.ndarray]],
    min_clips: int = MIN_CLIPS,
) -> dict[int, dict[str, Any]]:
    """The scores of one world by number of given frames, or what a score needs if that is more.

    Args:
      videos: further variants by name, one video for each case; its first frames are replaced by
        those that are given.
      min_clips: cases to which a score must apply for a verdict.
    """
    world, known, noticed = world_of(name), {}, {}
    needs = {
        (given, score): max(given, score.min_given) for given in givens for score in world.SCORES
    }
    for shown in sorted(set(needs.values())):
        long = [i for i, case in enumerate(cases) if case.size[0] > shown]
        own = [cases[i] for i in long]
        columns = {
            variant: [put_first(cases[i], column[i], shown) for i in long]
            for variant, column in videos.items()
        }
        progress = progress_of(f"clips of {name}, {shown} frames given")
        values = score_cases(world, own, columns, shown, progress)
        known[shown] = describe(world, own, values, min_clips)["scores"]
        noticed[shown] = count_noticed(own, values, shown) if shown in givens else {}
    return {
        given: {
            "clips": [case.name for case in cases],
            "noticed": noticed.get(given, {}),
            "scores": {
                score.name: dict(known[needs[given, score]][score.name])
                for score in world.SCORES
                if not given or known[needs[given, score]][score.name]["figures"]["real"]["clips"]
            },
        }
        for given in givens
    }


def list_real(cases: Sequence[Case]) -> list[np.ndarray]:
    """The simulator's videos of cases that have one."""
    return [case.real for case in cases if case.real is not None]


def read_parts() -> dict[str, Any]:
    """The worlds' scores by part as they were written last; empty if they never were."""
    return json.loads(PATH.read_text())["parts"] if PATH.exists() else {}


def list_numbers(name: str, laws: str, count: int) -> list[int]:
    """Numbers of clips in the order in which they are tried: first those measured last time.

    Most of the numbers show no score that few clips show, so that looking for these takes long.
    """
    part = score_tables.name_group({"split": laws, "given": 0})
    clips = read_parts().get(part, {}).get(name, {}).get("clips", ())
    known = [int(clip.rpartition("-")[2]) - FIRST_SEED for clip in clips]
    return list(dict.fromkeys([*known, *range(count)]))


def measure_same_caption(name: str) -> dict[str, Any]:
    """Figures of scores from text alone, of clips judged by the truth of others of their caption.

    Returns:
      A figure as JSON values for each score that applies to a pair.
    """
    numbers: dict[tuple[int, str], list[int]] = {}
    for number in range(SAME_DRAWS):
        clip = simulate_alike(name, number)
        numbers.setdefault((len(clip.video), clip.captions["detailed"]), []).append(number)
    pairs = [pair for found in numbers.values() for pair in itertools.pairwise(found)]
    order = np.random.default_rng(0).permutation(len(pairs))[:SAME_PAIRS]
    values: dict[str, list[float]] = {}
    for clip, other in ((simulate_alike(name, n) for n in pairs[i]) for i in order):
        expected = Expected(clip.attributes, clip.truth, clip.fps)
        own, others = (score_video(world_of(name), c.video, expected) for c in (clip, other))
        for score, value in own.items():
            if not math.isnan(value):
                values.setdefault(score, []).append(np.nan_to_num(others[score]))
    return {score: as_json(summarise(column, bounded=True)) for score, column in values.items()}


def simulate_alike(name: str, number: int) -> base.Clip:
    """Simulates a clip whose words and colours are those of many others; see the module."""
    request = base.ClipRequest(SAME_SEED + number, None, FRAMES[number % 3], *SIZES[0])
    with unittest.mock.patch.object(base, "pick", make_picker(number // SAME_CHOICES)):
        return dataset.WORLDS[name].make_clip(request)


def find_missed(part: str, worlds: Mapping[str, Any]) -> list[str]:
    """A line for each bar that a part's worlds miss, and for what has changed since then."""
    verdicts = {False: "not admitted", None: "not measured"}
    missed = []
    for world, scored in worlds.items():
        for name in _list_changed(world, scored, "text alone" in part):
            missed.append(f"{part}, {world}: {name} has changed since it was measured")
        bar = NOTICED_BAR if "text alone" in part else NOTICED_BAR_GIVEN
        if "noticed" not in scored:
            missed.append(f"{part}, {world}: what is noticed is not measured")
        for control, found in scored.get("noticed", {}).items():
            share = 1 - len(found["missed"]) / max(found["clips"], 1)
            if found["clips"] >= MIN_CLIPS and share < bar:
                missed.append(f"{part}, {world}: {share:.2f} of {control} are noticed")
        for name, score in scored["scores"].items():
            if not score["admitted"]:
                missed.append(f"{part}, {world}: {name} is {verdicts[score['admitted']]}")
            same = score["figures"].get("same_caption")
            if same and same["clips"] >= MIN_CLIPS and same["mean"] < SAME_BAR:
                missed.append(f"{part}, {world}: {name} is {same['mean']:.2f} of the same caption")
    return missed


def _list_changed(world: str, scored: Mapping[str, Any], whole: bool) -> list[str]:
    """Names of scores that other controls break now, or that a `whole` part lacks."""
    names = []
    for score in world_of(world).SCORES:
        known = scored["scores"].get(score.name)
        if whole and known is None or known and known["broken_by"] != sorted(score.broken_by):
            names.append(score.name)
    return names


def measure_world(
    name: str, laws: str, clips: int, givens: Sequence[int], vae: str | None
) -> dict[str, Any]:
    """The scores of one world by part, and when and with which code they were measured."""
    order = list_numbers(name, laws, DRAWS * clips)
    requests = (make_request(name, number, laws == "outside") for number in order)
    cases = draw_cases(name, clips, requests, MIN_CLIPS, givens)
    columns = {}
    if vae:
        with sharding.use_mesh():
            reconstruct = functools.partial(reconstruction.reconstruct, codec=load_codec(vae))
            columns[score_tables.CODEC] = [reconstruct(real) for real in list_real(cases)]
    source = {"date": datetime.date.today().isoformat(), "commit": commit()}
    parts, same = {}, measure_same_caption(name) if laws == "inside" else {}
    for given, found in measure(name, cases, givens, columns).items():
        group = {"split": laws, "given": given, "worlds": {name: found}}
        (table,) = score_tables.score_tables(group, all_laws=True)
        part = score_tables.name_group(group)
        print(f"\n{name}, {part}, {len(cases)} clips\n{as_text(table)}", flush=True)
        for score_name, score in found["scores"].items():
            del score["each"]
            if not given and score_name in same:
                score["figures"]["same_caption"] = same[score_name]
                print(f"{score_name}, same caption: {same[score_name]}")
        for control, counted in found["noticed"].items():
            print(f"{control}: {counted['clips']} clips, not noticed: {counted['missed']}")
        parts[part] = found | source
    return parts


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--clips", type=int, default=16, help="clips of each world")
    parser.add_argument("--worlds", default=",".join(WORLDS), help="names, with commas")
    parser.add_argument("--laws", default=LAWS, help="of training's range or not")
    parser.add_argument("--given", default=GIVEN, help="numbers of given first frames")
    parser.add_argument("--vae", help="workdir of an autoencoder")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="worlds at a time")
    chosen = parser.parse_args()
    parts: dict[str, Any] = {}
    givens = [int(given) for given in chosen.given.split(",")]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(chosen.workers, spawn) as pool:
        tasks = [
            pool.submit(measure_world, name, laws, chosen.clips, givens, chosen.vae)
            for name in chosen.worlds.split(",")
            for laws in chosen.laws.split(",")
        ]
        for task in concurrent.futures.as_completed(tasks):
            # Read anew: another call may have written other worlds meanwhile.
            parts = read_parts()
            for part, found in task.result().items():
                (name,) = {clip.rpartition("-")[0] for clip in found["clips"]}
                parts.setdefault(part, {})[name] = found
            write("scores", {"parts": parts}, list_missed(parts))
    worlds = [world for found in parts.values() for world in found.values()]
    verdicts = [score["admitted"] for world in worlds for score in world["scores"].values()]
    missed = list_missed(parts)
    print(f"\n{verdicts.count(True)} of {len(verdicts)} scores are admitted")
    print("\n".join(f"missed: {line}" for line in missed))
    sys.exit(1 if missed else 0)


def list_missed(parts: Mapping[str, Any]) -> list[str]:
    """A line for each score of all parts that is not admitted, and for each world without one."""
    wanted = [
        (score_tables.name_group({"split": laws, "given": int(given)}), world)
        for laws in LAWS.split(",")
        for given in GIVEN.split(",")
        for world in WORLDS
    ]
    absent = [
        f"{part}, {world} is missing" for part, world in wanted if world not in parts.get(part, {})
    ]
    return absent + [line for part, worlds in parts.items() for line in find_missed(part, worlds)]


if __name__ == "__main__":
    main()
