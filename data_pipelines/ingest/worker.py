"""Runs `extract` on one file after the other, each in a fresh process with limits.

A `Worker` has one warm server process, which has everything imported and no threads; for each file
it forks a child that has limits on memory and processor time, and kills it when its time is over.
All that comes back is JSON and files. The server is started by its module's name and not by
`multiprocessing`, which would import the caller's main module again for every file.
"""

import contextlib
import errno
import gc
import json
import math
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import time
from typing import Any

from data_pipelines.ingest.config import IngestConfig, from_dict

_UNWRITABLE = "cannot write"  # no fault of the file's
_NO_MEMORY = 3  # exit code; a child that is out of memory cannot say more


class Worker:
    """Extracts clips in bounded processes, one file at a time; bad files cannot end the caller."""

    def __init__(self):
        self._server: subprocess.Popen | None = None

    def extract(
        self,
        path: os.PathLike,
        folder: os.PathLike,
        config: dict[str, Any],
        part: tuple[float, float] = (0.0, math.inf),
    ) -> dict[str, Any]:
        """Runs `extract.extract` on local paths.

        Args:
          part: start and stop in seconds of what is extracted.

        Returns:
          The report with a `reason`: "", or why the file is rejected; then there is no more.

        Raises:
          OSError: the folder cannot be written, or another thread closed the worker.
        """
        job = {"path": os.fspath(path), "folder": os.fspath(folder), "config": config, "part": part}
        server = self._running()
        try:
            server.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
            server.stdin.flush()  # type: ignore[union-attr]
            report = json.loads(server.stdout.readline())  # type: ignore[union-attr]
        except (BrokenPipeError, ValueError) as error:
            if self._server is not server:  # as Ctrl-C does: no fault of the file's
                raise OSError("the worker was closed") from error
            self.close()
            return {"reason": "crashed", "detail": "with its server"}
        if report["reason"] == _UNWRITABLE:
            raise OSError(f"cannot write clips to {folder}: {report['detail']}")
        return report

    def close(self) -> None:
        """Ends the server and, if it has one, its child."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.communicate()

    def _running(self) -> subprocess.Popen:
        if self._server is None:
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            self._server = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "data_pipelines.ingest.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,  # Ctrl-C is for the caller, whose end it sees
            )
        return self._server


def serve() -> None:
    """Serves jobs from stdin, one line of JSON each, until the caller is gone."""
    from data_pipelines.ingest import extract  # noqa: F401  so that children have it

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        config = from_dict(job["config"])
        answers.write(json.dumps(_run_bounded(job, config, answers)) + "\n")
        answers.flush()


def _run_bounded(job: dict[str, Any], config: IngestConfig, answers) -> dict[str, Any]:
    """Forks a child for the job, waits for it within its time limit, and returns its report."""
    reading, writing = os.pipe()
    faults, fault_writing = os.pipe()
    used = _read_memory("VmSize")  # the child begins with the same
    start = time.monotonic()
    child = os.fork()
    if not child:
        answers.close()
        os.close(reading)
        os.close(faults)
        _run_child(job, config, used, writing, fault_writing)
    os.close(writing)
    os.close(fault_writing)
    said, end = _listen(reading, faults, start + config.limits.wall_seconds)
    starved = False
    with contextlib.suppress(OSError, IndexError):  # unless it has ended meanwhile
        starved = end == "fault" and _is_near_limit(config, used, child)
    if end != "said":
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    os.close(faults)
    _, status, usage = os.wait4(child, 0)
    code = -signal.SIGSEGV if end == "fault" else os.waitstatus_to_exitcode(status)
    took = {
        "seconds": round(time.monotonic() - start, 3),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_megabytes": usage.ru_maxrss // 1000,
    }
    code = _NO_MEMORY if starved else code
    return _interpret_exit(code, end == "late", said, config) | {"took": took}


def _listen(reading: int, faults: int, until: float) -> tuple[bytes, str]:
    """Returns what a child says and what ended that: "said", "fault", "late" or "caller gone"."""
    said = b""
    while True:
        wait = max(0, until - time.monotonic())
        ready, *_ = select.select([reading, faults, sys.stdin], [], [], wait)
        if faults in ready and os.read(faults, 1):
            return said, "fault"
        if reading in ready:
            part = os.read(reading, 1 << 16)
            if not part:
                return said, "said"
            said += part
        elif not ready:
            return said, "late"
        elif sys.stdin in ready:
            return said, "caller gone"


def _interpret_exit(code: int, late: bool, said: bytes, config: IngestConfig) -> dict[str, Any]:
    """Returns the report of the child, or a rejection that follows from its exit code."""
    limits = config.limits
    if late or code == -signal.SIGXCPU:
        return {"reason": "time limit", "detail": f"more than {limits.wall_seconds:g} s"}
    if code == _NO_MEMORY:
        return {"reason": "memory limit", "detail": f"more than {limits.memory_megabytes} MB"}
    if code:
        return {"reason": "crashed", "detail": f"signal {-code}" if code < 0 else f"exit {code}"}
    return json.loads(said)


def _run_child(
    job: dict[str, Any], config: IngestConfig, used: int, writing: int, fault_writing: int
) -> None:
    """Runs in the child: sets its limits, extracts, reports, and never returns."""
    from data_pipelines.ingest.extract import Unwritable, extract
    from sora_jax.media import Rejected

    code = 1
    with contextlib.suppress(BaseException):
        try:
            os.dup2(1, 0)
            os.dup2(1, 2)
            _tell_faults(fault_writing)
            _set_limits(config, used)
            path, folder = pathlib.Path(job["path"]), pathlib.Path(job["folder"])
            report = {"reason": "", "detail": "", **extract(path, folder, config, job["part"])}
            if report["faults"] and _is_near_limit(config, used):  # damage may be lack of memory
                os._exit(_NO_MEMORY)
        except Unwritable as error:
            report = {"reason": _UNWRITABLE, "detail": str(error)}
        except Rejected as error:
            if error.reason == "does not decode" and _is_near_limit(config, used):
                os._exit(_NO_MEMORY)
            report = {"reason": error.reason, "detail": error.detail}
        except Exception as error:  # decoders raise anything
            code = _NO_MEMORY  # unless there was enough to find out that it is not that
            if _is_out_of_memory(error) or _is_near_limit(config, used):
                os._exit(code)
            report = {"reason": "does not decode", "detail": f"{type(error).__name__}: {error}"}
            code = 1
        with os.fdopen(writing, "w") as file:
            json.dump(report, file)
        code = 0
    os._exit(code)


def _tell_faults(writing: int) -> None:
    """Has a segmentation fault write a byte and wait, so that the server can look at this process.

    Libraries that get no memory often go on with a null pointer. Python's handler in C writes the
    byte and returns to the instruction that faults again, until the server ends the process.
    """
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing else has a byte written
    signal.signal(signal.SIGSEGV, lambda *_: None)


def _set_limits(config: IngestConfig, used: int) -> None:
    """Limits this process to so much memory above the bytes used, and to its time."""
    memory = used + config.limits.memory_megabytes * 1_000_000
    seconds = math.ceil(config.limits.wall_seconds) + 1
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_memory(name: str, process: int | str = "self") -> int:
    """Reads the bytes of address space that a process has (VmSize) or had at most (VmPeak)."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def _is_near_limit(config: IngestConfig, used: int, process: int | str = "self") -> bool:
    """Returns whether a process once had three quarters of the memory that it may have."""
    allowed = config.limits.memory_megabytes * 1_000_000
    return _read_memory("VmPeak", process) > used + allowed * 3 // 4


def _is_out_of_memory(error: Exception) -> bool:
    """Returns whether the error says so; codecs that lack memory fail in many other ways too."""
    code = getattr(error, "errno", None) == errno.ENOMEM or getattr(error, "code", None) == -4
    return isinstance(error, MemoryError) or code


if __name__ == "__main__":
    serve()
