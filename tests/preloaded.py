"""What the processes of `tests.processes.run_command` have imported when they are forked."""

import warnings

import absl.app
import av
import flax.nnx
import grain
import jax.experimental.pallas.ops.tpu.splash_attention
import ml_collections.config_flags
import optax
import orbax.checkpoint
import PIL.Image
import scipy.ndimage
import sentencepiece

LIBRARIES = absl, av, flax, grain, jax, ml_collections, optax, orbax, PIL, scipy, sentencepiece

# JAX warns of forks beside its threads, which start with the first computation: none is done here.
warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
