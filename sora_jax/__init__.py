"""sora_jax: an open, TPU-native world simulator in JAX."""

__version__ = "0.1.0"
