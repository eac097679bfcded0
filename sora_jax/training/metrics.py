"""Metrics: one JSON line each in `metrics.jsonl`, and a progress line every few seconds."""

import json
import time

from etils import epath

SECONDS = 5.0


class Metrics:
    """Writes a run's metrics; lines of steps after `start` (a killed run's) are dropped."""

    def __init__(self, workdir: epath.Path, start: int, steps: int, writes: bool):
        self.path, self.steps, self.writes = workdir / "metrics.jsonl", steps, writes
        self.lines: list[str] = []
        if writes and self.path.exists():
            lines = self.path.read_text().splitlines()
            self.lines = [line for line in lines if json.loads(line)["step"] <= start]
        self.start, self.began, self.shown = start, time.monotonic(), 0.0

    def log(self, step: int, values: dict[str, float]) -> None:
        """Keeps the values of a step; they reach the file at the next `flush`."""
        self.lines.append(json.dumps({"step": step} | {k: round(v, 6) for k, v in values.items()}))

    def flush(self) -> None:
        """Writes the file whole, so that it never ends in half a line."""
        if self.writes:
            self.path.write_text("".join(line + "\n" for line in self.lines))

    def show(self, step: int, text: str) -> None:
        """Prints a line with a progress bar, at most one every few seconds."""
        now = time.monotonic()
        if not self.writes or (now - self.shown < SECONDS and step < self.steps):
            return
        self.shown = now
        done = round(20 * step / self.steps)
        left = (now - self.began) / max(step - self.start, 1) * (self.steps - step)
        bar = "#" * done + "." * (20 - done)
        print(f"[{bar}] {step}/{self.steps} {text} | {left:.0f} s left", flush=True)


def read_metrics(workdir: epath.PathLike) -> list[dict[str, float]]:
    """The logged lines of a run, oldest first; an empty list where there is no file."""
    path = epath.Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
