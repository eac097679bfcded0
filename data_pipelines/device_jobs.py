"""Shards that JAX processes make on their devices; `shard_jobs` needs no JAX."""

import functools
from collections.abc import Callable, Sequence

import jax

from data_pipelines.shard_jobs import ShardJob, Share, run_jobs
from sora_jax import apart


def run_together(
    jobs: Sequence[ShardJob],
    share: Share,
    progress: Callable[[int, int], None],
    finish: Callable[[], None],
) -> int:
    """Runs this worker's jobs in all of its JAX processes, each a part; see `run_jobs`.

    Args:
      progress: called by each process, of its own part.
      finish: called on process 0 when no jobs are left, of any worker.

    Returns:
      The number of jobs, of all workers, that are still to be done; the same in all processes.

    Raises:
      ValueError: a job failed, in any process.
    """
    number, count = jax.process_index(), jax.process_count()
    part = Share(share.worker + share.workers * number, share.workers * count)
    apart.everywhere(functools.partial(run_jobs, jobs, part, progress))

    def end() -> int:
        left = sum(not job.is_done() for job in jobs)
        if not left:
            finish()
        return left

    return apart.on_first(end)
