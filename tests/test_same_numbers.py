"""The same seeds give the same numbers as before the code was rearranged (commit 8ed560d).

`same_numbers.json` and `.npz` were recorded there from the settings below: the plan of packed rows,
losses, norms of gradients and of weights after a step of both trainings, and three sampled videos.
They change only with the mathematics, the order of random draws, or the data; such a change is
said in the commit that records them anew: `python -m tests.test_same_numbers`.
"""

import functools
import hashlib
import json
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import loader
from sora_jax import sharding
from sora_jax.codec.video_codec import load_codec
from sora_jax.diffusion.noise_levels import NoiseLevels
from sora_jax.evals.validation_loss import velocity_errors
from sora_jax.generation.canvas import Request
from sora_jax.generation.generate import Generator
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.interop.rotary import split_pairs
from sora_jax.models.discriminator import DiscriminatorConfig
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.latents import ChannelStatistics
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.models.vae_config import VAEConfig
from sora_jax.rows import PackingConfig, batch_specs, scale_channels
from sora_jax.text_inputs import load_text_inputs
from sora_jax.training import diffusion_task, vae_task
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.experiments import (
    CropConfig,
    DiffusionExperiment,
    LoopConfig,
    VAEExperiment,
)
from sora_jax.training.optimizer import OptimizerConfig
from sora_jax.training.run_folder import load_diffusion_run, save_config, save_weights
from sora_jax.training.vae_loss import VAELossConfig
from tests.data_pipelines.folders import write_latents

FOLDER = pathlib.Path(__file__).parent
PREDICTIONS = ("velocity", "x0", "eps", "v", "edm")
SHAPES = [(1, 2, 4, 4), (1, 4, 4, 4), (3, 4, 4, 4), (3, 4, 6, 4), (5, 4, 4, 4), (2, 6, 4, 4)] * 7
CHANNELS = ChannelStatistics(np.ones(4), np.array([0.16, 0.01, 0.09, 0.02]))
CODEC = VAEExperiment(
    "",
    model=VAEConfig(4, 2, (8, 8), ((2, 2),)),
    crops=(CropConfig(8, 3, 16, 16),),
    loss=VAELossConfig(
        *(0.5, 2.0),
        kl=1e-4,
        perceptual=0.1,
        features="gradient",
        adversarial=0.5,
        discriminator=DiscriminatorConfig(4, 2),
    ),
    optimizer=OptimizerConfig(steps=10, warmup_steps=0, learning_rate=1e-3),
    loop=LoopConfig(seed=5),
)


def world_model(data, prediction="v"):
    model = DiTConfig(
        latent_channels=4,
        width=24,
        depth=2,
        heads=2,
        mlp_dim=48,
        rope_base=100.0,
        input_skip=True,
        absolute_positions=True,
        pooled_text=True,
        time_embed_dim=16,
        text=TextEncoderConfig(64, 16, 1, 2),
    )
    return DiffusionExperiment(
        str(data),
        model=model,
        prediction=prediction,
        noise_levels=NoiseLevels(0.2, 1.0, 3.0, 8),
        packing=PackingConfig(rows=8, tokens=24, text_tokens=64, segments=8, rows_per_device=2),
        detailed_caption_prob=0.4,
        caption_dropout=0.2,
        segment_weight_exponent=0.5,
        channel_weight_exponent=0.5,
        optimizer=OptimizerConfig(name="muon", steps=10, warmup_steps=2),
        loop=LoopConfig(seed=3),
    )


def norms(tree):
    """The norm of each array, by size: names and their order may change."""
    return sorted(float(np.linalg.norm(np.asarray(a, np.float32))) for a in jax.tree.leaves(tree))


def digest(arrays):
    return hashlib.sha256(b"".join(np.asarray(a, "<i8").tobytes() for a in arrays)).hexdigest()


def moved(params):
    """Weights none of which is zero, as many are at init."""

    def move(a):
        wave = np.cos(np.arange(a.size, dtype=np.float32)).reshape(a.shape)
        return a + np.float32(0.02) * jax.device_put(wave, a.sharding)

    return jax.tree.map(move, params)


def first_state(experiment):
    make = functools.partial(diffusion_task.init_state, experiment, CHANNELS)
    state = jax.jit(make)()
    params = split_pairs(moved(state.params))  # recorded when pairs were (2i, 2i + 1)
    return norms(state.params), state._replace(params=params, ema=jax.tree.map(jnp.copy, params))


def measure_plan(data):
    rows = loader.open_rows(world_model(data), "train", 64)
    epochs = [rows.epoch(i) for i in range(3)]
    return {
        "rows": len(rows.epoch(0).rows),
        "fill": rows.fill,
        "epochs": [digest([*e.starts, *e.pieces, *e.captions]) for e in epochs],
        "batch": {
            k: float(np.abs(np.float64(v)).sum()) for k, v in batch_of(rows)._asdict().items()
        },
    }


def batch_of(rows):
    return jax.tree.map(lambda *row: np.stack(row), *[rows[i] for i in range(8)])


def measure_losses(data, prediction):
    """Loss at the first step's noise, gradients, and validation error at one level."""
    experiment = world_model(data, prediction)
    batch = sharding.shard(batch_of(loader.open_rows(experiment, "train", 64)), batch_specs())
    initial, state = first_state(experiment)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    scaled = scale_channels(batch, state.statistics["channel_scale"])
    noisy, noise = diffusion_task.sample_noise(key, experiment, scaled)
    loss = jax.jit(jax.value_and_grad(diffusion_task.loss), static_argnums=1)
    value, gradients = loss(state.params, experiment, noisy, noise)
    scale = state.statistics["channel_scale"]
    errors = velocity_errors(experiment.denoiser, state.ema, scale, batch, noise, jnp.float32(0.4))
    return {
        "init": initial,
        "loss": float(value),
        "gradients": norms(gradients),
        "errors": float(jnp.sum(errors)),
    }


def old_metrics(metrics):
    """The metrics that there were when the numbers were recorded."""
    later = ("learning_rate", "update_norm")
    return {k: float(v) for k, v in metrics.items() if k not in later and "/" not in k}


def measure_step(data):
    experiment = world_model(data)
    batch = sharding.shard(batch_of(loader.open_rows(experiment, "train", 64)), batch_specs())
    step = jax.jit(functools.partial(diffusion_task.train_step, experiment=experiment))
    state, metrics = step(first_state(experiment)[1], batch)
    return {"after": norms(state.params)} | old_metrics(metrics)


def first_codec_state():
    return jax.jit(functools.partial(vae_task.init_state, CODEC))()


def measure_codec():
    pixels = np.tanh(np.random.default_rng(1).standard_normal((8, 3, 16, 16, 3), np.float32))
    state = first_codec_state()
    step = jax.jit(functools.partial(vae_task.train_step, experiment=CODEC))
    batch = sharding.shard(pixels, vae_task.BATCH)
    measured = {"init": norms(state.params), "metrics": []}
    for _ in range(2):
        state, metrics = step(state, batch)
        measured["metrics"].append(old_metrics(metrics))
    return measured | {"after": norms(state.params)}


def sample_videos(data, folder):
    first = first_codec_state()
    save_weights(folder / "vae", CODEC, first.params, first.statistics)
    experiment = world_model(data)
    save_config(folder / "dit", experiment)
    with Checkpoints(folder / "dit", LoopConfig()) as checkpoints:
        checkpoints.save(first_state(experiment)[1], 1, {"next": 1})
    run = load_diffusion_run(folder / "dit")
    text_inputs = load_text_inputs(data, experiment.model)
    generator = Generator(run, text_inputs, load_codec(folder / "vae"))
    requests = [
        Request("a red ball", 3, 16, 24, 8.0, 1),
        Request("the cat sees", 1, 20, 16, 4.0, 2),
        Request("b", 5, 24, 16, 8.0, 3),
    ]
    return generator.sample(requests, SamplingConfig(6, 2.5))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_latents(tmp_path_factory.mktemp("same") / "latents", SHAPES)


@pytest.fixture(scope="module")
def recorded():
    return json.loads((FOLDER / "same_numbers.json").read_text())


def compare(measured, recorded, rtol=2e-4):
    """All numbers of nested dicts and lists."""
    assert type(measured) is type(recorded)
    if isinstance(measured, dict):
        assert measured.keys() == recorded.keys()
        for name in measured:
            compare(measured[name], recorded[name], rtol)
    elif isinstance(measured, list) and measured and not isinstance(measured[0], float):
        for pair in zip(measured, recorded, strict=True):
            compare(*pair, rtol)
    elif isinstance(measured, str):
        assert measured == recorded
    else:
        np.testing.assert_allclose(measured, recorded, rtol=rtol, atol=1e-6)


def test_rows_are_planned_as_before(data, recorded):
    compare(measure_plan(data), recorded["plan"], rtol=1e-12)


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_losses_and_gradients_are_as_before(data, recorded, prediction):
    compare(measure_losses(data, prediction), recorded["losses"][prediction])


def test_a_sharded_training_step_of_the_transformer_is_as_before(data, recorded):
    with sharding.use_mesh(sharding.MeshConfig(-1, 2, 2, 2)):
        compare(measure_step(data), recorded["step"])


@pytest.mark.usefixtures("one_device")
def test_training_steps_of_the_autoencoder_are_as_before(recorded):
    compare(measure_codec(), recorded["codec"])


@pytest.mark.usefixtures("one_device")
def test_sampled_videos_are_as_before(data, tmp_path):
    with np.load(FOLDER / "same_numbers.npz") as videos:
        for video, name in zip(sample_videos(data, tmp_path), videos.files, strict=True):
            difference = np.abs(video.astype(int) - videos[name])
            assert difference.shape == videos[name].shape and difference.max() <= 1


def record():
    """Writes both files anew."""
    with tempfile.TemporaryDirectory() as folder, sharding.use_mesh():
        path = pathlib.Path(folder)
        data = write_latents(path / "latents", SHAPES)
        numbers = {
            "plan": measure_plan(data),
            "losses": {name: measure_losses(data, name) for name in PREDICTIONS},
            "step": measure_step(data),
            "codec": measure_codec(),
        }
        np.savez_compressed(FOLDER / "same_numbers.npz", *sample_videos(data, path))
    (FOLDER / "same_numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    record()
