"""Settings shared by all tests; the environment is set before anything imports JAX."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs here are tiny and many: compiling them without optimisation takes a third less time.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
).strip()

import hypothesis
import jax
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")

# Grain's worker processes read absl flags, which pytest never parses.
flags.FLAGS.mark_as_parsed()

# The first example compiles, so time limits mean nothing; the same examples run every time.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
