"""Experiments: one get_config() per file, each a complete and runnable setting."""
