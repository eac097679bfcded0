"""How fast a run is: lines of `speed.jsonl`, and of the terminal or the log of a pod.

They stand apart from `metrics.jsonl`, whose lines are the same however often a run was stopped.
"""

import json
import sys
from typing import Any

import jax
from etils import epath

from sora_jax.progress import Progress
from sora_jax.training.clock import Clock
from sora_jax.training.task import StepWork


class Speed:
    """Measures a run in one process, between lines."""

    def __init__(
        self,
        workdir: epath.Path,
        work: StepWork,
        clock: Clock,
        start: int,
        steps: int,
        writes: bool,
    ):
        """Writes nothing yet.

        Args:
          work: what a step does.
          clock: where the run's time goes.
          start: steps that were taken before.
          steps: steps of the whole run.
          writes: whether this process writes and prints.
        """
        self._clock, self._work, self._steps = clock, work, steps
        self._file, self._writes = workdir / "speed.jsonl", writes
        self._last_step, self._last = start, clock.read()
        self._first_step = start + 1
        self._bar = Progress()

    def log(self, step: int, text: str) -> dict[str, Any]:
        """Writes and shows the speed since the last line.

        Args:
          text: a few words of the step's metrics.

        Returns:
          What was written; {} where this process does not write, or no step was taken.
        """
        seconds, steps = self._clock.read(), step - self._last_step
        spent = {name: seconds[name] - self._last[name] for name in seconds}
        # The first step of a process compiles, and its time is that bucket's.
        timed = step - max(self._last_step, self._first_step)
        self._last, self._last_step = seconds, step
        if not self._writes or not steps:
            return {}
        values: dict[str, Any] = {"step": step}
        if timed and (per_step := (spent["train"] + spent["data"]) / timed):
            values["seconds_per_step"] = per_step
            values[f"{self._work.unit}_per_second"] = self._work.count / per_step
            values["tflops_per_device"] = self._work.flops / per_step / jax.device_count() / 1e12
            if self._work.flops:
                values["flops_per_step"] = self._work.flops
            if self._work.peak_flops:
                values["mfu"] = 1e12 * values["tflops_per_device"] / self._work.peak_flops
        values["useful_share"] = self._work.useful
        stats = jax.local_devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in stats:
            values["peak_memory_gib"] = stats["peak_bytes_in_use"] / 2**30
        values = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}
        values["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        try:
            with self._file.open("a") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            print(f"{self._file.name} is not written: {error}", file=sys.stderr)
        self._show(step, values, text)
        return values

    def _show(self, step: int, values: dict[str, Any], text: str) -> None:
        if sys.stdout.isatty():
            self._bar.show(step, self._steps, text)
            return
        if "seconds_per_step" not in values:
            print(f"completed step: {step} of {self._steps}, {text}", flush=True)
            return
        rate = values["tflops_per_device"]
        left = (self._steps - step) * values["seconds_per_step"]
        print(
            f"completed step: {step}, seconds: {values['seconds_per_step']:.3g}, "
            f"TFLOP/s/device: {rate:.3g}, {text}, of {self._steps} steps {left:.0f} s left",
            flush=True,
        )
