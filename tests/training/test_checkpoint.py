"""Weights and configs that do not fit are named; what a run may change when it goes on."""

import dataclasses
import functools
import json

import jax
import pytest

from sora_jax.codec.video_codec import load_codec
from sora_jax.models.vae import VAEConfig
from sora_jax.training import vae_task
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.experiments import VAEExperiment
from sora_jax.training.run_folder import load_experiment, save_config, save_weights

EXPERIMENT = VAEExperiment("", model=VAEConfig(4, 2, (4,), ()))

pytestmark = pytest.mark.usefixtures("one_device")


def first_state():
    return jax.jit(functools.partial(vae_task.init_state, EXPERIMENT))()


def test_weights_that_do_not_fit_their_config_are_named(tmp_path):
    state, run = first_state(), tmp_path / "run"
    save_weights(run, EXPERIMENT, state.ema, state.statistics)
    assert load_codec(run).step == 0
    text = (run / "config.json").read_text()
    for change in ({"channels": [6]}, {"blocks": 2}, {"principal_axes": True}):
        values = json.loads(text)
        values["model"] |= change
        (run / "config.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=f"weights in {run} do not fit its config.json, or"):
            load_codec(run)


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


def test_features_may_be_chosen_once(tmp_path):
    """`auto` stands for none as long as no perceptual distance is used."""

    def with_features(name):
        return dataclasses.replace(
            EXPERIMENT, loss=dataclasses.replace(EXPERIMENT.loss, features=name)
        )

    save_config(tmp_path, with_features("auto"))
    with Checkpoints(tmp_path, 1, 1) as checkpoints:
        checkpoints.save(first_state(), 1, {"next_index": 1})
    save_config(tmp_path, with_features("hed"))
    with pytest.raises(ValueError, match="holds a run with another config.loss.features"):
        save_config(tmp_path, with_features("gradient"))
