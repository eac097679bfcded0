"""The sub-commands of `sora-jax`, one file each."""
