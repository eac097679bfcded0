"""SIGTERM: a training saves and exits with its own code, all else at once; after two, all does."""

import json
import signal
import subprocess
import sys
import time

import pytest

from sora_jax import apart
from sora_jax.stopping import EXIT_CODE, Stopped
from sora_jax.training.checkpoint_io import saved_steps
from tests.processes import run_command, run_python
from tests.test_processes import TERMINATE
from tests.tiny_run import CONFIG, write_data

LISTEN = """
import os, signal, sys, time
from sora_jax import stopping
"""


def test_signals_are_handled_until_the_process_ends():
    """Another process may stop first, and its announcement come with a signal of this one's own."""
    code = f"""{LISTEN}
for number in range(20):
    try:
        with stopping.listen():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(9)
    except stopping.Stopped:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        signal.getsignal(signal.SIGTERM)()  # raises nothing: it unwinds already
print("done")
os._exit(0)
"""
    assert run_python("-c", code).stdout == "done\n"


def test_work_done_apart_that_is_stopped_stops_those_who_wait(monkeypatch):
    told = {}
    monkeypatch.setattr(apart.processes, "announce", told.__setitem__)
    monkeypatch.setattr(apart.processes, "read_announcement", told.get)

    def stop():
        raise Stopped()

    with pytest.raises(Stopped):
        apart._do("work", stop, lambda result: result)
    with pytest.raises(Stopped):
        apart._wait("work", [0])


def test_it_is_raised_where_nothing_is_to_be_saved():
    code = f"""{LISTEN}
try:
    with stopping.listen():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(9)
except stopping.Stopped as stopped:
    print(stopped)
    sys.exit(stopped.code)
"""
    done = run_python("-c", code, code=EXIT_CODE)
    assert done.stdout.startswith("stopped by SIGTERM; nothing of what was finished is lost: give")


def test_what_was_not_deferred_is_not_after_it_is_allowed():
    code = f"""{LISTEN}
with stopping.listen():
    with stopping.allow():
        pass
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        print("not here", flush=True)
    except stopping.Stopped as stopped:
        sys.exit(stopped.code)
"""
    assert run_python("-c", code, code=EXIT_CODE).stdout == ""


def test_it_is_only_noted_where_it_is_deferred():
    code = f"""{LISTEN}
with stopping.listen():
    with stopping.defer():
        assert not stopping.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        assert stopping.asked()
        print("saved", flush=True)
        with stopping.allow():
            print("not here")
"""
    done = run_python("-c", code, code=EXIT_CODE)
    assert done.stdout == "saved\n"


@pytest.mark.parametrize(
    ("seconds", "signals", "within"), [(0.5, 1, 20), (60, 2, 20)], ids=["late", "twice"]
)
def test_a_main_thread_that_runs_no_python_ends_all_the_same(seconds, signals, within):
    """Nor does it while XLA compiles; a long hash, without the interpreter's lock, is like that."""
    code = f"""{LISTEN}
import hashlib
stopping.UNWIND_SECONDS = {seconds}
with stopping.listen():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert process.wait(within) == EXIT_CODE
    finally:
        process.kill()
        process.stdout.close()


@pytest.mark.slow
def test_a_training_saves_and_ends_as_if_it_had_not_been_stopped(tmp_path):
    write_data(tmp_path)
    (tmp_path / "config.py").write_text(CONFIG)

    def train(name, **options):
        arguments = [f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / name}"]
        arguments += [f"--config.data={tmp_path / 'latents'}", "--config.optimizer.steps=9"]
        arguments += ["--config.loop.save_every=50"]
        return run_command("train", *arguments, **options)

    stopped = train("stopped", code=EXIT_CODE, prelude=TERMINATE)
    (step,) = saved_steps(tmp_path / "stopped")
    assert 3 <= step < 9
    message = f"sora-jax train: stopped by SIGTERM; step {step} is saved: give the same command"
    assert message in stopped.stderr
    for name in ("stopped", "straight"):
        train(name)
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("stopped", "straight")]
    assert metrics[0] == metrics[1] and len(metrics[0].splitlines()) == 9
    assert all(json.loads(line)["skipped"] == 0 for line in metrics[0].splitlines())
