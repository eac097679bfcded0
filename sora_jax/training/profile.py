"""A profile of a few early steps, for xprof (TensorBoard) or Perfetto."""

import contextlib
import sys
from collections.abc import Iterator

import jax
from etils import epath

FIRST = 10
"""Steps of a process before those that are profiled: compilation, and what settles."""


class Profile:
    """Records steps FIRST + 1 to FIRST + n of a process; use as a context manager."""

    def __init__(self, workdir: epath.Path, start: int, steps: int):
        """Records nothing yet.

        Args:
          workdir: gets the folder `profile`.
          start: steps that were taken before.
          steps: n; 0 means no profile.
        """
        self._folder, self._on = workdir / "profile", False
        self._first, self._last = start + FIRST + 1, start + FIRST + steps

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Call before each step."""
        if step > self._last:
            self._stop()
        elif step == self._first:
            with self._complain():
                jax.profiler.start_trace(self._folder)
                self._on = True

    def _stop(self) -> None:
        if self._on:
            self._on = False
            with self._complain():
                jax.profiler.stop_trace()

    @contextlib.contextmanager
    def _complain(self) -> Iterator[None]:
        """Prints what goes wrong, as on a full disk: no profile is worth a run."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            print(f"{self._folder} is not written: {error}", file=sys.stderr)
