"""Which perceptual distance a run of the autoencoder has, from its first step to its last."""

import dataclasses

import pytest

from sora_jax.commands.train import known_features
from sora_jax.config import VAEExperiment
from sora_jax.models import perceptual
from sora_jax.training.checkpoint import save_config
from sora_jax.training.vae_loss import VAELossConfig


def experiment(**loss):
    return VAEExperiment("", loss=VAELossConfig(**loss))


@pytest.mark.parametrize("begun", ["hed", "gradient"])
def test_a_run_keeps_the_distance_it_began_with(tmp_path, monkeypatch, begun):
    """Even where other packages are installed when it goes on."""
    wanted = experiment(perceptual=0.1)
    monkeypatch.setattr(perceptual, "hed_installed", lambda: begun == "hed")
    found = known_features(wanted, tmp_path)
    assert found.features == begun
    save_config(tmp_path, dataclasses.replace(wanted, loss=found))
    monkeypatch.setattr(perceptual, "hed_installed", lambda: begun != "hed")
    assert known_features(wanted, tmp_path) == found
    assert known_features(experiment(perceptual=0.0), tmp_path).features == begun


def test_a_run_without_a_distance_chooses_when_it_gets_one(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "hed_installed", lambda: True)
    save_config(tmp_path, experiment(perceptual=0.0))
    assert known_features(experiment(perceptual=0.0), tmp_path).features == "auto"
    assert known_features(experiment(perceptual=0.1), tmp_path).features == "hed"
    asked = experiment(perceptual=0.1, features="gradient")
    assert known_features(asked, tmp_path).features == "gradient"
