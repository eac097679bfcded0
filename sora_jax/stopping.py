"""SIGTERM, by which a machine that is taken away is announced: all processes stop in order.

Any process may get the signal; it tells the others. Where nothing is to be saved (sampling,
evaluation, encoding, compilation, all of whose files are written whole or not at all), `Stopped` is
raised in the main thread at once. A training loop `defer`s it, saves, and raises it itself. A
second signal ends the process on the spot.

Exit codes of `sora-jax`: 0, done; 1, a crash or a stuck process; 2, one line says what to change;
75 (EX_TEMPFAIL), stopped by SIGTERM: give the same command again. Where another process was lost,
the transfer that waits for it fails, with 1, or JAX aborts, with 134.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from sora_jax import processes

EXIT_CODE = 75
UNWIND_SECONDS = 10.0
"""Time in which the main thread must have stopped, be it compiling or waiting for a device."""
DEFER_SECONDS = 600.0
"""Time in which a loop that deferred the stop must have saved, also what it saves in passing."""


class Stopped(SystemExit):
    """Work was stopped by SIGTERM; its message says what was kept."""

    def __init__(self, message: str = "nothing of what was finished is lost"):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return f"stopped by SIGTERM; {self.message}: give the same command again"


class _Listener:
    """The state of this process's stop.

    Attributes:
      asked: whether this or another process got the signal.
    """

    def __init__(self):
        self.asked, self._deferred, self._signals = threading.Event(), False, 0
        self._raised = False
        self._patience = UNWIND_SECONDS
        self._timer: threading.Timer | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handles SIGTERM: in the main thread, and in another that runs while that one compiles."""
        handler = signal.signal(signal.SIGTERM, self._raise)
        descriptor = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch_signals, daemon=True)
        thread.start()
        try:
            yield
        finally:
            if not self.asked.is_set():  # else the process ends, and both go on to watch that
                signal.set_wakeup_fd(descriptor)
                signal.signal(signal.SIGTERM, handler)
                os.close(self._write)
                thread.join()
                os.close(self._read)

    def _raise(self, *_: Any) -> None:
        if not self._deferred and not self._raised:
            self._raised = True
            self.asked.set()  # before the process unwinds: `listen` then goes on to handle signals
            raise Stopped()

    def _watch_signals(self) -> None:
        while number := os.read(self._read, 1):
            if number[0] == signal.SIGTERM:
                self._signals += 1
                if self._signals > 1:
                    os._exit(EXIT_CODE)
                self._ask()
                # In a thread of its own: it blocks where process 0 does not answer.
                threading.Thread(target=processes.announce, args=["stop"], daemon=True).start()

    def watch_others(self) -> None:
        """Waits for the signal of another process, in a thread of its own."""

        def wait() -> None:
            if processes.read_announcement("stop") is not None and not self.asked.is_set():
                self._signals -= 1  # the one that follows comes from here
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

        threading.Thread(target=wait, daemon=True).start()

    def _ask(self) -> None:
        self.asked.set()
        self._start_timer()

    def _start_timer(self) -> None:
        """Ends the process after the time that it now has."""
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(self._patience, os._exit, [EXIT_CODE])
        self._timer.daemon = True
        self._timer.start()

    @contextlib.contextmanager
    def defer(self) -> Iterator[None]:
        """See `defer`."""
        before = self._patience
        self._deferred, self._patience = True, DEFER_SECONDS
        if self.asked.is_set():
            self._start_timer()
        try:
            yield
        finally:
            self._deferred, self._patience = False, before

    @contextlib.contextmanager
    def allow(self) -> Iterator[None]:
        """See `allow`."""
        before, self._deferred = self._deferred, False
        try:
            if self.asked.is_set():
                raise Stopped()
            yield
        finally:
            self._deferred = before


_listener: _Listener | None = None


@contextlib.contextmanager
def listen() -> Iterator[None]:
    """Handles SIGTERM while a command runs; of the main thread."""
    global _listener
    _listener = _Listener()
    try:
        with _listener.listen():
            yield
    finally:
        _listener = None


def watch_others() -> None:
    """Stops with the other processes; call once they have found each other."""
    if _listener:
        _listener.watch_others()


def asked() -> bool:
    """Whether this or another process got SIGTERM."""
    return _listener is not None and _listener.asked.is_set()


def defer():
    """While this context lasts, SIGTERM only makes `asked()` true."""
    return _listener.defer() if _listener else contextlib.nullcontext()


def allow():
    """Within `defer()`: while this context lasts, it is not deferred."""
    return _listener.allow() if _listener else contextlib.nullcontext()
