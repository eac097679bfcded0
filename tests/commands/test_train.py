"""Which perceptual distance a run of the autoencoder has, from its first step to its last."""

import dataclasses

import pytest

from sora_jax.commands.train import resolve_loss
from sora_jax.models import perceptual
from sora_jax.training.experiments import VAEExperiment
from sora_jax.training.run_folder import save_config
from sora_jax.training.vae_loss import VAELossConfig


def experiment(**loss):
    return VAEExperiment("", loss=VAELossConfig(**loss))


@pytest.mark.parametrize("begun", ["hed", "gradient"])
def test_a_run_keeps_the_distance_it_began_with(tmp_path, monkeypatch, begun):
    """Even where other packages are installed when it goes on."""
    wanted = experiment(perceptual=0.1)
    monkeypatch.setattr(perceptual, "hed_installed", lambda: begun == "hed")
    found = resolve_loss(wanted, tmp_path)
    assert found.features == begun
    save_config(tmp_path, dataclasses.replace(wanted, loss=found))
    monkeypatch.setattr(perceptual, "hed_installed", lambda: begun != "hed")
    assert resolve_loss(wanted, tmp_path) == found
    assert resolve_loss(experiment(perceptual=0.0), tmp_path).features == begun


def test_a_run_without_a_distance_chooses_when_it_gets_one(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "hed_installed", lambda: True)
    save_config(tmp_path, experiment(perceptual=0.0))
    assert resolve_loss(experiment(perceptual=0.0), tmp_path).features == "auto"
    assert resolve_loss(experiment(perceptual=0.1), tmp_path).features == "hed"
    asked = experiment(perceptual=0.1, features="gradient")
    assert resolve_loss(asked, tmp_path).features == "gradient"
