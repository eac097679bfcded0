"""Held-out loss: one number whatever the layout of rows, batches and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import sharding
from sora_jax.evals import demo_page, validation_loss
from sora_jax.models import dit
from sora_jax.models.denoiser import Denoiser
from sora_jax.rows import make_segment, pack_row
from tests.tiny import MODEL, random_params

SIZES = [(1, 4, 4), (3, 4, 4), (1, 4, 4), (3, 2, 8), (5, 4, 4)]  # of latents
RNG = np.random.default_rng(0)
LATENTS = [RNG.normal(size=(*s, MODEL.latent_channels)).astype(np.float32) for s in SIZES]
PARAMS = random_params(RNG)
SCALE = np.float32([0.5, 1.5])


def measure(plan, rows_of_a_batch, params=PARAMS, **mesh):
    """Errors of the clips where each row holds those of `plan`."""
    capacity = (48, 16, 4)
    rows = [
        pack_row(
            [make_segment(LATENTS[i], 8.0, [1 + i, 2], MODEL.patch, 1.0) for i in clips],
            capacity,
            MODEL.patch_width,
        )
        for clips in plan
    ]
    with sharding.use_mesh(sharding.MeshConfig(**mesh)):
        weights = Denoiser(MODEL, "velocity"), params, SCALE
        return validation_loss.clip_errors(*weights, rows, plan, rows_of_a_batch)


@pytest.fixture(scope="module")
def errors():
    return measure([[0], [1], [2], [3], [4]], 8)


@pytest.mark.parametrize(
    ("plan", "rows", "mesh"),
    [
        ([[3, 2, 0], [4, 1]], 2, {"data": 2, "context": 2, "tensor": 2}),
        ([[4], [2, 1], [0, 3]], 1, {"data": 1, "fsdp": 2, "context": 4}),
    ],
    ids=["one full batch", "two batches, the second not full"],
)
def test_neither_packing_nor_batches_nor_devices_change_it(errors, plan, rows, mesh):
    np.testing.assert_allclose(measure(plan, rows, **mesh), errors, rtol=2e-5)
    assert len(np.unique(errors)) == errors.size  # each clip and level has its own


@pytest.mark.usefixtures("one_device")
def test_it_is_the_equation_of_its_docstring(errors):
    latent, clip, level = LATENTS[3] * SCALE, 3, 0.7
    segment = make_segment(latent, 8.0, [1 + clip, 2], MODEL.patch, 1.0)
    eps = validation_loss.clip_noise(clip, len(segment.patches), MODEL.patch_width)
    row = pack_row([segment], (len(eps), 2, 1), MODEL.patch_width)
    batch = type(row)(*(field[None] for field in row))._replace(levels=np.float32([[0, level, 0]]))
    x = jnp.asarray(((1 - level) * segment.patches + level * eps)[None])
    velocity = np.asarray(jax.jit(dit.apply, static_argnums=0)(MODEL, PARAMS, x, batch))[0]
    wanted = np.mean((velocity - (eps - segment.patches)) ** 2)
    at = validation_loss.LEVELS.index(level)
    np.testing.assert_allclose(errors[clip, at], wanted, rtol=1e-5)


def test_it_changes_with_the_weights(errors):
    moved = jax.tree.map(lambda a: a, PARAMS)
    moved["patch_out"]["kernel"] = 1.1 * moved["patch_out"]["kernel"]
    other = measure([[0], [1], [2], [3], [4]], 8, moved)
    assert (np.abs(other - errors) > 1e-4).all()


def test_noise_is_standard_normal_and_each_clips_own():
    noise = [validation_loss.clip_noise(i, 500, 40) for i in (0, 1)]
    for one in noise:
        np.testing.assert_allclose([one.mean(), one.std()], [0, 1], atol=0.02)
    assert abs(np.mean(noise[0] * noise[1])) < 0.02
    np.testing.assert_array_equal(noise[0], validation_loss.clip_noise(0, 500, 40))


def test_means_by_size_and_level():
    errors = np.arange(15, dtype=np.float32).reshape(3, 5)
    found = validation_loss.by_size_and_level(errors, [(17, 64, 96), (1, 64, 64), (17, 64, 96)])
    assert found["by_level"] == {"0.1": 5, "0.3": 6, "0.5": 7, "0.7": 8, "0.9": 9}
    assert list(found["by_size"].items()) == [("1x64x64", 7), ("17x64x96", 7)]
    assert found["by_size_and_level"]["1x64x64"]["0.9"] == 9
    assert found["by_size_and_level"]["17x64x96"]["0.1"] == 5
    assert found["clips_by_size"] == {"1x64x64": 1, "17x64x96": 2}
    table = demo_page.loss_table({"eval_loss": found})
    assert [len(row) for row in table.rows] == [len(table.header)] * 2
    assert table.rows[1] == ["17x64x96", "2", "5.000", *("6.000 7.000 8.000 9.000 7.000".split())]
