"""Settings shared by all tests; the environment is set before anything imports JAX."""

import atexit
import gc
import os
import shutil
import tempfile

from tests.processes import FAST_COMPILATION

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", FAST_COMPILATION]
).strip()
# Numbers are the same on processors with fast products of bfloat16 factors; see kernels.products.
os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "default"
# Runs of the same experiment, here or in a process of their own, compile once; pytest-xdist's
# workers find the folder that the first process made.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp()
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"])

import hypothesis
import jax
import pytest
from absl import flags

# Traces are many objects that live long: collecting them time and again takes a tenth of all.
gc.set_threshold(100_000, 20, 20)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Grain's worker processes read absl flags, which pytest never parses.
flags.FLAGS.mark_as_parsed()

# The first example compiles, so time limits mean nothing; the same examples run every time.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="module")
def one_device():
    """A mesh of the first device is the current one."""
    from sora_jax.sharding import AXES  # once the shape checks are in place

    kinds = (jax.sharding.AxisType.Explicit,) * 4
    with jax.set_mesh(jax.make_mesh((1,) * 4, AXES, kinds, devices=jax.devices()[:1])):
        yield


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
