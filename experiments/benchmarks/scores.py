"""Which scores of the simulated worlds are admitted: real clips pass them, what is broken fails.

Command:  python -m experiments.benchmarks.scores [--clips=24] [--worlds=a,b]
          [--outside] [--vae=RUN]
Hardware: 2 CPU cores; about two minutes a world.
Bars:     of every score, the mean of real clips is at least 0.95 and that of each control which
          breaks what it measures is below 0.5.

Clips are simulated for this, of seeds that no folder of clips uses, on canvases of all sizes of
training and 128x128, of 9 to 65 frames; half of them have combinations of attributes that are held
out. A score that needs given first frames is measured with as many as it needs. --outside draws
speeds, sizes and counts outside of training's range; --vae adds the clips' reconstruction by an
autoencoder, which has no bar.
"""

import argparse
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_pipelines.worlds import base, dataset
from experiments.benchmarks import finish
from sora_jax import sharding
from sora_jax.codec.video_codec import load_codec
from sora_jax.evals import reconstruction, scores_page
from sora_jax.evals.gallery import as_text
from sora_jax.evals.world_scores import WORLDS, Case, describe, score_cases, world_of
from sora_jax.evals.worlds.base import Expected
from sora_jax.progress import progress_of

FIRST_SEED = 1_900_000_000
SIZES = (*dict.fromkeys(base.SIZES), (128, 128))
FRAMES = (9, 17, 33, 65)
MAX_FRAMES = {"phyworld": 33}


def make_case(name: str, number: int, outside: bool) -> Case:
    """Simulates a case; its number decides its size, its duration and whether it is held out."""
    seed, size = FIRST_SEED + number, SIZES[number % len(SIZES)]
    frames = min(FRAMES[(number // 2) % len(FRAMES)], MAX_FRAMES.get(name, FRAMES[-1]))
    held_out = None if outside else bool(number % 2)

    def simulate(broken: str, shape: tuple[int, int, int]) -> base.Clip:
        request = base.ClipRequest(seed, held_out, *shape, outside, broken)
        return dataset.WORLDS[name].make_clip(request)

    clip = simulate("", (frames, *size))
    expected = Expected(clip.attributes, clip.truth, clip.fps)
    return Case(
        *(f"{name}-{seed}", name, clip.captions["detailed"], expected, (frames, *size), seed),
        *(clip.video, functools.cache(lambda broken, shape: simulate(broken, shape).video)),
    )


def measure(
    name: str, count: int, outside: bool, reconstruct: Callable[[np.ndarray], np.ndarray] | None
) -> dict[str, Any]:
    """The scores of one world, each with as many given frames as it needs."""
    world, found = world_of(name), {}
    cases = [make_case(name, number, outside) for number in range(count)]
    columns = {}
    if reconstruct:
        columns[scores_page.CODEC] = [reconstruct(c.real) for c in cases if c.real is not None]
    for given in sorted({score.min_given for score in world.SCORES}):
        progress = progress_of(f"clips of {name}, {given} frames given")
        known = describe(world, cases, score_cases(world, cases, columns, given, progress))
        found |= {
            score.name: known["scores"][score.name]
            for score in world.SCORES
            if score.min_given == given
        }
    return {"clips": [case.name for case in cases], "scores": found}


def find_missed(worlds: Mapping[str, Any]) -> list[str]:
    """A line for each score that is not admitted."""
    return [
        f"{world}: {name} is {'not admitted' if score['admitted'] is False else 'not measured'}"
        for world, scored in worlds.items()
        for name, score in scored["scores"].items()
        if not score["admitted"]
    ]


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--clips", type=int, default=24, help="clips of each world")
    parser.add_argument("--worlds", default=",".join(WORLDS), help="names, with commas")
    parser.add_argument("--outside", action="store_true", help="laws outside of training's range")
    parser.add_argument("--vae", help="workdir of an autoencoder")
    chosen = parser.parse_args()
    worlds: dict[str, Any] = {}
    with sharding.use_mesh():
        codec = load_codec(chosen.vae) if chosen.vae else None
        reconstruct = functools.partial(reconstruction.reconstruct, codec=codec) if codec else None
        for name in chosen.worlds.split(","):
            worlds[name] = measure(name, chosen.clips, chosen.outside, reconstruct)
            group = {"split": "fresh", "given": 0, "worlds": {name: worlds[name]}}
            (table,) = scores_page.score_tables(group, all_laws=True)
            print(f"\n{name}, {chosen.clips} clips\n{as_text(table)}", flush=True)
    missed = find_missed(worlds)
    total = sum(len(scored["scores"]) for scored in worlds.values())
    print(f"\n{total - len(missed)} of {total} scores are admitted")
    for scored in worlds.values():
        for score in scored["scores"].values():
            del score["each"]
    finish("scores", {"clips": chosen.clips, "outside": chosen.outside, "worlds": worlds}, missed)


if __name__ == "__main__":
    main()
