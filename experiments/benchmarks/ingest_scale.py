"""What an ingest holds where: the pipeline's description, the program that starts it, a worker.

Command:  python -m experiments.benchmarks.ingest_scale
Bars:     the description of the pipeline is below 1 MB whatever is read; the program that starts
          it, and a worker that lists a table, have the same peak of memory for a million rows as
          for a thousand, to 5 %; on Beam's runner of processes the clips, their index and the
          manifest are byte by byte as on that of threads.

The rows of a table are films that are not there. Memory is that of a process that does one of the
two things and ends. The second runner is DirectRunner with `multi_processing`: several workers that
are processes of their own and talk to the runner by the Fn API, as on Dataflow, Flink or Spark. (A
local Flink or Spark runner needs a job server from Maven.) What a runner itself keeps between two
stages is the runner's affair and not measured.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

import apache_beam as beam
import numpy as np
from absl import app
from etils import epath

from data_pipelines.ingest import inputs, pipeline
from data_pipelines.ingest.config import IngestConfig
from experiments.benchmarks import finish, table
from sora_jax import media

ROWS, FILMS, PROTO, MORE = (1_000, 10_000, 100_000, 1_000_000), 12, 1e6, 1.05
MODES = ("multi_threading", "multi_processing")


def write_table(path: pathlib.Path, rows: int) -> None:
    """Writes a table of films that are not there."""
    with path.open("w") as file:
        file.write("path,start,stop,short,licence\n")
        for row in range(rows):
            file.write(f"films/{row:07d}.mp4,0,5,a film of number {row},CC-BY-4.0\n")


def describe(source: str, output: epath.Path) -> int:
    """Builds the pipeline for a source; returns the bytes of its description."""
    made = beam.Pipeline()
    pipeline.build_graph(made, source, output, IngestConfig())
    return len(made.to_runner_api().SerializeToString())


def measure(kind: str, source: str) -> None:
    """Starts a pipeline but for running it, or lists its inputs; prints what that took."""
    began, found = time.process_time(), 0
    if kind == "driver":
        inputs.check(source, "/nowhere")
        found = describe(source, epath.Path("/nowhere"))
    else:
        found = sum(1 for _ in inputs.list_inputs(source, "/nowhere"))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"found": found, "megabytes": peak, "seconds": seconds}))


def write_films(folder: pathlib.Path) -> None:
    """Writes short films of noise that moves."""
    rng = np.random.default_rng(0)
    for number in range(FILMS):
        small = rng.integers(0, 256, (1, 10, 16, 3), np.uint8).repeat(16, 1).repeat(16, 2)
        video = np.concatenate([np.roll(small, (2 * i, 3 * i), (1, 2)) for i in range(40)])
        (folder / f"{number:02d}.mp4").write_bytes(media.video_bytes(video, 24))


def run(films: pathlib.Path, output: pathlib.Path, mode: str) -> tuple[dict[str, bytes], int]:
    """Ingests on a runner; returns the files that were written, and Beam's workers seen."""
    command = [sys.executable, "-m", "sora_jax.main", "ingest", f"--input={films}", "--workers=2"]
    command += [f"--output={output}", f"--beam=--direct_running_mode={mode}"]
    workers: set[str] = set()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            search = ["pgrep", "-P", str(running.pid), "-f", "sdk_worker_main"]
            found = subprocess.run(search, capture_output=True, text=True)
            workers.update(found.stdout.split())

    watching = threading.Thread(target=watch)
    watching.start()
    code = running.wait()
    done.set()
    watching.join()
    if code:
        raise ValueError(f"the ingest on {mode} failed: {code}")
    reports = output / "files"  # which say how long each film took
    paths = [p for p in output.rglob("*") if p.is_file() and reports not in p.parents]
    return {str(path.relative_to(output)): path.read_bytes() for path in paths}, len(workers)


def main(arguments: list[str]) -> None:
    """Prints the tables, writes the results; in a child, what it measured."""
    if len(arguments) > 1:
        measure(*arguments[1:])
        return
    rows, missed, figures = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        films, made = pathlib.Path(folder, "films"), pathlib.Path(folder, "made")
        for kind in ("driver", "list"):
            for count in ROWS:
                path = pathlib.Path(folder, f"{count}.csv")
                write_table(path, count)
                command = [sys.executable, "-m", "experiments.benchmarks.ingest_scale", kind, path]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found = json.loads(said.splitlines()[-1])
                rows.append((kind, count, *found.values()))
                if kind == "list" and found["found"] != count:
                    missed.append(f"{found['found']} inputs of {count}")
                if kind == "driver" and not found["found"] < PROTO:
                    missed.append(f"a description of {found['found']} bytes")
            first, last = (row[3] for row in (rows[-len(ROWS)], rows[-1]))
            if not last <= MORE * first:
                missed.append(
                    f"{kind}: {last:.0f} MB for {ROWS[-1]} rows, {first:.0f} for {ROWS[0]}"
                )
        films.mkdir()
        write_films(films)
        outputs = {mode: run(films, made / mode, mode) for mode in MODES}
    print(table(("", "rows", "bytes or inputs", "peak MB", "seconds"), rows))
    threads, processes = (outputs[mode][0] for mode in MODES)
    differ = sorted(
        name for name in threads | processes if threads.get(name) != processes.get(name)
    )
    workers = outputs[MODES[1]][1]
    print(
        f"{len(threads)} files by threads, {len(processes)} by {workers} processes: {differ} differ"
    )
    if differ or workers < 2:
        missed.append(f"{workers} processes; other files: {differ}")
    figures = {"rows": rows, "workers": workers, "files": len(threads), "differ": differ}
    finish("ingest_scale", figures, missed)


if __name__ == "__main__":
    app.run(main)
