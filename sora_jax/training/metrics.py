"""The metrics of a run: one JSON line each in `metrics.jsonl`."""

import contextlib
import json
import math
import sys
import time
from typing import Any

from etils import epath

from sora_jax.files import is_in_object_store, write_whole

FLUSH_SECONDS = 10.0


def read_lines(path: epath.Path, start: int) -> list[str]:
    """Lines of JSON of steps up to `start`, without one that a killed process or a full disk cut.

    None where there is no file.
    """
    kept = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            if json.loads(line)["step"] <= start:
                kept.append(line)
    return kept


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
        self.lines = read_lines(self.path, start) if writes else []
        self.start, self._flushed = start, time.monotonic()
        self._written: int | None = None  # number of lines that the file has; None: unknown

    def read(self) -> list[dict[str, Any]]:
        """All lines so far; none where this process does not write."""
        return [json.loads(line) for line in self.lines]

    def last(self, name: str) -> int:
        """The last count of this name; 0 if there is none."""
        counts = [line[name] for line in self.read() if name in line]
        return int(counts[-1]) if counts else 0

    def log(self, step: int, values: dict[str, float]) -> None:
        """Adds the values of a step; the file has them after `FLUSH_SECONDS` or a `flush`.

        JSON has no numbers that are not finite: they become null.
        """
        written = {k: float(f"{v:.6g}") if math.isfinite(v) else None for k, v in values.items()}
        self.lines.append(json.dumps({"step": step} | written))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Appends the lines that the file does not have yet; the first time, writes it whole.

        If they cannot be written (a full disk), that is said, and the next flush writes it whole.
        """
        self._flushed = time.monotonic()
        if not self.writes or self._written == len(self.lines):
            return
        first = 0 if is_in_object_store(self.path) else self._written or 0
        self._written = None
        text = "".join(line + "\n" for line in self.lines[first:])
        try:
            if first:
                with self.path.open("a") as file:
                    file.write(text)
            else:
                write_whole(self.path, text)
        except OSError as error:
            print(f"{self.path.name} is not written yet: {error}", file=sys.stderr)
        else:
            self._written = len(self.lines)
