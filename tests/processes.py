"""Commands in processes of their own, as people run them; imports no JAX."""

import importlib.metadata
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile

# Programs of tests are tiny and many: they are compiled without optimisation, in one piece each,
# and by the older emitters of fused loops, which JAX 0.11 dropped. That takes half of the time.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if [int(x) for x in importlib.metadata.version("jax").split(".")[:2]] < [0, 11]:
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"

_ENVIRONMENT = {"XLA_FLAGS": FAST_COMPILATION, "JAX_PLATFORMS": "cpu"}

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.preloaded"])


def run_python(*arguments, code=0, **environment):
    """Runs Python on one device; returns the finished process, which must exit with `code`.

    Args:
      arguments: what follows `python` on the command line.
      code: the expected exit status; None for any.
      environment: variables beside those of this process.
    """
    command = [sys.executable, *map(str, arguments)]
    variables = os.environ | _ENVIRONMENT | environment
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    return _check(done, code)


def run_command(*arguments, code=0, prelude=""):
    """Runs `sora-jax` with arguments; see `run_python` and `start_command`."""
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [pathlib.Path(folder) / name for name in ("stdout", "stderr")]
        process = start_command(command, *outputs, prelude)
        process.join()
        texts = [path.read_text() for path in outputs]
    return _check(subprocess.CompletedProcess(command, process.exitcode, *texts), code)


def start_command(arguments, stdout, stderr, prelude="", **environment):
    """Starts `sora-jax` with arguments; returns its `multiprocessing.Process`.

    The process is forked from one that has imported JAX and the libraries around it, and nothing
    of this project: importing them takes three seconds.

    Args:
      stdout: path of the file that it writes to, as is `stderr`.
      prelude: source of Python that is run first.
      environment: variables beside those of the forked process.
    """
    variables = _ENVIRONMENT | environment
    process = _forks.Process(
        target=_run_main, args=(list(arguments), (stdout, stderr), prelude, variables)
    )
    process.start()
    return process


def _run_main(arguments, outputs, prelude, variables):
    """What the forked process does, with its standard streams in files."""
    for stream, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.update(variables)
    sys.argv = ["sora-jax", *arguments]
    exec(prelude, {})
    from sora_jax import main

    main.run()


def _check(done, code):
    """Asserts the exit status of a finished process."""
    assert code in (None, done.returncode), (done.returncode, (done.stdout + done.stderr)[-3000:])
    return done
