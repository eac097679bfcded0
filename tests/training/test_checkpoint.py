"""Checkpoints: what is damaged is told and not used, which ones stay, saves that fail."""

import errno
import json
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from sora_jax import sharding
from sora_jax.sharding import P
from sora_jax.training import checkpoint, checkpoint_io
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.checkpoint_io import saved_steps
from sora_jax.training.digests import LANES, digest_arrays
from sora_jax.training.experiments import LoopConfig
from sora_jax.training.run_folder import lock, read_metrics
from sora_jax.types import TrainState
from tests.processes import run_python

pytestmark = [
    pytest.mark.usefixtures("one_device"),
    # Where a read fails, Orbax's thread may leave its other reads when warnings count again.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


def state_of(step, size=400):
    """A state whose numbers are random, and other ones at each step."""
    rng = np.random.default_rng(step)

    def tree():
        return {"w": jnp.asarray(rng.normal(size=(size, 3)), jnp.float32), "b": jnp.zeros(2)}

    key = jax.random.key_data(jax.random.key(step))
    moments = {"mu": tree(), "count": jnp.int32(step)}
    statistics = {"scale": jnp.ones(2)}
    return TrainState(jnp.int32(step), tree(), tree(), moments, key, statistics, jnp.float32(1))


def save(folder, *steps, **config):
    with Checkpoints(folder, LoopConfig(**config)) as checkpoints:
        for step in steps:
            checkpoints.save(state_of(step), step, {"next_index": step})


def restore(folder):
    with Checkpoints(folder, LoopConfig()) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(lambda: state_of(0)))
    return None if restored is None else (int(restored[0].step), *restored)


def assert_is(restored, step):
    number, state, loader = restored
    assert number == step and loader == {"next_index": step}
    jax.tree.map(np.testing.assert_array_equal, state, state_of(step))


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit(folder):
    path = largest_file(folder / "params")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGES = {
    "a flipped bit": flip_a_bit,
    "a cut file": lambda folder: largest_file(folder / "optimizer").write_bytes(b"x" * 9),
    "a missing file": lambda folder: largest_file(folder / "ema").unlink(),
    "a missing item": lambda folder: shutil.rmtree(folder / "loader"),
    "no digests": lambda folder: shutil.rmtree(folder / "digests"),
    "an empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "the loader of another step": lambda folder: (
        shutil.rmtree(folder / "loader"),
        shutil.copytree(folder.with_name("5") / "loader", folder / "loader"),
    ),
}


CAUSES = {"a cut file": "OUT_OF_RANGE: Error reading", "a missing file": "DATA_LOSS: Error reading"}
"""What is said to be the cause, which Orbax wraps in errors of its own."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_moved_and_not_used(tmp_path, capsys, damage):
    save(tmp_path, 5, 9)
    assert_is(restore(tmp_path), 9)
    assert "damaged" not in capsys.readouterr().err
    DAMAGES[damage](tmp_path / "checkpoints" / "9")
    assert_is(restore(tmp_path), 5)
    said = capsys.readouterr().err
    assert f"step 9 of {tmp_path} is damaged (" in said and "): step 5 is used" in said
    assert CAUSES.get(damage, "") in said
    assert saved_steps(tmp_path) == [5]
    (moved,) = (tmp_path / "damaged").iterdir()
    assert moved.name.startswith("9-")
    save(tmp_path, 9)  # training goes on and comes there again
    assert_is(restore(tmp_path), 9)


def test_a_run_all_of_whose_checkpoints_are_damaged_does_not_start_anew(tmp_path):
    save(tmp_path, 5, 9)
    for step in (5, 9):
        flip_a_bit(tmp_path / "checkpoints" / str(step))
    message = "step 9 .* is not what was saved.; step 5 .* is damaged .*: restore one, or its conf"
    with pytest.raises(ValueError, match=message):
        restore(tmp_path)
    assert saved_steps(tmp_path) == [5, 9]  # nothing is moved: it may be config.json that is wrong


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "no right to read"),
        OSError(errno.EIO, "the disk does not answer"),
        OSError(errno.ETIMEDOUT, "the server does not answer"),
        OSError(errno.ENOTCONN, "the mount is gone"),
        RuntimeError("UNAVAILABLE: the store does not answer"),
        RuntimeError("NOT_FOUND: [os_error_code='107'] the mount is gone"),
    ],
    ids=["rights", "disk", "server", "mount", "store", "mount of a store"],
)
def test_what_says_nothing_of_the_checkpoint_is_not_called_damage(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    save(tmp_path, 5, 9)
    monkeypatch.setattr(checkpoint_io.ocp, "load_checkpointables", fail)
    with pytest.raises(OSError, match=str(error)[-10:]):
        restore(tmp_path)
    assert saved_steps(tmp_path) == [5, 9]


def test_nothing_is_moved_if_too_many_files_are_open(tmp_path):
    """Orbax hides that error, so all checkpoints look damaged."""
    save(tmp_path, 5, 9)
    code = f"""
import os, resource
import jax
from sora_jax import sharding
from tests.training.test_checkpoint import restore
with sharding.use_mesh():
    jax.block_until_ready(jax.numpy.zeros(3) + 1)
    limit = len(os.listdir("/proc/self/fd")) + 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    restore({str(tmp_path)!r})
"""
    run_python("-c", code, code=1, PYTHONPATH=".")
    assert saved_steps(tmp_path) == [5, 9] and not (tmp_path / "damaged").exists()


def test_old_checkpoints_go_but_for_multiples_and_the_best(tmp_path):
    config = LoopConfig(keep=2, keep_every=4, keep_best="loss of held-out clips")
    with Checkpoints(tmp_path, config) as checkpoints:
        for step in range(1, 9):
            checkpoints.save(state_of(step), step, {"next_index": step})
            checkpoints.note_score(step, {"loss of held-out clips": abs(step - 3), "loss": step})
    assert saved_steps(tmp_path) == [3, 4, 7, 8]
    config = LoopConfig(keep=1, keep_best="psnr_db")  # of what is no loss, the most is best
    with Checkpoints(tmp_path, config) as checkpoints:
        for step, score in ((3, 20.0), (4, 30.0), (7, 25.0), (8, float("nan"))):
            checkpoints.note_score(step, {"psnr_db": score})
        checkpoints.save(state_of(9), 9, {"next_index": 9})
    assert saved_steps(tmp_path) == [4, 9]


def test_a_save_that_fails_is_said_cleaned_up_and_tried_again(tmp_path, monkeypatch, capsys):
    start, clock = checkpoint_io.ocp.save_checkpointables_async, [0.0]

    def fill_disk(path, items):
        path.with_name(f"{path.name}.orbax-checkpoint-tmp").mkdir()

        class Response:
            def result(self):
                raise OSError(errno.ENOSPC, "No space left on device")

        return Response()

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    with Checkpoints(tmp_path, LoopConfig()) as checkpoints:
        checkpoints.save(state_of(1), 1, {"next_index": 1})
        checkpoints.wait()
        monkeypatch.setattr(checkpoint_io.ocp, "save_checkpointables_async", fill_disk)
        checkpoints.save(state_of(2), 2, {"next_index": 2})
        assert not checkpoints.wait() and checkpoints.failed == 1
        said = capsys.readouterr().err
        assert "step 2 was not saved, training goes on: [Errno 28] No space left" in said
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
        assert not checkpoints.wants_save()
        clock[0] += checkpoint.RETRY_SECONDS + 1
        assert checkpoints.wants_save()
        monkeypatch.setattr(checkpoint_io.ocp, "save_checkpointables_async", start)
        checkpoints.save(state_of(3), 3, {"next_index": 3})
        assert checkpoints.wait() and not checkpoints.wants_save()
        monkeypatch.setattr(checkpoint_io.ocp, "save_checkpointables_async", fill_disk)
        monkeypatch.setattr(checkpoint.time, "sleep", lambda seconds: None)
        with pytest.raises(OSError, match="step 4 of .* cannot be saved; the steps before it are"):
            checkpoints.save_last(state_of(4), 4, {"next_index": 4})
        assert checkpoints.failed == 1 + checkpoint.LAST_TRIES
    assert_is(restore(tmp_path), 3)


def test_minutes_ask_for_a_save(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    with Checkpoints(tmp_path, LoopConfig(save_minutes=2.0)) as checkpoints:
        for seconds, wanted in ((119, False), (2, True), (30, True)):
            clock[0] += seconds
            assert checkpoints.wants_save() == wanted
        checkpoints.save(state_of(1), 1, {"next_index": 1})
        assert not checkpoints.wants_save()
    with Checkpoints(tmp_path, LoopConfig(save_minutes=0.0)) as checkpoints:
        clock[0] += 1e9
        assert not checkpoints.wants_save()


def mixed(x):
    """The finalizer of MurmurHash3 on Python's integers."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return x


def test_a_digest_is_the_sum_of_its_definition():
    array = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    sums = [0, 0]
    for i, bits in enumerate(array.ravel().view(np.uint32).tolist()):
        for lane, salt in enumerate(LANES):
            sums[lane] += mixed(bits ^ mixed((i + salt) % 2**32))
    expected = "".join(f"{total % 2**32:08x}" for total in sums)
    assert digest_arrays({"a": array}) == {"a": expected}


def test_any_change_changes_a_digest():
    array = np.random.default_rng(0).normal(size=(40,)).astype(np.float32)
    changes, rng = [array], random.Random(0)
    for _ in range(20):
        one, other = rng.sample(range(40), 2)
        bits, swapped, signs = (array.copy() for _ in range(3))
        bits.view(np.uint32)[one] ^= 1 << rng.randrange(32)
        swapped[[one, other]] = swapped[[other, one]]
        signs[[one, other]] *= -1
        changes += [bits, swapped, signs]
    found = {digest_arrays({"a": change})["a"] for change in changes}
    assert len(found) == len({change.tobytes() for change in changes})


def test_copies_that_differ_between_devices_are_named():
    """Each device of a process digests what it holds of a replicated array."""
    mesh = sharding.make_mesh(devices=jax.devices()[:2])
    everywhere = jax.sharding.NamedSharding(mesh, P())

    def replicate(*numbers):
        pairs = zip(numbers, mesh.devices.flat, strict=True)
        parts = [jax.device_put(np.float32([1, number]), device) for number, device in pairs]
        return jax.make_array_from_single_device_arrays((2,), everywhere, parts)

    with jax.set_mesh(mesh):
        assert digest_arrays({"w": replicate(2, 2)}) == digest_arrays({"w": np.float32([1, 2])})
        with pytest.raises(ValueError, match="^w is not the same on .*0 and .*1: one of them is"):
            digest_arrays({"w": replicate(2, 3)})


def test_a_digest_is_that_of_any_mesh():
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.normal(size=(8, 16)).astype(np.float32),
        "h": rng.normal(size=(4, 8)).astype(jnp.bfloat16),
        "flag": np.array(True),
    }
    expected = digest_arrays(arrays)
    with sharding.use_mesh(sharding.MeshConfig(2, 2, 1, 2)):
        specs = {"w": P("fsdp", ("data", "tensor")), "h": P("tensor", None), "flag": P()}
        assert digest_arrays(sharding.shard(arrays, specs)) == expected


def test_two_trainings_in_one_folder_are_refused_by_name(tmp_path):
    code = f"from sora_jax.training.run_folder import lock\nwith lock({str(tmp_path)!r}): pass"
    with lock(tmp_path):
        refused = run_python("-c", code, code=1).stderr
        assert f"{tmp_path} is being trained by process " in refused
    run_python("-c", code)


def test_a_stuck_process_says_where_and_ends():
    code = """
import sys, time
from sora_jax.training.watchdog import Watchdog
with Watchdog(minutes=2 / 60) as watchdog:
    for _ in range(3):
        time.sleep(1.2)
        watchdog.reset()
    print("goes on", flush=True)
    def wait_for_a_peer():
        time.sleep(100)
    wait_for_a_peer()
"""
    done = run_python("-c", code, code=1)
    assert done.stdout == "goes on\n"
    assert "Timeout (0:00:02)!" in done.stderr and "in wait_for_a_peer" in done.stderr


def test_a_save_or_an_evaluation_may_take_longer_but_not_for_ever():
    code = """
import time
from sora_jax.training import watchdog
watchdog.PATIENCE = 3
with watchdog.Watchdog(minutes=1 / 60) as dog:
    with dog.patient():
        time.sleep(2)
    print("goes on", flush=True)
    with dog.patient():
        time.sleep(100)
"""
    done = run_python("-c", code, code=1)
    assert done.stdout == "goes on\n" and "Timeout (0:00:03)!" in done.stderr


def test_notes_of_a_full_disk_do_not_end_a_run(tmp_path, monkeypatch, capsys):
    from sora_jax.training import metrics

    def fill_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    lines = metrics.Metrics(epath.Path(tmp_path), 0, 9, True)
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "write_whole", fill_disk)
        lines.log(1, {"loss": 2.0})
        lines.flush()
    assert "metrics.jsonl is not written yet: [Errno 28]" in capsys.readouterr().err
    lines.log(2, {"loss": float("nan")})
    lines.flush()
    path = tmp_path / "metrics.jsonl"
    written = [json.loads(x) for x in path.read_text().splitlines()]
    assert written == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}]
    file = path.stat().st_ino  # lines are appended from now on
    lines.log(3, {"loss": 3.0})
    lines.flush()
    lines.flush()
    assert path.stat().st_ino == file and path.read_text().count("\n") == 3
    path.write_text(path.read_text()[:-4])  # a killed process left half of its last line
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    lines = metrics.Metrics(epath.Path(tmp_path), 1, 9, True)  # it goes on from step 1
    lines.log(2, {"loss": 4.0})
    lines.flush()
    assert [line["loss"] for line in read_metrics(tmp_path)] == [2.0, 4.0]


def test_a_checkpoint_in_an_object_store_is_one_once_it_is_committed(tmp_path, monkeypatch):
    """Folders there cannot be renamed: Orbax writes a file last."""
    save(tmp_path, 5, 9)
    (tmp_path / "checkpoints" / "9" / checkpoint_io.COMMITTED).unlink()
    assert saved_steps(tmp_path) == [5, 9]
    monkeypatch.setattr(checkpoint_io, "is_in_object_store", lambda path: True)
    assert saved_steps(tmp_path) == [5]
    checkpoint_io.remove_partial(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["5"]


def test_a_checkpoint_that_is_removed_while_it_is_read_is_not_called_damaged(tmp_path, monkeypatch):
    save(tmp_path, 5)
    load = checkpoint_io.ocp.load_checkpointables

    def remove_first(path, *arguments):
        if path.name == "5":
            save(tmp_path, 9, keep=1)
        return load(path, *arguments)

    monkeypatch.setattr(checkpoint_io.ocp, "load_checkpointables", remove_first)
    assert_is(restore(tmp_path), 9)
    assert not (tmp_path / "damaged").exists()
