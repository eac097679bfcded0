"""The smallest run of a transformer through the command line, for tests and benchmarks of runs."""

import json

import numpy as np

from sora_jax.provenance import ENCODE_NOTE
from tests.data_pipelines.folders import write_latents

CONFIG = """
import dataclasses
from sora_jax.config import to_config_dict
from sora_jax.rows import PackingConfig
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig
from sora_jax.training.optimizer import OptimizerConfig
from tests.tiny import MODEL

def get_config():
    text = dataclasses.replace(MODEL.text, vocabulary=64)
    return to_config_dict(
        DiffusionExperiment(
            "",
            model=dataclasses.replace(MODEL, text=text),
            packing=PackingConfig(4, 24, 64, 6, 16),
            optimizer=OptimizerConfig(steps=6, warmup_steps=1, learning_rate=0.01),
            loop=LoopConfig(save_every=2, log_every=1, keep=3),
        )
    )
"""
"""Text of an experiment file; its data is given on the command line."""


def write_data(folder):
    """Latents of noise, in the folder `latents`."""
    rng = np.random.default_rng(0)
    for split, clips in (("train", 30), ("validation", 7)):
        shapes = [(t, 4, 2 * w, 2) for t, w in rng.integers(1, 4, (clips, 2))]
        write_latents(folder / "latents", shapes, split)
    note_sensitivity(folder / "latents")


def note_sensitivity(latents):
    """Writes into a folder of latents of two channels what `sora-jax encode` measures."""
    note = latents / ENCODE_NOTE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"channel_sensitivity": [1.0, 2.0]}))
