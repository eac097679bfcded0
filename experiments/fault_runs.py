"""Runs of a small transformer with faults in them, and what they lost."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sora_jax import sharding
from sora_jax.training import checkpoint_io
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.diffusion_task import DiffusionTask
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.run_folder import load_experiment
from sora_jax.types import TrainState
from tests.processes import FAST_COMPILATION
from tests.tiny_run import CONFIG, write_data

SETTINGS = (
    *("packing.rows=8", "optimizer.warmup_steps=5", "loop.stuck_minutes=3.0"),
    "loop.products=float32",  # each run measures anew what is faster, and all are compared
)
TOLERANCE = 1e-3
PATIENCE = 500  # seconds after which a process counts as hung; Orbax may wait for 300


@dataclasses.dataclass
class Outcome:
    """How processes ended: their exit codes, what they wrote, and when the first step was done."""

    codes: list[int]
    texts: list[str]
    first_step: float
    seconds: float


class Bench:
    """A folder with data and an experiment, and the run that no fault hits."""

    def __init__(self, folder: pathlib.Path, short: bool):
        self.folder, self.steps, self.every = folder, 40 if short else 200, 10 if short else 25
        (folder / "config.py").write_text(CONFIG)
        write_data(folder)
        self.straight = folder / "straight"
        outcome = self.run(self.straight)
        assert outcome.codes == [0], outcome.texts

    def start(
        self,
        workdir: pathlib.Path,
        *faults: str,
        devices: int = 1,
        settings: Sequence[Sequence[str]] = (),
    ) -> list[subprocess.Popen]:
        """Starts a run, one process for each fault ("none": none), which share the devices."""
        faults = faults or ("none",)
        with socket.socket() as listener:
            listener.bind(("localhost", 0))
            address = f"localhost:{listener.getsockname()[1]}"
        running = []
        for number, fault in enumerate(faults):
            command = [sys.executable, "-m", "experiments.fault_hooks", fault, "train"]
            command += [f"--config={self.folder / 'config.py'}", f"--workdir={workdir}"]
            command += [f"--config.data={self.folder / 'latents'}"]
            command += [f"--config.optimizer.steps={self.steps}"]
            command += [f"--config.loop.save_every={self.every}"]
            command += [f"--config.{setting}" for setting in SETTINGS]
            command += settings[number] if settings else []
            if len(faults) > 1:
                command += [f"--coordinator={address}", f"--num_processes={len(faults)}"]
                command += [f"--process_id={number}", "--heartbeat_seconds=10"]
            count = f"--xla_force_host_platform_device_count={devices // len(faults)}"
            variables = {
                "XLA_FLAGS": f"{FAST_COMPILATION} {count}",
                "JAX_PLATFORMS": "cpu",
                "PYTHONUNBUFFERED": "1",
                "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            running.append(
                subprocess.Popen(
                    command,
                    env=os.environ | variables,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        return running

    def finish(
        self,
        running: list[subprocess.Popen],
        thaw: bool = False,
        watch: Callable[[str], None] = lambda line: None,
    ) -> Outcome:
        """Waits for processes; one that hangs is killed, and its code is None's, -9.

        Args:
          thaw: the last process is frozen; it is killed once the others have ended.
          watch: called with each line that a process prints.
        """
        began, first = time.monotonic(), [float("nan")] * len(running)
        texts: list[list[str]] = [[] for _ in running]

        def read(number: int) -> None:
            stream: Any = running[number].stdout
            for line in stream:
                if line.startswith("completed step") and first[number] != first[number]:
                    first[number] = time.monotonic() - began
                texts[number].append(line)
                watch(line)

        readers = [threading.Thread(target=read, args=[i]) for i in range(len(running))]
        for reader in readers:
            reader.start()
        for process in running[:-1] if thaw else running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        if thaw:
            running[-1].kill()
        codes = [process.wait() for process in running]
        for reader in readers:
            reader.join()
        return Outcome(codes, ["".join(t) for t in texts], first[0], time.monotonic() - began)

    def run(self, workdir: pathlib.Path, *faults: str, **options: Any) -> Outcome:
        """`start` and `finish`."""
        return self.finish(self.start(workdir, *faults, **options))

    def loss_of(self, workdir: pathlib.Path) -> str:
        """What a run lost, compared to the straight one: "nothing", or what differs."""
        return difference(self.straight, workdir, self.steps)


def read_digests(workdir: pathlib.Path, step: int) -> dict[str, str]:
    """Digests of a checkpoint's arrays and of its loader's state."""
    path = checkpoint_io.checkpoint_folder(workdir) / str(step)
    items: Any = checkpoint_io.ocp.load_checkpointables(path, {"digests": None})
    return items["digests"]


def read_lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Lines of metrics without the count of failed saves."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "failed_saves"} for line in lines]


def difference(one: pathlib.Path, other: pathlib.Path, step: int, exact: bool = True) -> str:
    """What differs between two runs; not `exact`: losses and weights by more than `TOLERANCE`."""
    if checkpoint_io.saved_steps(other)[-1:] != [step]:
        return f"its last checkpoint is {checkpoint_io.saved_steps(other)[-1:]}"
    a, b = read_digests(one, step), read_digests(other, step)
    names = sorted(a) if exact else ["loader"]
    if differing := [name for name in names if a[name] != b.get(name)]:
        return f"{len(differing)} arrays differ, such as {differing[0]}"
    first, second = read_lines(one), read_lines(other)
    if exact:
        return "nothing" if first == second else "lines of metrics differ"
    losses = np.array([[line["loss"] for line in lines] for lines in (first, second)])
    errors = {"losses": float(np.max(np.abs(losses[0] - losses[1]) / losses[0]))}
    states = [read_state(workdir) for workdir in (one, other)]
    for name in ("params", "ema"):
        trees = (jax.tree.leaves(getattr(state, name)) for state in states)
        a, b = (np.concatenate([np.ravel(leaf) for leaf in tree]) for tree in trees)
        errors[name] = float(np.linalg.norm(a - b) / np.linalg.norm(a))
    near = {name for name, error in errors.items() if error < TOLERANCE}  # nan is not
    far = [f"{name} differ by {error:.1e}" for name, error in errors.items() if name not in near]
    return ", ".join(far) or "nothing"


def abstract_state(workdir: pathlib.Path) -> TrainState:
    """Shapes of a run's state, on the current mesh."""
    experiment = load_experiment(workdir)
    assert isinstance(experiment, DiffusionExperiment)
    return jax.eval_shape(DiffusionTask(experiment).init_state)


def read_state(workdir: pathlib.Path) -> TrainState:
    """The last state of a run, on one device."""
    with jax.set_mesh(sharding.make_mesh()), Checkpoints(workdir, LoopConfig()) as checkpoints:
        restored = checkpoints.restore(abstract_state(workdir))
    assert restored is not None
    return restored[0]
