"""Released models: what is saved comes back, and the one that comes with the package works."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from sora_jax import release, sharding
from sora_jax.commands.runs import load_generator
from sora_jax.generation.canvas import Request
from sora_jax.generation.sampling import SamplingConfig
from sora_jax.interop.tensors import read_tensors
from sora_jax.models import dit, vae
from sora_jax.models.dit_block import Conditioning, SelfAttention
from sora_jax.models.dit_config import DiTConfig
from sora_jax.models.functional import Network
from sora_jax.models.rope import rotation
from sora_jax.models.text_encoder import TextEncoderConfig
from sora_jax.models.tokenizer import train_tokenizer
from sora_jax.models.vae_config import CellVAEConfig
from sora_jax.training.experiments import DiffusionExperiment, VAEExperiment
from sora_jax.training.run_folder import DiffusionRun, VAERun

VAE = VAEExperiment("", CellVAEConfig(4, width=24, encoder_blocks=1, decoder_blocks=1))
TEXT = TextEncoderConfig(64, 16, 1, 2)
DIT = DiffusionExperiment(
    "", DiTConfig(4, (1, 1, 1), width=24, depth=2, heads=2, mlp_dim=48, text=TEXT)
)
CAPTIONS = ["a red ball rolls", "a blue cube rests on a wall"]


def save_tiny_release(folder):
    """Saves a released model of random weights; returns its runs."""
    with sharding.use_mesh():
        key = jax.random.key(0)
        params, weights = vae.init_params(key, VAE.model), dit.init_params(key, DIT.model)
        statistics = jax.tree.map(lambda a: a + 0.5, vae.init_statistics(VAE.model))
        vae_run = VAERun(VAE, params, statistics, 12)
        # No gain is one and no bias zero, so that their order is seen.
        weights = jax.tree.map(lambda a: a + 0.1 * np.cos(range(a.size)).reshape(a.shape), weights)
        run = DiffusionRun(DIT, weights, np.float32([2, 1, 0.5, 0.25]), 34)
        release.save_release(folder, vae_run, run, train_tokenizer(CAPTIONS, 48))
    return vae_run, run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    return folder, *save_tiny_release(folder)


def test_all_of_it_comes_back_large_tensors_within_float16(saved):
    folder, vae_run, run = saved
    with sharding.use_mesh():
        loaded = release.load_release(folder)
    assert release.is_release(folder) and not release.is_release(folder.parent)
    assert loaded.vae.experiment == VAE and loaded.dit.experiment == DIT
    assert (loaded.vae.step, loaded.dit.step, loaded.codec.step) == (12, 34, 12)
    np.testing.assert_array_equal(loaded.dit.channel_scale, run.channel_scale)
    assert loaded.tokenizer.encode(["a red ball"])[0][-1] == loaded.tokenizer.model.eos_id()
    pairs = [(loaded.vae[1:3], vae_run[1:3]), (loaded.dit.params, run.params)]
    for ours, theirs in pairs:
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=0 if b.size < 4096 else 1e-3, atol=1e-6)


def test_weights_are_cut_as_the_model_is(saved):
    folder, vae_run, run = saved
    with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig(fsdp=2, tensor=2))):
        made = jax.jit(lambda: dit.init_params(jax.random.key(0), DIT.model))()
        loaded = release.load_release(folder)
    leaves = [jax.tree.leaves(tree) for tree in (loaded.dit.params, made, run.params)]
    for ours, like, theirs in zip(*leaves, strict=True):
        assert ours.sharding.is_equivalent_to(like.sharding, ours.ndim)
        np.testing.assert_allclose(ours, theirs, rtol=0 if ours.size < 4096 else 1e-3, atol=1e-6)
    assert not loaded.dit.params["blocks"]["up"]["kernel"].sharding.is_fully_replicated
    assert all(a.sharding.is_fully_replicated for a in jax.tree.leaves(loaded.vae.params))


@pytest.mark.usefixtures("one_device")
def test_files_hold_the_pairs_of_rotary_embedding_side_by_side(saved):
    """Self-attention from the file's tensors, with its pairs as complex numbers, is the model's."""
    prefix, k = "blocks/self_attention/", 12
    file = {
        name.removeprefix(prefix): array[1]
        for name, array in read_tensors(saved[0], "dit").items()
        if name.startswith(prefix)
    }
    rng = np.random.default_rng(0)
    x, angles = rng.normal(size=(5, 24)), rng.normal(size=(5, k // 2))

    def project(part):
        y = np.einsum("ld,dnk->lnk", x, file[f"{part}/kernel"]) + file[f"{part}/bias"]
        if part == "value":
            return y
        y = y / np.sqrt(np.mean(y * y, (1, 2), keepdims=True)) * file[f"{part}_norm/scale"]
        return (y[..., ::2] + 1j * y[..., 1::2]) * np.exp(1j * angles)[:, None]

    q, key, v = (project(part) for part in ("query", "key", "value"))
    scores = np.einsum("lnp,mnp->nlm", q, key.conj()).real / np.sqrt(k)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    attended = np.einsum("nlm,mnk->lnk", weights, v)
    expected = np.einsum("lnk,nkd->ld", attended, file["out/kernel"]) + file["out/bias"]

    params = release.load_release(saved[0]).dit.params["blocks"]["self_attention"]
    block = Network(SelfAttention).bind(DIT.model, jax.tree.map(lambda a: a[1], params))
    ids = jnp.ones((1, 5), jnp.int32)
    rows = Conditioning(*[None] * 2, ids, *[None] * 3, rotation(jnp.float32(angles)[None]), 1)
    found = jax.jit(lambda x: block(x, rows))(jnp.float32(x)[None])
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_what_does_not_fit_is_named(saved, tmp_path):
    folder = epath.Path(saved[0])
    for path in folder.iterdir():
        path.copy(tmp_path / path.name)
    config = json.loads((tmp_path / release.CONFIG).read_text())
    config["dit"]["model"]["width"] = 48
    (tmp_path / release.CONFIG).write_text(json.dumps(config))
    with sharding.use_mesh():
        with pytest.raises(ValueError, match="is missing or of another shape; fetch it again"):
            release.load_release(tmp_path)
        with pytest.raises(ValueError, match="no released model at"):
            release.load_release(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_shipped_model_is_small_and_draws_the_colour_that_it_is_asked_for():
    size = sum(path.stat().length for path in release.SHIPPED.iterdir())
    assert size < 40e6
    colours = {"red": 0, "green": 1, "blue": 2}
    with sharding.use_mesh():
        generator = load_generator(None)
        requests = [
            Request(f"a large {name} ball lies still on a white background", 1, 64, 64, seed=seed)
            for name in colours
            for seed in range(2)
        ]
        pictures = generator.sample(requests, SamplingConfig(8, 2.0))
    for request, picture in zip(requests, pictures, strict=True):
        assert picture.shape == (1, 64, 64, 3)
        channel = colours[request.prompt.split()[2]]
        values = picture[0].astype(int)
        rest = np.delete(values, channel, -1).max(-1)
        coloured = values[..., channel] > rest + 60
        assert 0.01 < coloured.mean() < 0.5, request.prompt
        others = [values[..., c] > np.delete(values, c, -1).max(-1) + 60 for c in range(3)]
        assert coloured.sum() == max(other.sum() for other in others), request.prompt
