"""What a run may change when it goes on: refusals by name, and the lines that say the rest."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from sora_jax.generation.sampling import SamplingConfig
from sora_jax.models.vae_config import CellVAEConfig, VAEConfig
from sora_jax.rows import PackingConfig
from sora_jax.sharding import MeshConfig
from sora_jax.training import changes
from sora_jax.training.changes import check_goes_on, resolve_products
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.experiments import (
    DiffusionExperiment,
    HeldOutConfig,
    LoopConfig,
    VAEExperiment,
    WorldEvalConfig,
)
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.run_folder import save_config, save_weights
from sora_jax.types import TrainState
from tests.tiny import MODEL

pytestmark = pytest.mark.usefixtures("one_device")

AUTOENCODER = VAEExperiment("", model=VAEConfig(4, 2, (4,), ()))
TRANSFORMER = DiffusionExperiment("data", model=MODEL, optimizer=OptimizerConfig(steps=1000))
ROWS = {"rows": 16, "order": [0, 8, 1, 0], "rows_per_epoch": 5, "plan": "x"}


def save_run(folder, experiment, loader=ROWS, step=2):
    save_config(folder, experiment)
    array, key = {"w": jnp.ones(3)}, jax.random.key_data(jax.random.key(0))
    state = TrainState(jnp.int32(step), array, array, array, key, array, jnp.float32(1))
    with Checkpoints(folder, LoopConfig()) as checkpoints:
        checkpoints.save(state, step, loader)


def change(config, path, value):
    """A config with another value at a dotted path."""
    name, _, rest = path.partition(".")
    value = change(getattr(config, name), rest, value) if rest else value
    return dataclasses.replace(config, **{name: value})


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformer")
    save_run(folder, TRANSFORMER)
    return folder


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.remat", "full"),
        ("model.unroll", True),
        ("model.dtype", "bfloat16"),
        ("model.rope_stretch", (2.0, 1.0, 1.0)),
        ("mesh", MeshConfig(fsdp=8)),
        ("packing.rows", 16),
        ("loop.seed", 3),
        ("loop.keep", 5),
        ("optimizer.steps", 2000),
        ("noise_levels.shift", 3.0),
        ("data", "elsewhere"),
    ],
)
def test_what_changes_no_weight_may_change_and_is_said(transformer, capsys, path, value):
    check_goes_on(transformer, TRANSFORMER)
    assert capsys.readouterr().out == ""
    check_goes_on(transformer, change(TRANSFORMER, path, value))
    (line,) = capsys.readouterr().out.splitlines()
    path = "mesh.fsdp" if path == "mesh" else path
    before, after = line.removeprefix(f"config.{path}: ").split(" -> ")
    assert before != after and after == repr(8 if path == "mesh.fsdp" else value)


def test_a_change_reads_as_one(transformer, capsys):
    check_goes_on(transformer, change(TRANSFORMER, "optimizer.steps", 2000))
    assert capsys.readouterr().out == "config.optimizer.steps: 1000 -> 2000\n"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.depth", 2),
        ("model.text.vocabulary", 9),
        ("model.rope_base", 100.0),
        ("model.padded_text_length", 64),
        ("prediction", "x0"),
        ("channel_weight_exponent", 0.5),
        ("optimizer.name", "muon"),
        ("init_from", "runs/other"),
    ],
)
def test_what_changes_shapes_or_meaning_of_weights_is_refused_by_name(tmp_path, path, value):
    base = TRANSFORMER
    if path == "model.padded_text_length":
        base = change(base, "model.text_embed_dim", 8)
    save_config(tmp_path, base)
    check_goes_on(tmp_path, change(base, path, value))  # there is no checkpoint
    save_run(tmp_path, base)
    message = f"{tmp_path} holds a run with another config.{path}, .* not {value!r}: choose another"
    with pytest.raises(ValueError, match=message):
        check_goes_on(tmp_path, change(base, path, value))


def test_a_run_that_has_started_needs_no_source(tmp_path):
    started = change(TRANSFORMER, "init_from", "runs/other")
    save_run(tmp_path, started)
    check_goes_on(tmp_path, started)
    check_goes_on(tmp_path, TRANSFORMER)


def test_a_run_that_is_longer_is_not_shortened(transformer):
    check_goes_on(transformer, change(TRANSFORMER, "optimizer.steps", 2))
    message = f"^{transformer} has taken 2 steps, and config.optimizer.steps is 1: raise it$"
    with pytest.raises(ValueError, match=message):
        check_goes_on(transformer, change(TRANSFORMER, "optimizer.steps", 1))


@pytest.mark.parametrize("path", ["packing", "loop.seed"])
def test_a_checkpoint_that_counts_batches_keeps_their_rows(tmp_path, path):
    save_run(tmp_path, TRANSFORMER, {"next_index": 2})
    value = PackingConfig(rows=16) if path == "packing" else 5
    check_goes_on(tmp_path, change(TRANSFORMER, "model.remat", "full"))
    with pytest.raises(ValueError, match="counts steps, not rows: go on with --config.* to its"):
        check_goes_on(tmp_path, change(TRANSFORMER, path, value))
    save_run(tmp_path, TRANSFORMER, step=3)
    check_goes_on(tmp_path, change(TRANSFORMER, path, value))


def test_an_autoencoder_has_or_has_no_discriminator(tmp_path):
    save_run(tmp_path, AUTOENCODER, {"next_index": 2})
    for path, value in (("loss.kl", 1.0), ("loop.seed", 1), ("crops", AUTOENCODER.crops * 2)):
        check_goes_on(tmp_path, change(AUTOENCODER, path, value))
    with pytest.raises(ValueError, match="another config.loss.adversarial, 0.0 and not 0.5"):
        check_goes_on(tmp_path, change(AUTOENCODER, "loss.adversarial", 0.5))
    with pytest.raises(ValueError, match="another config.model.temporal_stride, None and not 4"):
        check_goes_on(tmp_path, change(AUTOENCODER, "model", CellVAEConfig(4)))
    with pytest.raises(ValueError, match="holds a run of another kind"):
        check_goes_on(tmp_path, TRANSFORMER)


def test_features_may_be_chosen_once(tmp_path):
    """`auto` stands for none as long as no perceptual distance is used."""
    save_run(tmp_path, AUTOENCODER)
    chosen = change(AUTOENCODER, "loss.features", "hed")
    check_goes_on(tmp_path, chosen)
    save_config(tmp_path, chosen)
    with pytest.raises(ValueError, match="holds a run with another config.loss.features"):
        check_goes_on(tmp_path, change(AUTOENCODER, "loss.features", "gradient"))


def test_imported_weights_are_to_start_from(tmp_path):
    weights = {"w": jnp.arange(3.0)}
    save_weights(tmp_path, AUTOENCODER, weights, weights)
    with pytest.raises(ValueError, match="holds imported weights.*name this one as --config.init_"):
        check_goes_on(tmp_path, AUTOENCODER)


@pytest.mark.parametrize(("stored", "found"), [(None, "bfloat16"), ("auto", "auto")])
def test_products_are_chosen_where_a_run_begins(tmp_path, monkeypatch, stored, found):
    """A run that began elsewhere, or by an older version, goes on as it was."""
    monkeypatch.setattr(changes, "choose_products", lambda: "bfloat16")
    if stored:
        save_run(tmp_path, change(AUTOENCODER, "loop.products", stored))
    assert resolve_products(AUTOENCODER, tmp_path).loop.products == found
    typed = change(AUTOENCODER, "loop.products", "float32")
    assert resolve_products(typed, tmp_path).loop.products == "float32"


@pytest.mark.parametrize(
    "make, good, bad",
    [
        (lambda v: LoopConfig(spike_factor=v), (0.0, 1.01, 10.0), (1.0, 0.5, -1.0)),
        (lambda v: WorldEvalConfig(clips=v), (1, 2), (0, -1)),
        (lambda v: HeldOutConfig(clips=v), (1, 2), (0,)),
        (
            lambda v: SamplingConfig(guidance_interval=v),
            ((0.0, 1.0), (0.3, 0.3)),
            ((0.5, 1.5), (-0.1, 1.0), (0.6, 0.4)),
        ),
    ],
)
def test_settings_have_these_ranges(make, good, bad):
    for value in good:
        make(value)
    for value in bad:
        with pytest.raises(ValueError):
            make(value)
