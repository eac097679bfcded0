"""The metrics of a run: one JSON line each in `metrics.jsonl`."""

import json

from etils import epath

from sora_jax.files import write_whole
from sora_jax.progress import Progress


class Metrics:
    """Writes a run's metrics; lines of steps after `start` (a killed run's) are dropped."""

    def __init__(self, workdir: epath.Path, start: int, steps: int, writes: bool):
        """Reads the lines that the run has so far.

        Args:
          start: steps that the restored state has taken.
          steps: steps of the whole run.
          writes: whether this process writes and prints; one of several does.
        """
        self.path, self.steps, self.writes = workdir / "metrics.jsonl", steps, writes
        self.lines: list[str] = []
        if writes and self.path.exists():
            lines = self.path.read_text().splitlines()
            self.lines = [line for line in lines if json.loads(line)["step"] <= start]
        self.start, self._progress = start, Progress()

    def log(self, step: int, values: dict[str, float]) -> None:
        """Adds the values of a step; they reach the file at the next `flush`."""
        self.lines.append(json.dumps({"step": step} | {k: round(v, 6) for k, v in values.items()}))

    def flush(self) -> None:
        """Writes the file whole, so that it never ends in half a line."""
        if self.writes:
            write_whole(self.path, "".join(line + "\n" for line in self.lines))

    def show(self, step: int, text: str) -> None:
        """Prints the progress line."""
        if self.writes:
            self._progress.show(step, self.steps, text)
