"""Run folders: weights that are read without an optimizer, that do not fit, that go on."""

import functools
import json

import jax
import numpy as np
import pytest
from etils import epath

from sora_jax.codec.video_codec import load_codec
from sora_jax.models.vae_config import VAEConfig
from sora_jax.sharding import MeshConfig, make_mesh
from sora_jax.training import checkpoint_io, diffusion_task, optimizer, vae_task
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig, VAEExperiment
from sora_jax.training.metrics import read_lines
from sora_jax.training.run_folder import (
    load_diffusion_run,
    load_experiment,
    load_vae_run,
    save_config,
    save_weights,
)
from tests.tiny import MODEL

EXPERIMENT = VAEExperiment("", model=VAEConfig(4, 2, (4,), ()))

pytestmark = pytest.mark.usefixtures("one_device")


def first_state():
    return jax.jit(functools.partial(vae_task.init_state, EXPERIMENT))()


def test_weights_are_read_without_building_an_optimizer(tmp_path, monkeypatch):
    transformer = DiffusionExperiment("", model=MODEL)
    states = {
        EXPERIMENT: first_state(),
        transformer: jax.jit(functools.partial(diffusion_task.init_state, transformer))(),
    }
    for experiment, state in states.items():
        save_config(tmp_path / experiment.kind, experiment)
        with Checkpoints(tmp_path / experiment.kind, LoopConfig()) as checkpoints:
            checkpoints.save(state._replace(step=3), 3, {"next_index": 3})

    def refuse(*_):
        raise AssertionError("an optimizer was built")

    for module in (optimizer, vae_task, diffusion_task):
        monkeypatch.setattr(module, "make_optimizer", refuse)
    codec_run, run = load_vae_run(tmp_path / "vae"), load_diffusion_run(tmp_path / "diffusion")
    assert codec_run.step == run.step == 3
    assert codec_run.experiment == EXPERIMENT and run.experiment == transformer
    for loaded, state in ((codec_run, states[EXPERIMENT]), (run, states[transformer])):
        jax.tree.map(np.testing.assert_array_equal, loaded.params, state.ema)
    scale = states[transformer].statistics["channel_scale"]
    np.testing.assert_array_equal(run.channel_scale, scale)


def test_runs_of_the_other_kind_are_named(tmp_path):
    save_config(tmp_path, EXPERIMENT)
    with pytest.raises(ValueError, match="is of an autoencoder: name one of a diffusion trans"):
        load_diffusion_run(tmp_path)


@pytest.mark.slow
def test_weights_that_do_not_fit_their_config_are_named(tmp_path):
    state, run = first_state(), tmp_path / "run"
    save_weights(run, EXPERIMENT, state.ema, state.statistics)
    assert load_codec(run).step == 0
    text = (run / "config.json").read_text()
    for change in ({"channels": [6]}, {"blocks": 2}, {"patch": 4}):
        values = json.loads(text)
        values["model"] |= change
        (run / "config.json").write_text(json.dumps(values))
        message = f"step 0 of {run} is damaged .arrays of ema have other shapes than config.json"
        with pytest.raises(ValueError, match=message):
            load_codec(run)


def test_weights_that_devices_cannot_hold_are_not_called_damaged(tmp_path, monkeypatch):
    state, run = first_state(), tmp_path / "run"
    save_weights(run, EXPERIMENT, state.ema, state.statistics)

    def fill_memory(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    monkeypatch.setattr(checkpoint_io.ocp, "load_checkpointables", fill_memory)
    with pytest.raises(ValueError, match="no memory for .*: cut its arrays over more"):
        load_codec(run)


@pytest.mark.slow
def test_weights_are_cut_as_the_model_is(tmp_path):
    transformer = DiffusionExperiment("", model=MODEL)
    save_config(tmp_path, transformer)
    with jax.set_mesh(make_mesh(MeshConfig(fsdp=2, tensor=2))):
        state = jax.jit(functools.partial(diffusion_task.init_state, transformer))()
        with Checkpoints(tmp_path, LoopConfig()) as checkpoints:
            checkpoints.save(state, 1, {"next_index": 1})
        loaded = load_diffusion_run(tmp_path).params
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(state.ema), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim)
    assert not loaded["blocks"]["up"]["kernel"].sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON .*: fetch it again"),
        ("[]", "holds no JSON object"),
        ('{"experiment": "vae", "data": 3}', ": config.data is 3: give it a value of type str"),
        ('{"_class_name": "AutoencoderKLWan"}', "AutoencoderKLWan: run `sora-jax import` first"),
    ],
)
def test_a_config_that_is_none_of_ours_is_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"{tmp_path / 'config.json'}.*{message}"):
        load_experiment(tmp_path)


def test_a_line_that_was_cut_is_no_line(tmp_path):
    (tmp_path / "skipped.jsonl").write_text('{"step": 1}\n{"step": 2, "cli\n{"step": 3}\n{"st')
    assert read_lines(epath.Path(tmp_path) / "skipped.jsonl", 3) == ['{"step": 1}', '{"step": 3}']
