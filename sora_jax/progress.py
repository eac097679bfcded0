"""What a command prints while it works, and how much memory it took."""

import resource
import sys
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 4.0


class Progress:
    """Prints a line with a bar, the rate and the time left, at most one every few seconds.

    The first call starts the clock: what came before it was compilation.
    """

    def __init__(self):
        self._first, self._started, self._printed = None, 0.0, 0.0

    def show(self, done: int, total: int, text: str) -> None:
        """Call after each item; prints seldom, and always at the end."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done, now
        if now - self._printed < SECONDS_BETWEEN_LINES and done < total:
            return
        self._printed = now
        filled = round(20 * done / total)
        bar = "#" * filled + "." * (20 - filled)
        rest = ""
        if done > self._first and now > self._started:
            rate = (done - self._first) / (now - self._started)
            rest = f" | {rate:.3g} a second | {(total - done) / rate:.0f} s left"
        print(f"[{bar}] {done}/{total} {text}{rest}", flush=True)


def progress_of(text: str) -> Callable[[int, int], None]:
    """A progress line of its own, as a function of (items done, items in all)."""
    progress = Progress()
    return lambda done, total: progress.show(done, total, text)


def first_line(error: BaseException) -> str:
    """The first line of an error, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def peak_memory_gib(usage: resource.struct_rusage) -> float:
    """Maximum resident memory of a process in GiB; macOS counts it in bytes, Linux in KiB."""
    return usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
