"""A run holds what it samples with, and finds the latents it was trained on, and no others."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest

from data_pipelines.latents import sources_of
from sora_jax.codec.video_codec import load_codec
from sora_jax.commands.runs import find_data, keep_inputs
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.models.vae_config import VAEConfig
from sora_jax.training import vae_task
from sora_jax.training.checkpoint_io import checkpoint_folder
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment
from sora_jax.training.run_folder import save_config, save_weights
from tests.data_pipelines.folders import write_latents

CODEC = VAEExperiment("", model=VAEConfig(4, 2, (4,), ()))


def latents(folder, weights, clips="some"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encode.json").write_text(json.dumps({"weights": weights, "clips": clips}))
    return folder


def test_latents_are_found_by_the_weights_that_made_them(tmp_path, monkeypatch, one_device):
    monkeypatch.chdir(tmp_path)  # the config names the latents from where training was started
    run, trained = tmp_path / "runs" / "dit", latents(tmp_path / "runs" / "latents", "mine")
    save_config(run, DiffusionExperiment("runs/latents"))
    with pytest.raises(ValueError, match="neither at runs/latents nor at"):
        find_data(run)  # nothing was noted: training did not start
    keep_inputs([trained], run)
    assert find_data(run).resolve() == trained
    elsewhere = tmp_path / "elsewhere"
    latents(elsewhere / "runs" / "latents", "other")
    monkeypatch.chdir(elsewhere)  # latents of the same name, of another autoencoder
    assert find_data(run) == trained
    checkpoint_folder(run).joinpath("2").mkdir(parents=True)  # of a step that has trained
    with pytest.raises(ValueError, match="was trained on latents of other autoencoders"):
        keep_inputs(["runs/latents"], run)
    latents(trained, "mine", "others")
    with pytest.raises(ValueError, match="of other clips than .*: .* --config.init_from$"):
        keep_inputs([trained], run)
    (trained / "encode.json").unlink()
    with pytest.raises(ValueError, match="put them there"):
        find_data(run)


def test_a_run_keeps_what_it_samples_with(tmp_path, one_device):
    """Moved alone, it finds its codec, its tokenizer, and its clips and text encoder elsewhere."""
    folder, run = write_latents(tmp_path / "data" / "latents", [(1, 2, 2, 2)]), tmp_path / "run"
    codec = jax.jit(functools.partial(vae_task.init_state, CODEC))()
    save_weights(tmp_path / "data" / "vae", CODEC, codec.ema, codec.statistics, step=7)
    note = json.loads((folder / "encode.json").read_text())
    note |= {"vae": "../vae", "data": "../clips", "text": {"folder": "../t5", "width": 4}}
    (folder / "encode.json").write_text(json.dumps(note))
    for _ in range(2):  # given again, the command finds what it has
        keep_inputs([folder], run)
    assert sources_of(run)[1] == tmp_path / "data" / "clips"
    assert json.loads((run / "encode.json").read_text())["text"]["folder"] == "../data/t5"
    size = Tokenizer(folder / "tokenizer.model").size
    moved = shutil.move(run, tmp_path / "moved")
    shutil.rmtree(tmp_path / "data")
    vae, _ = sources_of(moved)
    assert load_codec(vae).step == 7 and vae == moved / "codec"
    jax.tree.map(np.testing.assert_array_equal, load_codec(vae).params, codec.ema)
    assert Tokenizer(moved / "tokenizer.model").size == size


def test_latents_that_do_not_say_of_what_are_refused(tmp_path):
    folder = latents(tmp_path / "latents", "mine")
    with pytest.raises(ValueError, match=r"encode.json in .*latents lacks vae and data; "):
        sources_of(folder)
