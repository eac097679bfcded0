"""Work that is cut into shards, shared by workers, and goes on where it stopped.

Workers take every n-th shard and need nothing of each other. A shard that is done is not made
again, and the worker that finds all of them done finishes the folder.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Protocol

SECONDS_BETWEEN_CALLS = 0.5  # of the progress of processes


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


def cut_into_shards(records: int, size: int) -> list[range]:
    """Cuts records into shards of `size` records, the last of which may be smaller."""
    return [range(start, min(start + size, records)) for start in range(0, records, size)]


def run_jobs(
    jobs: Sequence[ShardJob],
    share: Share,
    progress: Callable[[int, int], None],
    processes: int = 1,
) -> int:
    """Runs this worker's jobs that are not done.

    Args:
      jobs: the jobs of all workers.
      share: number of this worker, and of all.
      progress: called with (records done, records of this share).
      processes: 1 runs the jobs in this process. More are spawned, so that jobs must be picklable
        and a script needs an `if __name__ == "__main__"` guard; each takes the next job that is
        not done.

    Returns:
      The number of jobs, of all workers, that are still to be done.

    Raises:
      OSError: a process was killed or did not start.
    """
    mine = jobs[share.worker :: share.workers]
    todo = [job for job in mine if not job.is_done()]
    total = sum(job.size for job in mine)
    done = total - sum(job.size for job in todo)
    if done:
        progress(done, total)
    processes = min(processes, len(todo))
    if processes > 1:
        _run_in_processes(todo, processes, lambda records: progress(done + records, total))
        todo = []
    for job in todo:
        if not job.is_done():
            job.run(lambda records, before=done: progress(before + records, total))
        done += job.size
    return sum(not job.is_done() for job in jobs)


def _run_in_processes(
    jobs: Sequence[ShardJob], processes: int, progress: Callable[[int], None]
) -> None:
    """Runs jobs in processes; they end with the first error, and with this process."""
    spawn: Any = multiprocessing.get_context("spawn")
    count, stop = spawn.Value("q", 0), spawn.Event()
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=spawn, initializer=_start_process, initargs=(count, stop)
    )
    try:
        waiting = {pool.submit(_run_job, job) for job in jobs}
        while waiting:
            ended, waiting = concurrent.futures.wait(
                waiting, SECONDS_BETWEEN_CALLS, concurrent.futures.FIRST_EXCEPTION
            )
            if count.value:
                progress(count.value)
            for future in ended:
                future.result()
    except BrokenProcessPool as error:
        raise OSError(
            "a process was killed or did not start, perhaps for want of memory; the same call goes "
            "on from here, with fewer processes if need be"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_shared: list[Any] = []  # in a process of `_run_in_processes`: records done by all, and "stop"


def _start_process(count, stop) -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent is killed."""
    _shared[:] = count, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _run_job(job: ShardJob) -> None:
    count, stop = _shared
    before = 0

    def progress(records: int) -> None:
        nonlocal before
        with count.get_lock():
            count.value += records - before
        before = records
        if stop.is_set():
            raise InterruptedError("another process failed, or the call was stopped")

    job.run(progress)
