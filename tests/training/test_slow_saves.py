"""Saves that fail or take long: training goes on, in all processes alike."""

import concurrent.futures
import threading

from sora_jax.training import checkpoint, checkpoint_io
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.checkpoint_io import saved_steps
from sora_jax.training.experiments import LoopConfig
from tests.training.test_checkpoint import state_of


class Stuck:
    """A save that ends when it is told to."""

    def __init__(self):
        self.go_on = threading.Event()
        self.result = self.go_on.wait


def test_a_save_is_left_to_itself_where_another_process_fails_in_it(tmp_path, monkeypatch, capsys):
    """Another process says first that all is well, then that it failed; this one waits in Orbax."""
    start, stuck, fails = checkpoint_io.start_saving, Stuck(), [False, False, True, True]

    def is_true_everywhere(answer):
        return answer and not (fails and fails.pop(0))

    monkeypatch.setattr(checkpoint, "POLL_SECONDS", 0.01)
    with Checkpoints(tmp_path, LoopConfig()) as checkpoints:
        monkeypatch.setattr(checkpoint_io, "start_saving", lambda *_: stuck)
        checkpoints.save(state_of(1), 1, {"next_index": 1})
        monkeypatch.setattr(checkpoint_io, "start_saving", start)
        monkeypatch.setattr(checkpoint, "is_true_everywhere", is_true_everywhere)
        assert not checkpoints.wait() and checkpoints.failed == 1
        assert "another process could not write its part" in capsys.readouterr().err
        fails.clear()
        checkpoints.save(state_of(2), 2, {"next_index": 2})
        assert checkpoints.wait()
        stuck.go_on.set()
    assert saved_steps(tmp_path) == [2] and checkpoints.failed == 1


def test_a_save_is_put_off_while_the_one_before_is_not_done(tmp_path, monkeypatch):
    clock, start, stuck = [100.0], checkpoint_io.start_saving, Stuck()
    monkeypatch.setattr(checkpoint, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    polls, wait = [], concurrent.futures.wait

    def counted(*arguments):
        polls.append(clock[0])
        return wait(*arguments)

    with Checkpoints(tmp_path, LoopConfig(save_minutes=2.0)) as checkpoints:
        monkeypatch.setattr(checkpoint_io, "start_saving", lambda *_: stuck)
        checkpoints.save(state_of(1), 1, {"next_index": 1})
        monkeypatch.setattr(checkpoint_io, "start_saving", start)
        monkeypatch.setattr(concurrent.futures, "wait", counted)
        clock[0] += 121.0
        assert checkpoints.wants_save()
        checkpoints.save(state_of(2), 2, {"next_index": 2})
        assert len(polls) == checkpoint.PATIENCE
        assert not checkpoints.wants_save() and checkpoints.failed == 0
        clock[0] += checkpoint.RETRY_SECONDS + 1
        assert checkpoints.wants_save()
        checkpoints.save(state_of(2), 2, {"next_index": 2})  # it still waits, and only looks
        assert len(polls) == checkpoint.PATIENCE + 1 and not checkpoints.wants_save()
        stuck.go_on.set()
        checkpoints.save_last(state_of(3), 3, {"next_index": 3})
        assert not checkpoints.wants_save()
    assert saved_steps(tmp_path) == [3] and checkpoints.failed == 0
