"""Work that is cut into shards, shared by workers, and goes on where it stopped.

Workers take every n-th shard and need nothing of each other. A shard that is done is not made
again, and the worker that finds all of them done finishes the folder.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Share(NamedTuple):
    """One worker's share of the work.

    Attributes:
      worker: number of this worker, from 0.
      workers: number of workers.
    """

    worker: int = 0
    workers: int = 1


class ShardJob(Protocol):
    """One shard that is to be written."""

    @property
    def size(self) -> int:
        """Number of records."""
        ...

    def is_done(self) -> bool:
        """Whether an earlier call, or another worker, has written the shard."""
        ...

    def run(self, progress: Callable[[int], None]) -> None:
        """Writes the shard; `progress` is called with the number of records done."""
        ...


def run_jobs(jobs: Sequence[ShardJob], share: Share, progress: Callable[[int, int], None]) -> int:
    """Runs this worker's jobs that are not done.

    Args:
      progress: called with (records done, records of this share).

    Returns:
      The number of jobs, of all workers, that are still to be done.
    """
    mine = jobs[share.worker :: share.workers]
    done, total = 0, sum(job.size for job in mine)
    for job in mine:
        if job.is_done():
            progress(done + job.size, total)
        else:
            job.run(lambda records, before=done: progress(before + records, total))
        done += job.size
    return sum(not job.is_done() for job in jobs)
