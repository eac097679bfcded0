"""The command line says in one line what went wrong."""

import signal
import subprocess
import sys
import types

import pytest

from sora_jax import main


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied", "/a/film.mp4"), OSError(28, "No space left", "/b")],
)
def test_files_that_cannot_be_used_are_named(error, monkeypatch, capsys):
    def refuse():
        raise error

    command = types.SimpleNamespace(import_module=lambda _: types.SimpleNamespace(main=refuse))
    monkeypatch.setattr(main, "importlib", command)
    with pytest.raises(SystemExit) as ended:
        main.run(["export"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"sora-jax export: {error}\n" and error.filename in str(error)


def test_a_reader_that_has_gone_ends_a_command_without_a_word():
    command = [sys.executable, "-m", "sora_jax.main", "info"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE
    process.stderr.close()
