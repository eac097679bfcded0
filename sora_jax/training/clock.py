"""Where the time of a run goes."""

import contextlib
import time
from collections.abc import Callable, Iterator

BUCKETS = ("start", "compile", "train", "data", "save", "evaluate")
"""Up to the first step; the first step; steps; waiting for batches, for checkpoints, evaluations.

Their sum is the time since the clock was made. `train` is the time in which the devices work, and
in which the host waits for them.
"""


class Clock:
    """Counts the seconds spent in each of `BUCKETS`, one at a time.

    Attributes:
      seconds: by bucket; up to date after `enter`.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        """Starts in the first bucket."""
        self.seconds: dict[str, float] = dict.fromkeys(BUCKETS, 0.0)
        self._now, self._bucket, self._since = now, BUCKETS[0], now()

    def enter(self, bucket: str) -> str:
        """From now on, time counts as that bucket's; returns the one before."""
        now, before = self._now(), self._bucket
        self.seconds[before] += now - self._since
        self._bucket, self._since = bucket, now
        return before

    @contextlib.contextmanager
    def spend(self, bucket: str) -> Iterator[None]:
        """Within this context, time counts as that bucket's."""
        before = self.enter(bucket)
        try:
            yield
        finally:
            self.enter(before)

    def read(self) -> dict[str, float]:
        """Seconds by bucket, up to now."""
        self.enter(self._bucket)
        return dict(self.seconds)
