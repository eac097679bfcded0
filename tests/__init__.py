"""Tests of sora_jax, data_pipelines and experiments, laid out like the packages."""
