"""Jobs run in processes: all are done, the first error ends them, none outlives its parent."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines.shard_jobs import Share, cut_into_shards, run_jobs

SCRIPT = """
import pathlib
from data_pipelines.shard_jobs import Share, run_jobs
from tests.data_pipelines.test_shard_jobs import Job

if __name__ == "__main__":
    jobs = [Job(pathlib.Path("{folder}"), i, "wait") for i in range(2)]
    run_jobs(jobs, Share(), lambda *_: None, processes=2)
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """Writes a file of three records, or fails as `fate` says."""

    folder: pathlib.Path
    number: int
    fate: str = ""
    size: int = 3

    @property
    def path(self):
        return self.folder / f"job-{self.number}"

    def is_done(self):
        return self.path.exists()

    def run(self, progress):
        progress(1)
        if self.fate == "fail":
            raise ValueError(f"job {self.number} failed")
        if self.fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.fate == "wait":
            (self.folder / f"pid-{os.getpid()}").touch()
            time.sleep(0.02)
            progress(2)
        progress(3)
        self.path.write_text(str(os.getpid()))


def test_shards_are_full_but_the_last():
    assert cut_into_shards(7, 3) == [range(3), range(3, 6), range(6, 7)]
    assert cut_into_shards(6, 3) == [range(3), range(3, 6)] and cut_into_shards(0, 3) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_only_this_workers_jobs_that_are_not_done_are_run(tmp_path, processes):
    jobs = [Job(tmp_path, i) for i in range(9)]
    jobs[2].path.write_text("done before")
    calls = []
    left = run_jobs(jobs, Share(0, 2), lambda *call: calls.append(call), processes)
    assert left == 4 and jobs[2].path.read_text() == "done before"
    assert {path.name for path in tmp_path.iterdir()} == {f"job-{i}" for i in (0, 2, 4, 6, 8)}
    assert calls == sorted(calls) and calls[0] == (3, 15) and calls[-1] == (15, 15)
    here = {jobs[i].path.read_text() == str(os.getpid()) for i in (0, 4, 6, 8)}
    assert here == {processes == 1}
    calls.clear()
    run_jobs(jobs, Share(0, 2), lambda *call: calls.append(call), processes)
    assert calls == [(15, 15)]


def test_the_first_error_ends_all_processes(tmp_path):
    fates = ["wait", "fail"]
    with pytest.raises(ValueError, match="job 1 failed"):
        jobs = [Job(tmp_path, i, fate) for i, fate in enumerate(fates)]
        run_jobs(jobs, Share(), lambda *_: None, processes=2)
    assert not any(job.is_done() for job in jobs)


def test_a_killed_process_is_told_in_one_line(tmp_path):
    jobs = [Job(tmp_path, i, "die") for i in range(2)]
    with pytest.raises(OSError, match="a process was killed.*the same call goes on") as error:
        run_jobs(jobs, Share(), lambda *_: None, processes=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_their_parent(tmp_path, ending):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=tmp_path))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE)
    while len(pids := list(tmp_path.glob("pid-*"))) < 2:
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.05)
    parent.send_signal(ending)
    parent.communicate()
    for path in pids:
        pid, waited = int(path.name.removeprefix("pid-")), 0
        while is_running(pid) and waited < 100:
            time.sleep(0.05)
            waited += 1
        assert not is_running(pid)


def is_running(pid):
    """Whether there is such a process, other than one that ended and waits to be seen."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
