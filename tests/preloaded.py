"""What the processes of `tests.processes.run_command` have imported when they are forked."""

import warnings

import absl.app
import flax.nnx
import grain
import jax
import ml_collections.config_flags
import optax
import orbax.checkpoint

__all__ = ["absl", "flax", "grain", "jax", "ml_collections", "optax", "orbax"]

# JAX warns of forks beside its threads, which start with the first computation: none is done here.
warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
