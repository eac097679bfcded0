"""Draws new clips of all worlds without end, in processes beside a training that reads them.

Command:  python -m experiments.shipped.drawing FOLDER WORKER TOKENIZER

Each process writes files of `FILE_CLIPS` clips of all worlds, until a file named
`stop` appears or the process that started it is gone. A file holds, for all its clips one after
the other: pixels; sizes [clips, 3] (frames, height, width); frames per second; token ids of the
short and the detailed caption, and their numbers [clips, 2].
"""

import os
import pathlib
import sys

import numpy as np

from data_pipelines.worlds import base
from data_pipelines.worlds.catalog import WORLDS
from sora_jax.models.tokenizer import Tokenizer

SHARES = {
    "ballistics": 10,
    "occlusion": 8,
    "orbit": 8,
    "painter": 8,
    "eater": 7,
    "shatter": 8,
    "builder": 10,
    "phyworld": 5,
}
"""Clips of each world in a file: more of those that are hard to learn."""
assert set(SHARES) == set(WORLDS)
FILE_CLIPS = sum(SHARES.values())
FIRST_SEED, WORKER_SEEDS = 100_000_000, 10_000_000
"""Seeds above those of every folder that `sora-jax worlds` makes, below those of benchmarks."""


def draw_file(path: pathlib.Path, first_seed: int, tokenizer: Tokenizer) -> None:
    """Writes `FILE_CLIPS` clips; the file appears whole or not at all."""
    clips = [
        WORLDS[name].make_clip(base.ClipRequest(first_seed + i, held_out=False))
        for name, share in SHARES.items()
        for i in range(share)
    ]
    captions = [clip.captions[kind] for clip in clips for kind in ("short", "detailed")]
    texts = tokenizer.encode(captions)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            pixels=np.concatenate([clip.video.ravel() for clip in clips]),
            sizes=np.array([clip.video.shape[:3] for clip in clips], np.int32),
            fps=np.array([clip.fps for clip in clips], np.float32),
            text=np.concatenate(texts),
            text_lengths=np.array([len(t) for t in texts], np.int32).reshape(-1, 2),
        )
    partial.rename(path)


def main(folder: str, worker: str, tokenizer: str) -> None:
    """Draws until it is told to stop."""
    os.nice(19)  # after what compiles and trains
    parent, number, target = os.getppid(), 0, pathlib.Path(folder)
    trained = Tokenizer(tokenizer)
    while os.getppid() == parent and not (target / "stop").exists():
        first_seed = FIRST_SEED + int(worker) * WORKER_SEEDS + number * max(SHARES.values())
        draw_file(target / f"{number:06d}-{int(worker):03d}.npz", first_seed, trained)
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
