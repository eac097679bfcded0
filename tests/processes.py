"""Commands in processes of their own, as people run them; imports no JAX."""

import importlib.metadata
import os
import subprocess
import sys

# Programs of tests are tiny and many: they are compiled without optimisation, in one piece each,
# and by the older emitters of fused loops, which JAX 0.11 dropped. That takes half of the time.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if [int(x) for x in importlib.metadata.version("jax").split(".")[:2]] < [0, 11]:
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"


def run_python(*arguments, code=0, **environment):
    """Runs Python on one device; returns the finished process, which must exit with `code`.

    Args:
      arguments: what follows `python` on the command line.
      code: the expected exit status; None for any.
      environment: variables beside those of this process.
    """
    variables = os.environ | {"XLA_FLAGS": FAST_COMPILATION, "JAX_PLATFORMS": "cpu"} | environment
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert code in (None, done.returncode), (done.returncode, (done.stdout + done.stderr)[-3000:])
    return done


def run_command(*arguments, code=0):
    """Runs `sora-jax` with arguments; see `run_python`."""
    return run_python("-m", "sora_jax.main", *arguments, code=code)
