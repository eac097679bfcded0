"""Runs that are killed, stopped, starved and spoilt, beside one that is not.

Command:  python -m experiments.benchmarks.faults [--seed=0] [--short]
Bars:     each fault ends in what its line says; nothing is lost.

A small transformer is trained for 200 steps, with a checkpoint every 25, on latents of noise. What
a run ended with is compared by the digests of all its arrays and of its loader's state (64 bits
each), and by its lines of metrics: that is, weights, average, moments and clips bit for bit. A run
on another number of devices adds in another order: its losses, weights and averaged weights are
compared to a relative 1e-3 (of weights, the norm of the difference), its clips exactly. "s" is the
time from the start of a process to its first step.

Files are damaged in copies of a run with two checkpoints: a flipped bit, a cut or deleted file must
either change nothing of what is restored, or be reported, with the checkpoint before it used.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from absl import app, flags, logging

from experiments.benchmarks import finish, table
from experiments.fault_hooks import PLACES
from experiments.fault_runs import Bench, abstract_state, difference, read_digests, read_lines
from sora_jax import sharding
from sora_jax.stopping import EXIT_CODE
from sora_jax.training import checkpoint_io
from sora_jax.training.checkpoint import Checkpoints, state_items
from sora_jax.training.digests import digest_arrays
from sora_jax.training.experiments import LoopConfig

SEED = flags.DEFINE_integer("seed", 0, "Of the steps, files and bits that are hit.")
SHORT = flags.DEFINE_bool("short", False, "40 steps and a few faults of each kind.")

Row = tuple[str, str, str, float]
"""What was done, what happened, what was lost, seconds from the start to the next first step."""


def kills(bench: Bench, rng: random.Random, count: int) -> Iterator[Row]:
    """SIGKILL at places in turn, and a run that goes on."""
    saves = bench.steps // bench.every
    for i in range(count):
        place = list(PLACES)[i % len(PLACES)]
        workdir = bench.folder / f"kill{i}"
        if "restore" in place:
            bench.run(workdir, f"before a step:{rng.randrange(2, bench.steps - 5)}:terminate")
            number = 1
        elif "step" in place:
            number = rng.randrange(1, bench.steps)
        else:
            number = rng.randrange(1, saves)
        killed = bench.run(workdir, f"{place}:{number}:kill")
        again = bench.run(workdir)
        lost = bench.loss_of(workdir) if again.codes == [0] else again.texts[0][-300:]
        lost = lost if killed.codes == [-signal.SIGKILL] else f"not killed: {killed.codes}"
        yield f"SIGKILL {place} {number}", f"exit {killed.codes[0]}", lost, again.first_step


def terminations(bench: Bench, rng: random.Random, count: int) -> Iterator[Row]:
    """SIGTERM at some step, and from outside while the process starts and compiles."""
    for i in range(count):
        workdir, number = bench.folder / f"term{i}", rng.randrange(1, bench.steps - 5)
        stopped = bench.run(workdir, f"before a step:{number}:terminate")
        saved = checkpoint_io.saved_steps(workdir)[-1:]
        again = bench.run(workdir)
        lost = bench.loss_of(workdir)
        if stopped.codes != [EXIT_CODE] or not saved or not number - 1 <= saved[0] <= number + 3:
            lost = f"exit {stopped.codes}, saved {saved}"
        yield f"SIGTERM at step {number}", f"saved {saved}", lost, again.first_step
    workdir = bench.folder / "term while starting"
    running = bench.start(workdir)
    time.sleep(rng.uniform(4, 8))
    running[0].send_signal(signal.SIGTERM)
    stopped = bench.finish(running)
    again = bench.run(workdir)
    lost = bench.loss_of(workdir)
    if stopped.codes not in ([EXIT_CODE], [-signal.SIGTERM]):  # before Python handles signals
        lost = f"exit {stopped.codes}"
    yield "SIGTERM while it starts", f"exit {stopped.codes[0]}", lost, again.first_step
    workdir = bench.folder / "term twice"
    running = bench.start(workdir, "in a save:1:freeze")
    while not (workdir / "checkpoints").exists() and running[0].poll() is None:
        time.sleep(0.2)
    time.sleep(1)
    for number in (signal.SIGTERM, signal.SIGCONT):
        running[0].send_signal(number)
    time.sleep(0.05)
    running[0].send_signal(signal.SIGTERM)
    stopped = bench.finish(running)
    again = bench.run(workdir)
    lost = bench.loss_of(workdir) if stopped.codes == [EXIT_CODE] else f"exit {stopped.codes}"
    yield "SIGTERM twice", f"exit {stopped.codes[0]}", lost, again.first_step


def meshes(bench: Bench, rng: random.Random, counts: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """A run that is stopped on some devices and goes on on others; (devices, processes) in turn."""
    workdir = bench.folder / "meshes"
    part = bench.steps // len(counts)
    stops = [part * i + rng.randrange(-part // 4, part // 4) for i in range(1, len(counts))]
    start = 0
    for (devices, processes), stop in zip(counts, [*stops, None], strict=True):
        fault = "none" if stop is None else f"before a step:{max(stop - start, 1)}:terminate"
        faults = [fault, *["none"] * (processes - 1)]
        outcome = bench.run(workdir, *faults, devices=devices)
        before, start = start, checkpoint_io.saved_steps(workdir)[-1]
        wanted = [0 if stop is None else EXIT_CODE] * processes
        lost = "nothing" if outcome.codes == wanted else f"exit {outcome.codes}"
        if start == before:
            lost = "no step was taken"
        if stop is None and lost == "nothing":
            lost = difference(bench.straight, workdir, bench.steps, exact=False)
        what = f"{devices} devices in {processes} processes to step {start}"
        yield what, f"exit {set(outcome.codes)}", lost, outcome.first_step


def peers(bench: Bench, rng: random.Random) -> Iterator[Row]:
    """Two processes, one of which is killed, stuck, or given something else."""
    for action in ("kill", "freeze"):
        workdir, number = bench.folder / f"peer {action}", rng.randrange(12, bench.steps)
        running = bench.start(workdir, "none", f"before a step:{number}:{action}", devices=2)
        ended = bench.finish(running, thaw=action == "freeze")
        again = bench.run(workdir, "none", "none", devices=2)
        lost = difference(bench.straight, workdir, bench.steps, exact=False)
        if ended.codes[0] in (0, -signal.SIGKILL):
            lost = f"the other one did not notice: exit {ended.codes}"
        happened = f"the other ends with {ended.codes[0]} in {ended.seconds:.0f} s"
        yield f"a peer: {action} at step {number}", happened, lost, again.first_step
    for setting in ("--config.loop.seed=1", "--config.optimizer.learning_rate=0.02"):
        workdir = bench.folder / f"peer {setting[-3:]}"
        odd = bench.run(workdir, "none", "none", devices=2, settings=([], [setting]))
        named = all(setting[2:].split("=")[0] in text for text in odd.texts)
        lost = "nothing" if odd.codes == [2, 2] and named else f"exit {odd.codes}: {odd.texts}"
        line = odd.texts[0].strip().splitlines()[-1][:60]
        yield f"a peer with {setting}", line, lost, float("nan")


def spoilt_batches(bench: Bench, rng: random.Random) -> Iterator[Row]:
    """A batch that is not finite, and one of very large numbers, after spikes are looked for."""
    for action in ("nan", "spike"):
        workdir, step = bench.folder / action, rng.randrange(110, bench.steps)
        outcome = bench.run(workdir, f"batch:{step}:{action}")
        notes = (workdir / "skipped.jsonl").read_text().splitlines()
        skipped = [json.loads(line) for line in notes]
        last = read_lines(workdir)[-1]
        good = outcome.codes == [0] and [note["step"] for note in skipped] == [step]
        good &= bool(skipped[0]["clips"]) and np.isfinite(last["loss"]) and last["skipped"] == 1
        happened = f"skipped: {skipped[0]['reason']}, {len(skipped[0]['clips'])} clips named"
        lost = "nothing" if good else f"exit {outcome.codes}, {skipped}, {last}"
        yield f"batch {step}: {action}", happened, lost, float("nan")


def pages_of(folder: pathlib.Path) -> int:
    """Pages of 4 KiB that the files and folders of a folder take."""
    return sum(1 + path.stat().st_size // 4096 for path in folder.rglob("*"))


def full_disk(bench: Bench, processes: int) -> Iterator[Row]:
    """A file system too small for a checkpoint, made larger when a save has failed."""
    workdir, checkpoints = bench.folder / f"full{processes}", bench.straight / "checkpoints"
    workdir.mkdir()
    room = pages_of(bench.straight) - pages_of(checkpoints)
    room += pages_of(next(checkpoints.iterdir())) // 2
    what = f"a full disk, {processes} processes"
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * room}k", "tmpfs", workdir]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        yield what, "no right to mount a file system", "not tried", float("nan")
        return

    def enlarge(line: str) -> None:
        if "was not saved" in line:
            subprocess.run(["mount", "-o", "remount,size=1g", workdir], check=True)

    try:
        running = bench.start(workdir / "run", *["none"] * processes, devices=processes)
        outcome = bench.finish(running, watch=enlarge)
        failed, lost = outcome.texts[0].count("was not saved"), outcome.texts[0][-300:]
        if set(outcome.codes) == {0}:
            run, exact = workdir / "run", processes == 1
            lost = difference(bench.straight, run, bench.steps, exact)
            lost = lost if failed else "the disk was not full"
        happened = f"{failed} saves failed, {outcome.seconds:.0f} s in all"
        yield what, happened, lost, outcome.first_step
    finally:
        subprocess.run(["umount", "-l", workdir], check=True)


def damaged_files(bench: Bench, rng: random.Random, flips: int, cuts: int) -> Iterator[Row]:
    """Files of a newest checkpoint: flipped bits, cut and deleted ones, and emptied folders."""
    steps = checkpoint_io.saved_steps(bench.straight)[-2:]
    source, copy = bench.straight / "checkpoints", bench.folder / "damaged"
    files = [p.relative_to(source) for p in (source / str(steps[1])).rglob("*") if p.is_file()]
    sizes = [(source / p).stat().st_size for p in files]
    counts = {"bit flipped": flips, "file cut": cuts // 2, "file deleted": cuts - cuts // 2}
    with jax.set_mesh(sharding.make_mesh()):
        like = abstract_state(bench.straight)
        wanted = read_digests(bench.straight, steps[1])
        for what, count in counts.items():
            silent, reported = [], 0
            for _ in range(count):
                shutil.rmtree(copy, ignore_errors=True)
                for step in steps:
                    shutil.copytree(source / str(step), copy / "checkpoints" / str(step))
                weights = sizes if what == "bit flipped" else None
                name = rng.choices(files, weights)[0]
                path = copy / "checkpoints" / name
                data = bytearray(path.read_bytes())
                if what == "file deleted":
                    path.unlink()
                elif what == "file cut":
                    path.write_bytes(data[: rng.randrange(len(data))] if data else b"")
                elif data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                    path.write_bytes(data)
                with Checkpoints(copy, LoopConfig()) as checkpoints:
                    restored = checkpoints.restore(like)
                assert restored is not None
                state, loader = restored
                if int(state.step) == steps[0]:
                    reported += 1
                    continue
                found = digest_arrays(state_items(state))
                found["loader"] = checkpoint_io.digest_json(loader)
                if any(wanted[key] != value for key, value in found.items()):
                    silent.append(str(name))
            happened = f"{reported} reported, {count - reported} changed nothing"
            lost = "nothing" if not silent else f"{len(silent)} silent: {silent[:2]}"
            yield f"{count} x {what}", happened, lost, float("nan")


def main(_) -> None:
    """Prints a line for each fault, and a table."""
    logging.set_verbosity(logging.ERROR)
    short, rng, rows = SHORT.value, random.Random(SEED.value), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder), short)
        cases: list[Iterator[Row]] = [
            damaged_files(bench, rng, *((20, 10) if short else (200, 100))),
            kills(bench, rng, 3 if short else 20),
            terminations(bench, rng, 1 if short else 3),
        ]
        if not short:
            chain = [(8, 1), (4, 1), (2, 1), (1, 1), (8, 1), (2, 2), (4, 4), (1, 1)]
            cases += [meshes(bench, rng, chain), peers(bench, rng)]
            cases += [spoilt_batches(bench, rng), full_disk(bench, 1), full_disk(bench, 2)]
        for case in cases:
            for row in case:
                rows.append(row)
                print(" | ".join(map(str, row)), flush=True)
    print(table(("fault", "what happened", "lost", "s to go on"), rows))
    missed = [f"{row[0]}: {row[2]}" for row in rows if row[2] != "nothing"]
    figures = {"seed": SEED.value, "rows": []}
    for fault, happened, lost, seconds in rows:
        figure = {"fault": fault, "happened": happened, "lost": lost}
        figures["rows"].append(figure | {"seconds": round(seconds, 1) if seconds > 0 else None})
    if short:
        sys.exit("\n".join(missed) or 0)
    finish("faults", figures, missed)


if __name__ == "__main__":
    app.run(main)
