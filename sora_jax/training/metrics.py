"""Metrics: one JSON line each in `metrics.jsonl`, and a progress line every few seconds."""

import json
import resource
import subprocess
import sys
import time

from etils import epath

from sora_jax.files import write_whole

SECONDS = 4.0


class Progress:
    """Prints a line with a bar and the time left, at most one every few seconds.

    The first call starts the clock: what came before it was compilation.
    """

    def __init__(self):
        self.first, self.began, self.shown = None, 0.0, 0.0

    def show(self, done: int, total: int, text: str) -> None:
        """Call often; prints seldom, and always at the end."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.began = done, now
        if now - self.shown < SECONDS and done < total:
            return
        self.shown = now
        filled = round(20 * done / total)
        bar = "#" * filled + "." * (20 - filled)
        left = ""
        if done > self.first:
            left = f" | {(now - self.began) / (done - self.first) * (total - done):.0f} s left"
        print(f"[{bar}] {done}/{total} {text}{left}", flush=True)


class Metrics:
    """Writes a run's metrics; lines of steps after `start` (a killed run's) are dropped."""

    def __init__(self, workdir: epath.Path, start: int, steps: int, writes: bool):
        self.path, self.steps, self.writes = workdir / "metrics.jsonl", steps, writes
        self.lines: list[str] = []
        if writes and self.path.exists():
            lines = self.path.read_text().splitlines()
            self.lines = [line for line in lines if json.loads(line)["step"] <= start]
        self.start, self.progress = start, Progress()

    def log(self, step: int, values: dict[str, float]) -> None:
        """Keeps the values of a step; they reach the file at the next `flush`."""
        self.lines.append(json.dumps({"step": step} | {k: round(v, 6) for k, v in values.items()}))

    def flush(self) -> None:
        """Writes the file whole, so that it never ends in half a line."""
        if self.writes:
            write_whole(self.path, "".join(line + "\n" for line in self.lines))

    def show(self, step: int, text: str) -> None:
        """Prints the progress line."""
        if self.writes:
            self.progress.show(step, self.steps, text)


def read_metrics(workdir: epath.PathLike) -> list[dict[str, float]]:
    """The logged lines of a run, oldest first; an empty list where there is no file."""
    path = epath.Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def peak_gb(usage: resource.struct_rusage) -> float:
    """Largest resident memory in GiB; macOS counts it in bytes, Linux in KiB."""
    return usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def commit() -> str:
    """The commit of the code that runs, with `+` where files differ; empty outside a checkout."""
    folder = epath.Path(__file__).parent
    try:
        describe = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
