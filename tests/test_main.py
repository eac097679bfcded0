"""The command line says in one line what went wrong."""

import pathlib
import signal
import subprocess
import sys
import types

import pytest

from sora_jax import main
from tests.processes import run_command


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


NOT_FINITE = """
import contextlib, importlib, io, os, sys
from absl import flags
from absl.testing import flagsaver
from sora_jax import main
name = sys.argv[1]
module = importlib.import_module(f"sora_jax.commands.{main.MODULES.get(name, name)}")
for flag in flags.FLAGS.get_key_flags_for_module(module):
    if flag.flag_type() != "float":
        continue
    for number in ("nan", "inf", "-inf"):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), flagsaver.flagsaver():
            try:
                main.run([name, f"--{flag.name}={number}"])
            except SystemExit as ended:
                print(flag.name, number, ended.code, said.getvalue().strip(), sep="|")
sys.stdout.flush()
os._exit(0)
"""


def takes_floats(name):
    module = main.MODULES.get(name, name)
    return (
        "DEFINE_float" in (pathlib.Path(main.__file__).parent / f"commands/{module}.py").read_text()
    )


@pytest.mark.parametrize("name", [name for name in main.COMMANDS if takes_floats(name)])
def test_no_flag_takes_a_number_that_is_not_finite(name):
    lines = run_command(name, prelude=NOT_FINITE).stdout.splitlines()
    assert len(lines) >= 3
    for line in lines:
        flag, number, code, said = line.split("|")
        assert code == "2" and said.startswith(f"sora-jax {name}: "), line
        outside = f"flag --{flag}={number}: {number} is not"  # of the bounds
        assert f": --{flag}={number}: give it a finite number" in said or outside in said, line
