"""The loss of held-out clips during training: which clips, with what, and what is refused."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.latents import Latents
from sora_jax import sharding
from sora_jax.commands import held_out
from sora_jax.evals.validation_loss import LEVELS, clip_noise
from sora_jax.models import dit
from sora_jax.models.tokenizer import Tokenizer
from sora_jax.rows import PackingConfig, make_segment, pack_row
from sora_jax.training.checkpoint_io import saved_steps
from sora_jax.training.experiments import DiffusionExperiment, HeldOutConfig
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.types import TrainState
from tests.data_pipelines.folders import write_latents
from tests.processes import run_command
from tests.tiny import MODEL
from tests.tiny_run import CONFIG, write_data

TEXT = dataclasses.replace(MODEL.text, vocabulary=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("held_out")
    write_data(made)
    (made / "config.py").write_text(CONFIG)
    return made


def experiment_of(folder, **changes):
    return DiffusionExperiment(
        str(folder / "latents"),
        model=dataclasses.replace(MODEL, text=TEXT),
        packing=PackingConfig(4, 24, 64, 6, 16),
        optimizer=OptimizerConfig(micro_batches=2),
        **changes,
    )


def state_of(experiment, scale):
    """A state whose averaged weights alone can be used."""
    rng = np.random.default_rng(0)
    ema = jax.tree.map(
        lambda a: np.float32(0.3 * rng.normal(size=a.shape)), dit.shapes(experiment.model)
    )
    rest = dict.fromkeys(TrainState._fields)
    return TrainState(**rest | {"ema": ema, "statistics": {"channel_scale": scale}})


def error_by_hand(experiment, params, scale, clip, level):
    """The equation of `validation_loss`, of one clip alone with its detailed caption."""
    record = Latents(experiment.data, "validation")[clip]
    (text,) = Tokenizer(f"{experiment.data}/tokenizer.model").encode([record.texts[1]])
    patch = experiment.model.patch
    segment = make_segment(record.latent * scale, record.fps, text, patch, 1.0)
    eps = clip_noise(clip, len(segment.patches), experiment.model.patch_width)
    row = pack_row([segment], (len(eps), len(text), 1), experiment.model.patch_width)
    batch = type(row)(*(field[None] for field in row))._replace(levels=np.float32([[0, level, 0]]))
    x = jnp.asarray(((1 - level) * segment.patches + level * eps)[None])
    velocity = jax.jit(dit.apply, static_argnums=0)(experiment.model, params, x, batch)
    return float(np.mean((np.asarray(velocity)[0] - (eps - segment.patches)) ** 2))


@pytest.mark.parametrize(("most", "chosen"), [(256, [*range(7)]), (3, [0, 2, 4])])
def test_it_is_the_mean_over_evenly_chosen_validation_clips(folder, most, chosen):
    experiment = experiment_of(folder, held_out=HeldOutConfig(200, most), caption_dropout=0.5)
    scale = np.float32([0.5, 1.5])
    state = state_of(experiment, scale)
    with sharding.use_mesh(sharding.MeshConfig(2, 1, 2, 2)):
        found = held_out.evaluate_held_out(experiment)(state)
    one = jax.make_mesh((1,) * 4, sharding.AXES, sharding.EXPLICIT, devices=jax.devices()[:1])
    with jax.set_mesh(one):
        wanted = [
            [error_by_hand(experiment, state.ema, scale, clip, level) for level in LEVELS]
            for clip in chosen
        ]
    levels = [found.pop(f"held_out_loss/level_{level}") for level in (0.1, 0.3, 0.5, 0.7, 0.9)]
    np.testing.assert_allclose(levels, np.mean(wanted, 0), rtol=2e-5)
    assert found == {"held_out_loss": pytest.approx(np.mean(wanted), rel=2e-5)}
    assert len(np.unique(np.float32(wanted))) == 5 * len(chosen)


@pytest.mark.slow
def test_a_run_measures_it_and_keeps_the_best_checkpoint(folder, tmp_path):
    arguments = [f"--config={folder / 'config.py'}", f"--workdir={tmp_path}"]
    arguments += [f"--config.data={folder / 'latents'}", "--config.held_out.every=2"]
    arguments += ["--config.loop.keep_best=held_out_loss", "--config.loop.keep=1"]
    done = run_command("train", *arguments)
    assert "no best checkpoint" not in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    assert set(losses) == {2, 4, 6} and "held_out_loss/level_0.9" in lines[-1]
    assert len(set(losses.values())) == 3
    assert saved_steps(tmp_path) == [min((2, 4), key=losses.__getitem__), 6]


@pytest.mark.parametrize(
    ("setting", "told"),
    [("held_out.every=2", "held_out_loss, "), ("evals.every=0", "nothing\n")],
)
def test_a_best_metric_that_nothing_measures_is_told_once(folder, tmp_path, setting, told):
    arguments = [f"--config={folder / 'config.py'}", f"--workdir={tmp_path}"]
    arguments += [f"--config.data={folder / 'latents'}", f"--config.{setting}"]
    done = run_command("train", *arguments, "--config.loop.keep_best=psnr_db")
    assert done.stderr.count(f"loop.keep_best is 'psnr_db', measured is {told}") == 1


def test_latents_without_a_validation_split_are_one_line(folder, tmp_path):
    write_latents(tmp_path / "latents", [(1, 4, 4, 2)] * 8)
    shutil.copy(folder / "latents" / "encode.json", tmp_path / "latents")
    arguments = [f"--config={folder / 'config.py'}", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.data={tmp_path / 'latents'}", "--config.held_out.every=2"]
    done = run_command("train", *arguments, code=2)
    assert done.stderr.count("\n") == 1
    assert "validation" in done.stderr and "--config.held_out.every=0" in done.stderr
    assert not (tmp_path / "run").exists()
