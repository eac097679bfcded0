"""A run finds the latents it was trained on, and no others."""

import json

import pytest

from data_pipelines.latents import sources_of
from sora_jax.commands.runs import find_data, keep_source
from sora_jax.training.experiments import DiffusionExperiment
from sora_jax.training.run_folder import save_config


def latents(folder, weights, clips="some"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encode.json").write_text(json.dumps({"weights": weights, "clips": clips}))
    return folder


def test_latents_are_found_by_the_weights_that_made_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the config names the latents from where training was started
    run, trained = tmp_path / "runs" / "dit", latents(tmp_path / "runs" / "latents", "mine")
    save_config(run, DiffusionExperiment("runs/latents"))
    with pytest.raises(ValueError, match="neither at runs/latents nor at"):
        find_data(run)  # nothing was noted: training did not start
    keep_source(run, [trained])
    assert find_data(run).resolve() == trained
    elsewhere = tmp_path / "elsewhere"
    latents(elsewhere / "runs" / "latents", "other")
    monkeypatch.chdir(elsewhere)  # latents of the same name, of another autoencoder
    assert find_data(run) == trained
    with pytest.raises(ValueError, match="was trained on latents of other autoencoders"):
        keep_source(run, ["runs/latents"])
    latents(trained, "mine", "others")
    with pytest.raises(ValueError, match="was trained on latents of other clips than .*latents is"):
        keep_source(run, [trained])
    (trained / "encode.json").unlink()
    with pytest.raises(ValueError, match="put them there"):
        find_data(run)


def test_latents_that_do_not_say_of_what_are_refused(tmp_path):
    folder = latents(tmp_path / "latents", "mine")
    with pytest.raises(ValueError, match=r"encode.json in .*latents lacks vae and data; "):
        sources_of(folder)
