"""Where a run's time goes adds up to all of it; rates are of steps and of waiting for data."""

import json
import types

import pytest
from etils import epath

from sora_jax.training import profile, speed
from sora_jax.training.clock import BUCKETS, Clock
from sora_jax.training.profile import Profile
from sora_jax.training.speed import Speed
from sora_jax.training.task import StepWork


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


def test_each_second_counts_once():
    time = Time()
    clock = Clock(time)
    time.now += 3
    clock.enter("train")
    time.now += 10
    with clock.spend("save"):
        time.now += 5
        with pytest.raises(OSError), clock.spend("evaluate"):
            time.now += 7
            raise OSError
        time.now += 1
    time.now += 2
    expected = dict.fromkeys(BUCKETS, 0.0) | {"start": 3, "train": 12, "save": 6, "evaluate": 7}
    assert clock.read() == expected and sum(expected.values()) == time.now - 50


def test_rates_are_of_steps_alone(tmp_path, monkeypatch, capsys):
    time = Time()
    monkeypatch.setattr(speed.jax, "device_count", lambda: 4)
    work = StepWork("tokens", 1000, 0.75, flops=8e12, peak_flops=5e12)
    clock = Clock(time)
    run = Speed(epath.Path(tmp_path), work, clock, start=10, steps=30, writes=True)
    time.now += 20  # before the first step
    clock.enter("compile")
    time.now += 30  # step 11
    clock.enter("train")
    with clock.spend("data"):
        time.now += 2
    time.now += 4
    with clock.spend("evaluate"):
        time.now += 100
    run.log(14, "loss: 0.5000")
    (line,) = map(json.loads, (tmp_path / "speed.jsonl").read_text().splitlines())
    assert line["step"] == 14 and line["seconds_per_step"] == 2 and line["useful_share"] == 0.75
    assert line["tokens_per_second"] == 500 and line["tflops_per_device"] == 1
    assert line["mfu"] == pytest.approx(0.2)
    assert sum(line["seconds"].values()) == 156 and line["seconds"]["data"] == 2
    said = capsys.readouterr().out
    assert "completed step: 14, seconds: 2, TFLOP/s/device: 1, loss: 0.5000" in said
    assert "32 s left" in said


def test_nothing_is_said_of_the_speed_of_a_step_that_compiles(tmp_path, capsys):
    time = Time()
    work = StepWork("tokens", 1000, flops=8e12, peak_flops=5e12)
    clock = Clock(time)
    run = Speed(epath.Path(tmp_path), work, clock, start=10, steps=30, writes=True)
    with clock.spend("data"):
        time.now += 0.01
    clock.enter("compile")
    time.now += 30
    assert not {"seconds_per_step", "mfu"} & set(run.log(11, "loss: 0.5"))
    assert capsys.readouterr().out == "completed step: 11 of 30, loss: 0.5\n"
    clock.enter("train")
    time.now += 3
    assert run.log(12, "")["seconds_per_step"] == 3


def test_a_profile_has_the_steps_that_were_asked_for(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(profile.jax.profiler, "start_trace", lambda folder: calls.append("start"))
    monkeypatch.setattr(profile.jax.profiler, "stop_trace", lambda: calls.append("stop"))
    for steps in (0, 2):
        with Profile(epath.Path(tmp_path), start=100, steps=steps) as recorded:
            for step in range(101, 116):
                recorded.before(step)
                calls.append(step)
    assert calls == [*range(101, 116), *range(101, 111), "start", 111, 112, "stop", 113, 114, 115]
    with pytest.raises(OSError), Profile(epath.Path(tmp_path), start=0, steps=9) as recorded:
        recorded.before(11)
        raise OSError  # the file is written all the same
    assert calls[-2:] == ["start", "stop"]


def test_a_profile_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    (tmp_path / "profile").write_text("no folder")
    with Profile(epath.Path(tmp_path), 0, 1) as recorded:
        for step in range(1, profile.FIRST + 3):
            recorded.before(step)
    assert f"{tmp_path / 'profile'} is not written: " in capsys.readouterr().err


def test_the_peak_of_memory_is_in_gib(tmp_path, monkeypatch):
    device = types.SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 3 * 2**30})
    monkeypatch.setattr(speed.jax, "local_devices", lambda: [device])
    time = Time()
    run = Speed(epath.Path(tmp_path), StepWork("tokens", 1.0), Clock(time), 0, 9, True)
    time.now += 1
    assert run.log(2, "")["peak_memory_gib"] == 3
