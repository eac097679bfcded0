"""Operations counted by hand against those that the compiler counts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from sora_jax.models import dit
from sora_jax.models.dit_config import REMAT, DiTConfig
from sora_jax.rows import PackingConfig, RowCapacity, abstract_batch
from sora_jax.scaling import aot, flops
from sora_jax.training.experiments import DiffusionExperiment

pytestmark = pytest.mark.usefixtures("one_device")


def test_forward_operations_are_those_of_the_program():
    """One row and one block, as the compiler counts loops once; wide, as it counts all else too."""
    model = DiTConfig(width=512, depth=1, heads=4, mlp_dim=2048, text_embed_dim=256)
    experiment = DiffusionExperiment("", model, packing=PackingConfig(1, 128, 64, 1))
    state = aot.abstract_state(experiment)
    batch = abstract_batch(1, RowCapacity(128, 64, 1), model.patch_width, 256)
    run = jax.jit(lambda params, batch: dit.apply(model, params, batch.patches, batch))
    compiled: Any = run.lower(state.params, batch).compile()
    counted = compiled.cost_analysis()["flops"]
    found = flops.forward_flops(model, [(128, 64)])
    assert 0.95 < found / counted < 1.02


@pytest.mark.parametrize("remat", REMAT)
def test_operations_of_a_step_are_those_of_the_program(remat):
    """As the compiler counts them: what is repeated, and what attention does not repeat."""
    settings = dict(width=512, depth=1, heads=4, mlp_dim=2048, text_embed_dim=256)
    model = DiTConfig(**settings, remat=remat, unroll=True)
    experiment = DiffusionExperiment("", model, packing=PackingConfig(1, 512, 64, 1))
    state = aot.abstract_state(experiment)
    batch = abstract_batch(1, RowCapacity(512, 64, 1), model.patch_width, 256)

    @jax.jit
    @jax.grad
    def run(params, batch):
        return jnp.sum(dit.apply(model, params, batch.patches, batch) ** 2)

    compiled: Any = run.lower(state.params, batch).compile()
    segments = [(512, 64)]
    found = flops.step_flops(model, segments) + flops.repeated_flops(model, segments)
    print(remat, compiled.cost_analysis()["flops"] / found)
    assert 0.95 < found / compiled.cost_analysis()["flops"] < 1.02


def test_what_is_repeated_is_the_blocks():
    """In MFLOP, of two blocks of width 10 and MLP width 20, on 5 x 7 video and 5 text tokens."""
    model = DiTConfig(width=10, depth=2, heads=1, mlp_dim=20)
    segments = [(30, 3), (5, 2)]
    products = 2 * (35 * (8 * 10 * 10 + 2 * 2 * 10 * 10 + 2 * 2 * 10 * 20) + 5 * 4 * 10 * 10)
    attention = 2 * 4 * 10 * (30 * 33 + 5 * 7)
    repeated = {
        remat: flops.repeated_flops(dataclasses.replace(model, remat=remat), segments)
        for remat in REMAT
    }
    wanted = {"none": 0, "dots": 0, "attention": products, "full": products + attention}
    assert repeated == wanted


def test_attention_costs_the_squares_of_lengths():
    model = DiTConfig(depth=1, width=64)
    one, two = flops.forward_flops(model, [(100, 10)]), flops.forward_flops(model, [(200, 20)])
    ends = flops.forward_flops(model, [(0, 0)])
    quadratic = two + ends - 2 * one
    assert quadratic == 4 * 64 * 2 * (100**2 + 100 * 10)
    assert flops.step_flops(model, [(100, 10)]) == 3 * one
    once = flops.forward_flops(model, [])
    assert flops.forward_flops(model, [(100, 10)] * 2) - once == 2 * (one - once)
