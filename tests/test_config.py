"""Experiments become dataclasses; what is typed wrong is named."""

import functools
import importlib
import math
import pathlib

import pytest

from sora_jax.config import settings, to_config_dict
from sora_jax.models.vae_config import PRESETS, CellVAEConfig, VAEConfig
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment, parse

EXPERIMENTS = ["demo_vae", "demo_dit", "demo_dit_edm", "vae_films"]
EXPERIMENTS += ["world_vae", "world_vae_decoder", "world_dit"]
EXPERIMENTS_FOLDER = pathlib.Path(__file__).parents[1] / "experiments"


def load(name, mode=""):
    return importlib.import_module(f"experiments.{name}").get_config(*[mode] * bool(mode))


@pytest.mark.parametrize("mode", ["", "debug"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_parse(name, mode):
    experiment = parse(load(name, mode).to_dict())
    assert isinstance(experiment, VAEExperiment if "vae" in name else DiffusionExperiment)
    if mode == "debug":
        assert experiment.optimizer.steps <= 10


def test_pods_parse():
    names = sorted(path.stem for path in (EXPERIMENTS_FOLDER / "pods").glob("v*.py"))
    assert len(names) >= 4
    for name in names:
        experiment = parse(load(f"pods.{name}").to_dict())
        assert isinstance(experiment, DiffusionExperiment)
        assert experiment.model.dtype == "bfloat16"


def test_experiment_files_are_short():
    files = [*EXPERIMENTS_FOLDER.glob("*.py"), *EXPERIMENTS_FOLDER.glob("pods/*.py")]
    files = [path for path in files if "def get_config(" in path.read_text()]
    assert len(files) >= len(EXPERIMENTS)
    for path in files:
        assert len(path.read_text().splitlines()) <= 120, path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment": "gan"}, "config.experiment is 'gan': set it to one of"),
        ({"modle": {}}, "unknown key config.modle: did you mean 'model'"),
        ({"model": {"widht": 3}}, "unknown key config.model.widht: did you mean 'width'"),
        ({"model": {"width": "wide"}}, "config.model.width is 'wide': give it a value of type int"),
        ({"model": {"width": 50, "heads": 4}}, "width 50 must be an even multiple of heads 4"),
        (
            {"model": {"remat": "some"}},
            "config.model.remat is 'some': choose one of none, dots, attention, full",
        ),
        ({"model": {"patch": (1, 2)}}, "config.model.patch has 2 entries: give it 3"),
        ({"prediction": "noise"}, "config.prediction is 'noise': choose one of velocity, x0"),
        ({"mesh": {"context": 5}}, "width 192 must be divisible by mesh.fsdp x mesh.context, 5"),
        ({"noise_levels": {"shift": 0.0}}, "config.noise_levels.shift is 0.0: give it more than 0"),
        ({"noise_levels": {"reference_tokens": -1}}, "reference_tokens is -1: give it at least 0"),
        (
            {"model": {"padded_text_length": 8}},
            "config.model.padded_text_length is 8 and text_embed_dim 0",
        ),
        (
            {"packing": {"tokens": 250}, "mesh": {"context": 4}},
            "tokens 250 must be divisible by mesh.context, 4",
        ),
        ({"model": {"heads": 0}}, "config.model.heads is 0: give it at least 1"),
        ({"mesh": {"fsdp": -1}}, "config.mesh.fsdp is -1: give it at least 1"),
        ({"packing": {"segments": 0}}, "config.packing.segments is 0: give it at least 1"),
        (
            {"model": {"rope_stretch": (0.0, 1, 1)}},
            r"rope_stretch is \(0.0, 1.0, 1.0\): give it at least 1",
        ),
        ({"caption_dropout": -1.0}, "config.caption_dropout is -1.0: give it at least 0"),
        ({"noise_levels": {"shift": math.nan}}, "shift is nan: give it a finite number"),
        (
            {"model": {"time_embed_dim": 7}},
            "config.model.time_embed_dim is 7: give it an even number",
        ),
        (
            {"model": {"mlp_dim": 766}, "mesh": {"tensor": 4}},
            "mlp_dim 766 must be divisible by mesh.tensor, 4",
        ),
        (
            {"model": {"text_embed_dim": 100}, "mesh": {"fsdp": 8}},
            "text_embed_dim 100 must be divisible by mesh.fsdp x mesh.context, 8",
        ),
        (
            {"model": {"text": {"heads": 2, "width": 64}}, "mesh": {"tensor": 4}},
            "text.heads 2 must be divisible by mesh.tensor, 4",
        ),
    ],
    ids=lambda value: str(value)[:24],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message) as error:
        parse({"experiment": "diffusion", "data": "somewhere"} | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [DiffusionExperiment, VAEExperiment])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_setting_takes_a_number_that_is_not_finite(kind, number):
    named = [s.path for s in settings(kind("")) if type(s.value) is float and "[" not in s.path]
    assert len(named) > 10
    for path in named:
        changed = to_config_dict(kind("")).to_dict()
        *outer, name = path.split(".")[1:]
        functools.reduce(dict.__getitem__, outer, changed)[name] = number
        with pytest.raises(ValueError) as error:
            parse(changed)
        assert str(error.value) == f"{path} is {number}: give it a finite number"


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="config.data is missing"):
        parse({"experiment": "diffusion"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crops": ()}, "config.crops has 0 shapes: give one to 4"),
        ({"crops": ({"frames": 1},) * 5}, "config.crops has 5 shapes: give one to 4"),
        ({"crops": ({"batch": 0},)}, r"config.crops\[0\].batch is 0: give it at least 1"),
        ({"crops": ({"height": 0},)}, r"config.crops\[0\].height is 0: give it at least 1"),
        ({"crops": ({}, {"frames": -3})}, r"config.crops\[1\].frames is -3: give it at least 1"),
        ({"model": {"channels": (0, 8, 8)}}, r"model.channels\[0\] is 0: give it at least 1"),
        ({"model": {"channels": (1, 1, 1)}}, r"channels is \(1, 1, 1\): give stages behind a"),
        ({"model": {"patch": 0}}, "config.model.patch is 0: give it at least 1"),
        ({"model": {"encoder_blocks": -1}}, "model.encoder_blocks is -1: give it at least 0"),
        ({"model": {"noise": 0.0, "width": 8}}, "model.noise is 0.0: give it at least 1e-06"),
        ({"validation_clips": -1}, "config.validation_clips is -1: give it at least 0"),
        ({"loss": {"adversarial": -0.1}}, "config.loss.adversarial is -0.1: give it at least 0"),
        ({"loss": {"adversarial": math.nan}}, "loss.adversarial is nan: give it a finite number"),
        ({"loss": {"features": "lpips"}}, "config.loss.features is 'lpips': choose one of auto"),
        ({"model": {"strides": ((3, 2), (2, 1))}}, "every stride is 1 or 2"),
        ({"optimizer": {"name": "muon"}}, "give an autoencoder 'adamw'"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_mistakes_of_an_autoencoder_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        parse({"experiment": "vae", "data": "x"} | change)


def test_the_keys_of_a_model_choose_its_kind():
    """All keys, as an experiment writes them; one that both kinds have is of the first."""
    for config in (CellVAEConfig(width=64), VAEConfig(blocks=3)):
        written = to_config_dict(VAEExperiment("x", model=config)).to_dict()
        assert parse(written).model == config
    parsed = parse({"experiment": "vae", "data": "x", "model": {"decoder_blocks": 3}})
    assert parsed.model == CellVAEConfig(decoder_blocks=3)
    parsed = parse({"experiment": "vae", "data": "x", "model": {"latent_channels": 3}})
    assert parsed.model == VAEConfig(latent_channels=3)
    written = to_config_dict(VAEExperiment("x", model=CellVAEConfig())).to_dict()
    written["model"]["widht"] = 3
    with pytest.raises(ValueError, match="config.model.widht: did you mean 'width'"):
        parse(written)


def test_presets_are_modes_of_the_films():
    for name, config in PRESETS.items():
        assert parse(load("vae_films", name).to_dict()).model == config
    with pytest.raises(ValueError, match="no mode 'tinny': choose debug or one of tiny, small"):
        load("vae_films", "tinny")


def test_crops_must_divide():
    crops = ({"batch": 1, "frames": 4, "height": 48, "width": 48},)
    with pytest.raises(ValueError, match="4x48x48: frames must be 1 . 4k and sides multiples of 8"):
        parse({"experiment": "vae", "data": "x", "crops": crops})
