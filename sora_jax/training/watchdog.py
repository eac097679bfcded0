"""A process that is stuck, as in a transfer that never ends, says where, and ends."""

import contextlib
import faulthandler
import sys
import time
from collections.abc import Iterator

SECONDS_BETWEEN_RESETS = 1.0
PATIENCE = 24
"""How much longer a save and an evaluation may take: a day, where a step may take an hour."""


class Watchdog:
    """Ends the process if `reset` is not called for some time; use as a context manager.

    It prints the stacks of all threads to stderr and exits with status 1. It needs no Python to
    run, so it works while the interpreter is locked.
    """

    def __init__(self, minutes: float):
        """`minutes`: the time; 0 means without end."""
        self._seconds, self._reset_at = 60 * minutes, 0.0

    def __enter__(self) -> "Watchdog":
        self.reset()
        return self

    def __exit__(self, *_) -> None:
        if self._seconds:
            faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Work within this context, a save or an evaluation, may take `PATIENCE` times as long."""
        self._start(PATIENCE * self._seconds)
        try:
            yield
        finally:
            self._reset_at = 0.0
            self.reset()

    def reset(self) -> None:
        """Says that the process goes on; cheap enough for every step."""
        now = time.monotonic()
        if self._seconds and now - self._reset_at > SECONDS_BETWEEN_RESETS:
            self._reset_at = now
            self._start(self._seconds)

    def _start(self, seconds: float) -> None:
        if seconds:
            stderr = sys.__stderr__ or sys.stderr
            faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)
