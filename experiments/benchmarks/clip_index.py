"""The index of ten million clips: the time and memory that opening it takes.

Command:  python -m experiments.benchmarks.clip_index
Bars:     30 s and 2 GB for ten million clips in a hundred shards; no video is read, as there is
          none.

A process of its own opens the index that another one has written, and counts the clips of each
source that are long enough for a crop, as training of an autoencoder does.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app

from data_pipelines.clip_index import ClipIndex, pack
from data_pipelines.shards import index_path
from experiments.benchmarks import finish, table
from sora_jax.files import write_arrays

CLIPS, SHARDS, SECONDS, GIGABYTES = (100_000, 1_000_000, 10_000_000), 100, 30.0, 2.0


def write(folder: pathlib.Path, clips: int) -> None:
    """Writes an index of clips of random sizes, without their metadata."""
    rng, count = np.random.default_rng(0), clips // SHARDS
    for shard in range(SHARDS):
        index = ClipIndex(
            rng.integers(1, 1000, (count, 3), np.int32),
            np.full(count, 24, np.float32),
            np.arange(count),
            rng.integers(0, 1 << 62, count, np.uint64),
            rng.integers(0, 1 << 62, (count, 3), np.uint64),
            rng.integers(0, 3, count, np.int32),
            (),
        )
        arrays = index._asdict() | {"names": pack(["a", "b", "c"])}
        write_arrays(index_path(folder, "train", shard, SHARDS), **arrays)


def open_alone(folder: str) -> None:
    """Opens an index; prints what that took, as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    index = ClipIndex.load(folder, "train")
    long = index.source[index.sizes[:, 0] >= 17]
    found = {"clips": len(index.sizes), "long": np.bincount(long).tolist()}
    found["seconds"] = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found |= {"before_gb": before / 1e6, "peak_gb": peak / 1e6}
    print(json.dumps(found))


def main(arguments: list[str]) -> None:
    """Writes and opens indices; prints, writes."""
    if len(arguments) > 1:
        open_alone(arguments[1])
        return
    rows, missed = [], []
    for clips in CLIPS:
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder), clips)
            command = [sys.executable, "-m", "experiments.benchmarks.clip_index", folder]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(said)
        rows.append([clips, found["seconds"], found["before_gb"], found["peak_gb"]])
        if found["clips"] != clips:
            missed.append(f"{found['clips']} clips of {clips}")
    if rows[-1][1] > SECONDS or rows[-1][3] > GIGABYTES:
        missed.append(f"{rows[-1][1]:.1f} s, {rows[-1][3]:.2f} GB")
    print(table(["clips", "seconds", "GB before", "peak GB"], rows))
    finish("clip_index", {"rows": rows}, missed)


if __name__ == "__main__":
    app.run(main)
