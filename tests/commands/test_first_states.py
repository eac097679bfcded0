"""A new run from the weights of another: which weights are whose, and what is refused by name."""

import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import pytest

from data_pipelines.crops import Crops
from sora_jax import release, sharding
from sora_jax.commands.first_states import first_diffusion_state, first_vae_state
from sora_jax.interop.tensors import tensor_name
from sora_jax.models import vae
from sora_jax.models.latents import ChannelStatistics
from sora_jax.models.tokenizer import train_tokenizer
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.sharding import MeshConfig
from sora_jax.training import diffusion_task, vae_task
from sora_jax.training.experiments import DiffusionExperiment, LoopConfig, VAEExperiment
from sora_jax.training.run_folder import save_weights
from tests.tiny import MODEL, random_params

SOURCE = DiffusionExperiment("", model=MODEL)
SCALE = np.array([0.5, 1.5], np.float32)
EIGHT_COPIES = MeshConfig()
NO_CROPS = object.__new__(Crops)
NO_CROPS.steps = 0
"""Is not read where weights are given."""
OTHER_TEXT = dataclasses.replace(MODEL.text, vocabulary=12)


def named(tree):
    return {tensor_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run and its averaged weights; those that were not averaged are not in it."""
    folder, weights = tmp_path_factory.mktemp("source"), random_params(np.random.default_rng(0))
    with sharding.use_mesh():
        save_weights(folder, SOURCE, weights, {"channel_scale": SCALE}, step=7)
    (folder / "encode.json").write_text(json.dumps({"weights": "mine"}))
    return folder, named(weights)


def start(source, mesh=EIGHT_COPIES, channels=None, **changes):
    """The first state of a run from `source` and that of one from random weights, on a mesh."""
    loop = LoopConfig(seed=5)
    changes = {"model": MODEL, "loop": loop, "init_from": str(source)} | changes
    experiment = dataclasses.replace(SOURCE, **changes)
    with sharding.use_mesh(mesh):
        random = jax.jit(functools.partial(diffusion_task.init_state, experiment, channels))()
        return first_diffusion_state(experiment, channels), random


@pytest.mark.parametrize("mesh", [EIGHT_COPIES, MeshConfig(2, 2, 1, 2)], ids=["data", "cut"])
def test_a_run_starts_at_step_0_with_averaged_weights_and_no_moments(source, mesh):
    folder, weights = source
    state, random = start(folder, mesh)
    for tree in (state.params, state.ema):
        assert named(tree).keys() == weights.keys()
        for name, array in named(tree).items():
            np.testing.assert_array_equal(array, weights[name], err_msg=name)
    assert int(state.step) == 0 and float(state.gradient_norm) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    np.testing.assert_array_equal(state.key, random.key)
    for (path, a), b in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(random), strict=True):
        name = tensor_name(path)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if isinstance(a, jax.Array) and isinstance(b, jax.Array):
            assert a.sharding.is_equivalent_to(b.sharding, a.ndim), name
    buffers = {a.unsafe_buffer_pointer() for a in local_arrays((state.params, state.ema))}
    assert len(buffers) == len(local_arrays((state.params, state.ema)))  # both are donated


def local_arrays(tree):
    return [leaf.addressable_data(0) for leaf in jax.tree.leaves(tree)]


def test_listed_weights_start_anew(source):
    folder, weights = source
    model = dataclasses.replace(MODEL, text=OTHER_TEXT)
    state, random = start(folder, model=model, init_new=("text_encoder", "patch_"))
    fresh = named(random.params)
    for name, array in named(state.params).items():
        new = name.startswith(("text_encoder", "patch_in", "patch_out"))
        np.testing.assert_array_equal(array, (fresh if new else weights)[name], err_msg=name)
        np.testing.assert_array_equal(named(state.ema)[name], array)
    assert np.any(fresh["patch_in/kernel"] != weights["patch_in/kernel"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"text": OTHER_TEXT},
            r"in 1 weights: text_encoder/\S+ is 8x8 there, 12x8 here: copy its config.model, or",
        ),
        ({"depth": 2}, r"in \d\d weights: blocks/\S+ is 1x\S+ there, 2x.*; and \d+ more: copy"),
        ({"patch": (1, 4, 4)}, "patch_in/kernel is 8x16 there, 32x16 here; patch_out/bias is 8"),
        ({"input_skip": True}, "skip_gate/bias is absent there, 8 here; skip_gate/kernel is abs"),
        ({"text_embed_dim": 16}, r"text_encoder/\S+ is \S+ there, absent here"),
    ],
    ids=["vocabulary", "deeper", "patch", "more", "fewer"],
)
def test_weights_that_do_not_fit_are_named(source, changes, message):
    with pytest.raises(ValueError, match=f"init_from, {source[0]}, does not fit .*{message}"):
        start(source[0], model=dataclasses.replace(MODEL, **changes))


def test_names_of_no_weight_are_refused(source):
    with pytest.raises(ValueError, match="init_new has 'text/', and no .*: choose of .*patch_in,"):
        start(source[0], init_new=("patch_in", "text/"))
    with pytest.raises(ValueError, match="init_new is .*: set init_from to a trained run"):
        dataclasses.replace(SOURCE, init_new=("patch_in",))
    with pytest.raises(ValueError, match="no checkpoint at .*nowhere: give the --workdir"):
        start(source[0] / "nowhere")


def test_channels_are_scaled_as_the_weights_know_them(source, tmp_path, capsys):
    channels = ChannelStatistics(np.ones(2), np.array([1.0, 3.0]))

    def scale(**changes):
        state, random = start(source[0], channels=channels, **changes)
        return np.asarray(state.statistics["channel_scale"]), random.statistics["channel_scale"]

    np.testing.assert_array_equal(scale()[0], SCALE)
    found, own = scale(channel_weight_exponent=1.0)
    np.testing.assert_array_equal(found, own)
    np.testing.assert_allclose(found, np.sqrt([0.5, 1.5]), rtol=1e-6)
    for weights, wanted in (("mine", SCALE), ("others", [1, 1])):
        (tmp_path / "encode.json").write_text(json.dumps({"weights": weights}))
        capsys.readouterr()
        np.testing.assert_array_equal(scale(data=str(tmp_path))[0], wanted)
        assert ("are not of the autoencoder of" in capsys.readouterr().out) == (weights != "mine")


def test_captions_have_the_tokens_that_the_weights_know(source, tmp_path):
    shutil.copytree(source[0], tmp_path / "run")
    for name, words in (("run", "a red ball"), ("same", "a red ball"), ("other", "zyx w vu")):
        (tmp_path / name).mkdir(exist_ok=True)
        tokenizer = train_tokenizer([words], 16)
        (tmp_path / name / "tokenizer.model").write_bytes(tokenizer)
    start(tmp_path / "run", data=str(tmp_path / "same"))
    other = {"data": str(tmp_path / "other")}
    with pytest.raises(ValueError, match="other has another tokenizer .* --tokenizer=.*run, or na"):
        start(tmp_path / "run", **other)
    start(tmp_path / "run", **other, init_new=("text_encoder",))


def test_what_else_the_model_has_otherwise_is_said(source, capsys):
    model = dataclasses.replace(MODEL, rope_base=100.0)
    start(source[0], model=model, prediction="x0")
    assert capsys.readouterr().out.splitlines() == [
        f"unlike {source[0]}: config.model.rope_base: 10000.0 -> 100.0",
        f"unlike {source[0]}: config.prediction: 'velocity' -> 'x0'",
    ]


def test_the_model_that_comes_along_is_a_source():
    with sharding.use_mesh():
        released = release.load_release()
        weights = dict(init_from=str(release.SHIPPED))
        experiment = dataclasses.replace(released.dit.experiment, **weights)
        state = first_diffusion_state(experiment, None)
        jax.tree.map(np.testing.assert_array_equal, state.params, released.dit.params)
        np.testing.assert_array_equal(state.statistics["channel_scale"], released.dit.channel_scale)
        experiment = dataclasses.replace(released.vae.experiment, **weights)
        state = first_vae_state(experiment, NO_CROPS)
        jax.tree.map(np.testing.assert_array_equal, state.params, released.vae.params)


def test_an_autoencoder_starts_with_the_statistics_of_its_weights(tmp_path):
    experiment = VAEExperiment("", model=CellVAEConfig(4, 2, 4, 8, 1, 1))
    rng = np.random.default_rng(0)

    def draw(shapes):
        return jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)

    weights = draw(vae.shapes(experiment.model))
    statistics = draw(vae.statistics_shapes(experiment.model))
    with sharding.use_mesh():
        save_weights(tmp_path, experiment, weights, statistics)
        experiment = dataclasses.replace(experiment, init_from=str(tmp_path))
        state = first_vae_state(experiment, NO_CROPS)
        random = jax.jit(functools.partial(vae_task.init_state, experiment))()
        for tree, wanted in ((state.params, weights), (state.ema, weights)):
            jax.tree.map(np.testing.assert_array_equal, tree, wanted)
        jax.tree.map(np.testing.assert_array_equal, state.statistics, statistics)
        jax.tree.map(np.testing.assert_array_equal, state.opt_state, random.opt_state)
        model = dataclasses.replace(experiment.model, width=16)
        with pytest.raises(ValueError, match=r"does not fit config.model in \d+ weights: "):
            first_vae_state(dataclasses.replace(experiment, model=model), NO_CROPS)
        anew = dataclasses.replace(experiment, init_new=("decoder",))
        found = named(first_vae_state(anew, NO_CROPS).params)
        for name, array in found.items():
            source = random.params if name.startswith("decoder") else weights
            np.testing.assert_array_equal(array, named(source)[name], err_msg=name)
        assert {name.partition("/")[0] for name in found} >= {"decoder", "encoder"}
        model, everything = dataclasses.replace(experiment.model, latent_channels=8), ("",)
        with pytest.raises(ValueError, match="has statistics of other latents: copy its config.mo"):
            other = dataclasses.replace(anew, model=model, init_new=everything)
            first_vae_state(other, NO_CROPS)
