"""Experiments become dataclasses; what is typed wrong is named."""

import importlib
import pathlib

import pytest

from sora_jax.config import DiffusionExperiment, VAEExperiment, parse

EXPERIMENTS = ["demo_vae", "demo_dit"]


def load(name, mode=""):
    return importlib.import_module(f"experiments.{name}").get_config(mode)


@pytest.mark.parametrize("mode", ["", "debug"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_parse(name, mode):
    experiment = parse(load(name, mode).to_dict())
    assert isinstance(experiment, VAEExperiment if name == "demo_vae" else DiffusionExperiment)
    if mode == "debug":
        assert experiment.optimizer.steps <= 10


def test_experiment_files_are_short():
    files = list((pathlib.Path(__file__).parents[1] / "experiments").glob("demo_*.py"))
    assert len(files) >= len(EXPERIMENTS)
    for path in files:
        assert len(path.read_text().splitlines()) <= 120, path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment": "gan"}, "config.experiment is 'gan': set it to one of"),
        ({"modle": {}}, "unknown config key config.modle: did you mean 'model'"),
        ({"model": {"widht": 3}}, "unknown config key config.model.widht: did you mean 'width'"),
        ({"model": {"width": "wide"}}, "config.model.width is 'wide': give it a value of type int"),
        ({"model": {"width": 50, "heads": 4}}, "width 50 must be an even multiple of heads 4"),
        ({"model": {"remat": "some"}}, "config.model.remat is 'some': choose one of none, full"),
        ({"model": {"patch": (1, 2)}}, "config.model.patch has 2 entries: give it 3"),
        ({"prediction": "noise"}, "config.prediction is 'noise': choose one of velocity, x0"),
        ({"mesh": {"context": 3}}, "mesh"),
        ({"packing": {"tokens": 250}, "mesh": {"context": 4}}, "tokens 250 must divide"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message) as error:
        parse({"experiment": "diffusion", "data": "somewhere"} | change)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="config.data is missing"):
        parse({"experiment": "diffusion"})


def test_crops_must_divide():
    crops = ({"batch": 1, "frames": 4, "height": 48, "width": 48},)
    with pytest.raises(ValueError, match="4x48x48: frames must be 1 . 4k and sides multiples of 8"):
        parse({"experiment": "vae", "data": "x", "crops": crops})
